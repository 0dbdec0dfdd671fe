"""From a FITS image to a catalogue: tiles, measurement, groups, products, page, priors.

Imports deblend, pixels, io and what is below them.
"""
