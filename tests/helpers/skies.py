"""The survey and the PSFs of simulated skies."""

import numpy as np

from vaedeblend.pixels.psf import make_psf
from vaedeblend.survey import Survey

VIS = Survey()


def gaussian_psf(sigma=0.1):
    axis = np.exp(-0.5 * (np.arange(-20, 21) * 0.05 / sigma) ** 2)
    return make_psf(np.outer(axis, axis), 0.05)


PSFS = (gaussian_psf(),)
