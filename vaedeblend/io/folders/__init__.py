"""Folders that are whole: what is in them, and which job may write there.

Imports `exceptions` and `io.write`.
"""
