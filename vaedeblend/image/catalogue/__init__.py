"""The catalogue of an image: its columns, the sources of all tiles, other programs' forms of it.

Imports image.groups, pixels, catalogues, io and what is below them.
"""
