"""How a galaxy of the catalogue is drawn: its light before the PSF, in one of several styles."""
