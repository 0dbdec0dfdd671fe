"""Errors of the package; each is a ValueError that says what was found and what was wanted."""
