"""Euclid's own files: tiles of its MER pipeline, and the fields of its Morphology Challenge.

Imports simulate, catalogues, pixels, io and what is below them.
"""
