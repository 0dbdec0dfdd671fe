"""Sources of known profiles in one band: kernels, templates, shifts, and the fluxes that fit best.

Imports image.bands.sources, pixels and io.
"""
