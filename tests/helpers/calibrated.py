"""Galaxies whose errors a network states, rightly or not, and the errors after a calibration."""

import jax.numpy as jnp
import numpy as np

from vaedeblend.deblend.calibration import calibrated
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, normal_score
from vaedeblend.models.vae import Observation, Posterior

N = 40_000


def galaxies(rng, scale, n=N):
    """True and stated ln(flux) of a network whose errors are off by the given functions."""
    brightness, purity = rng.normal(4, 1, n), rng.normal(1, 2, n)
    std = np.exp(rng.normal(-2, 0.3, n))
    z = rng.normal(size=n) * scale(brightness, purity)
    return {
        "residual": z * std,
        "std": std,
        "brightness": brightness,
        "purity": purity,
    }


def honest(brightness, purity):
    return 1.0


def off_scale(brightness, purity):
    return np.exp(0.3 * np.tanh(brightness - 4) - 0.4 * np.tanh(purity / 2))


def standardised(found, sample):
    """Residuals over their standard deviations as `calibrated` corrects them."""
    n = len(sample["std"])
    columns = {name: jnp.asarray(a, jnp.float32)[:, None] for name, a in sample.items()}
    zeros = jnp.zeros((n, 1))
    log_flux = SinhArcsinh(columns["brightness"], jnp.log(columns["std"]), zeros, zeros)
    posterior = Posterior(zeros, zeros, log_flux, columns["purity"])
    stamp = zeros[:, None, None]
    seen = Observation(stamp, 1 + stamp, zeros, zeros, stamp, zeros)
    after = calibrated(found, posterior, seen)
    truth = columns["brightness"] + columns["residual"]
    return np.asarray(normal_score(after.log_flux, truth))[:, 0]
