"""From a FITS image to a catalogue: tiles, measurement, groups, products, page, priors.

Imports deblend, pixels, io and what is below them.
"""

from functools import partial

from vaedeblend import _load_moved

__getattr__ = partial(_load_moved, "image")  # `vaedeblend.image.deblend_image` of 0.1.0
