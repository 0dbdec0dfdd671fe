"""Sources of known profiles in one band: noise, kernels, templates, shifts, best fluxes.

Imports image.bands.sources, image.inspection, pixels and io.
"""
