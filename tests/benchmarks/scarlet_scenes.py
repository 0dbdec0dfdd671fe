"""A blend as scarlet2 (Sampson+ 2024) fits it; in an environment that has it."""

import functools

import jax.numpy as jnp
import numpy as np
import scarlet2 as sc
from numpyro.distributions import constraints


def fit_scene(image, positions, psf, variance):
    """Fluxes of the galaxies, and a function that gives their light as the PSF blurs it.

    A non-parametric, positive image and a flux are fitted to each, as in the quick-start guide, in
    one band and without a prior. What lies off the image is none of the scene: NaN, and no light.

    Args:
        image: Blend, (height, width).
        positions: (y, x) of each galaxy.
        psf: Effective PSF.
        variance: That of the background of a pixel.
    """
    sc.set_validation(False)
    scale = 1 / np.sqrt(variance)  # its steps are absolute: fluxes in units of the noise
    observation = sc.Observation(
        jnp.asarray(image * scale)[None],
        jnp.ones((1, *image.shape)),
        psf=sc.ArrayPSF(jnp.asarray(psf)[None]),
    )
    inside = np.all((positions > 0) & (positions < np.array(image.shape) - 1), axis=1)
    scene = _scene(observation, positions[inside])
    fitted = scene.fit(observation, max_iter=200, e_rel=1e-4, progress_bar=False)
    flux = np.full(len(positions), np.nan)
    flux[inside] = [float(jnp.sum(source())) / scale for source in fitted.sources]

    def light():
        images = np.zeros((len(positions), *image.shape))
        images[inside] = [observation.render(fitted.evaluate_source(s))[0] for s in fitted.sources]
        return images / scale

    return flux, light


def _scene(observation, positions):
    """A start at each galaxy, and what is to be fitted of it."""
    frame = sc.Frame.from_observations(observation, model_psf=sc.GaussianPSF(0.7))
    with sc.Scene(frame) as scene:
        for position in jnp.asarray(positions):
            try:
                spectrum, light = sc.init.from_gaussian_moments(observation, position)
            except (ValueError, AssertionError):
                spectrum = sc.init.pixel_spectrum(observation, position, correct_psf=True)
                light = sc.init.compact_morphology()
            sc.Source(position, spectrum, light)
    step = functools.partial(sc.relative_step, factor=0.05)
    with sc.Parameters(scene):
        for i, source in enumerate(scene.sources):
            positive, unit = constraints.positive, constraints.unit_interval
            sc.Parameter(source.spectrum, name=f"flux:{i}", constraint=positive, stepsize=step)
            sc.Parameter(source.morphology, name=f"light:{i}", constraint=unit, stepsize=0.01)
    return scene
