"""PSFs that vary over an image: read from any kind of file, and averaged to cells.

Imports pixels.psf, io, exceptions.
"""
