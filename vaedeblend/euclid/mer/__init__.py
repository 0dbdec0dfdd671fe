"""Tiles of Euclid's MER pipeline: their products found by name, read, and simulated.

Imports simulate, pixels, io and what is below them.
"""
