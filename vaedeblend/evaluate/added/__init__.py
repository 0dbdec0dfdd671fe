"""Galaxies and stars that are added to an image: where, as what light, how they are found again.

Imports image, simulate and what is below them.
"""
