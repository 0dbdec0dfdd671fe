"""All bands: fluxes in other images of the sources that were deblended in VIS, and their colours.

profiles, PSFs --> kernels --> templates --> one linear problem a group --> fluxes, covariances

Imports image.tiles, image.options, image.inspection, image.page, euclid, pixels, io and what is
below them.
"""
