"""What a network makes of sources of known flux under an image's PSF and noise.

PSFs, noise, gain --simulate--> isolated galaxies, stars --network--> fluxes --fit--> `Response`

Networks see no light in the wings of a galaxy, faint as they are, and take their share from the PSF
on which they are conditioned; under some PSFs they err by several per cent, at any brightness. As
where galaxies are injected into images to learn their fluxes' errors (Balrog; Suchyta+ 2016,
Everett+ 2022), sources of known flux tell by how much; here they are alone, since an error of the
wings does not depend on neighbours.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.deblend.calibration import Response
from vaedeblend.deblend.network import Deblend, Deblended, in_batches
from vaedeblend.pixels.coadds import correlate_noise
from vaedeblend.pixels.psf import Psf
from vaedeblend.pixels.psfs.wings import WINGS_SIZE, completed
from vaedeblend.simulate.library import field_psfs, random_sources, random_stars, render_stamps
from vaedeblend.simulate.render import finer_psf
from vaedeblend.survey import Survey

_GALAXIES, _STARS, _LIT = 256, 64, 128
"""Sources that are simulated: each makes an error of some 4 %, all of them one of 0.3 %; and those
that are measured on even light, too."""
_MAGNITUDES, _BRIGHT = (20.0, 24.5), (18.0, 22.0)
"""Magnitudes of galaxies and of stars at the depth of the wide survey: where photons are few, the
galaxies that are measured too bright are not those that are."""
_FLOOR = 0.02
"""Relative flux error beside the stated one."""
_SKY, _SPREAD = 0.1, 0.5
"""Even light that shows over what area sky counts [rms], and the spread of ln of these areas."""
_BATCH = 64
"""Stamps that are measured at a time."""
_FEWEST = 32
"""Galaxies with a flux from which on a response is fitted."""
_CELLS = 16
"""PSFs of an image at most that are simulated, evenly over the image."""
_NOISE = 73
"""Purpose of random numbers."""


class Conditions(NamedTuple):
    """How an image shows light."""

    psfs: Float[np.ndarray, "rows columns side side"] | None
    """PSFs of the parts of an even grid, at its pixels, each of the sum that it holds of the light;
    None for that of the survey."""
    covariance: Float[np.ndarray, "lag lag"] | None
    """Autocovariance of its noise, of unit sum, its middle lag 0; None if white."""
    electrons: float | None
    """Electrons that are as many as the background's rms; None where the gain is not known."""


def measure_response(
    deblend: Deblend, survey: Survey, conditions: Conditions, *, size: int, seed: int = 0
) -> Response | None:
    """The response of a network under the conditions of an image; None if it measures nothing.

    Args:
        deblend: Network of one band, a pytree, without a response.
        survey: What it was trained for: the sources are EGG's, at the depth of Euclid's wide
            survey, on its pixels.
        conditions: How the image shows light.
        size: Side of the stamps that `deblend` takes [pixel].
        seed: Seed of the sources and of their noise.
    """
    galaxies, points, phase = _sources(seed)
    psfs = _psfs(survey, conditions.psfs)
    scale, rms = survey.pixel_scale.value, float(Survey().rms[0])
    everything = Galaxies(*map(np.concatenate, zip(galaxies, points, strict=True)))
    light = render_stamps(
        everything,
        phase,
        seeds=[(seed, i) for i in range(len(phase))],
        psfs=[(finer_psf(psf, scale),) for psf in psfs],
        size=size,
        pixel_scale=scale,
    )
    gain = None if conditions.electrons is None else conditions.electrons / rms
    image = _noisy(np.stack(list(light)), rms, gain, conditions.covariance, seed)
    given = {"image": image, "variance": np.full_like(image, rms**2)}
    if gain is not None:
        given["gain"] = np.full((len(image), 1), gain, np.float32)
    if conditions.psfs is not None:
        turns = np.arange(len(image)) % len(psfs)
        given["psf"] = _cells(conditions.psfs)[turns][..., None].astype(np.float32)
    measured = partial(_traced, deblend)
    found = in_batches(measured, given, _BATCH)
    some = {name: a[:_LIT] for name, a in given.items()}
    lit = in_batches(measured, some | {"image": some["image"] + np.float32(_SKY * rms)}, _BATCH)
    area = (np.asarray(lit.flux) - np.asarray(found.flux)[:_LIT])[:, 0] / (_SKY * rms)
    return fit_response(found, everything.flux[:, 0], area, rms, len(points.flux))


@jax.jit
def _traced(deblend: Deblend, **given) -> Deblended:
    """What the network finds, as on fields: PSFs go on as they are, less than 0.9 of them, too."""
    return deblend(**given)


def fit_response(
    found: Deblended,
    flux: Float[np.ndarray, " n"],
    area: Float[np.ndarray, " lit"],
    rms: float,
    n_stars: int,
) -> Response | None:
    """The response by Huber's loss; None where too few galaxies have a flux.

    Args:
        found: What the network finds, the point sources last.
        flux: True fluxes.
        area: What even light of one unit a pixel adds to the fluxes of the first ones [pixel].
        rms: Background noise, in their unit.
        n_stars: Number of point sources.
    """
    median = np.asarray(found.log_flux.median, float)[:, 0]
    stated, measured = (np.asarray(a, float)[:, 0] for a in (found.flux_err, found.flux))
    error = np.log(np.arcsinh(stated / measured))  # as of `calibration.log_error`
    brightness = median - np.log(rms)
    values = np.stack([brightness, brightness + error], axis=1)
    missing, sigma = np.log(flux) - median, np.hypot(np.exp(error), _FLOOR)
    known = np.isfinite(values).all(axis=1) & np.isfinite(missing) & np.isfinite(sigma)
    is_star = np.arange(len(flux)) >= len(flux) - n_stars
    galaxies, points = known & ~is_star, known & is_star
    if galaxies.sum() < _FEWEST:
        return None
    seen = values[galaxies]
    middle = seen.mean(axis=0)
    terms = np.concatenate([np.ones((len(seen), 1)), seen - middle], axis=1)
    slopes = _robust_fit(terms, missing[galaxies], sigma[galaxies])
    star = slopes[:1]
    if points.any():
        star = _robust_fit(np.ones((points.sum(), 1)), missing[points], sigma[points])
    lit = galaxies[: len(area)]
    ln_area, some = np.log(np.maximum(area[lit], 1)), terms[: lit.sum()]
    sky = _robust_fit(some, ln_area, np.full(len(some), _SPREAD))
    numbers = slopes, middle, seen.min(axis=0), seen.max(axis=0), star[0], sky
    return Response(*(np.asarray(a, np.float32) for a in numbers))


def _sources(seed: int) -> tuple[Galaxies, Galaxies, Float[np.ndarray, "n 2"]]:
    """Galaxies, stars, and the places of both from their pixels' corners."""
    rest = (1, 1), Survey().band_names, seed
    galaxies = random_sources(_GALAXIES, _MAGNITUDES, *rest)
    points = random_stars(_STARS, _BRIGHT, *rest)
    return galaxies.galaxies, points.galaxies, np.concatenate([galaxies.phase, points.phase])


def _psfs(survey: Survey, grid) -> list[Psf]:
    """The PSFs that are simulated, with all light: a sum is its share, and may be any, once cut."""
    if grid is None:
        return [completed(psf, WINGS_SIZE) for psf in field_psfs(survey)]
    sums = [float(image.sum(dtype=float)) for image in _cells(grid)]
    scale = survey.pixel_scale.value
    return [
        completed(Psf(image / s, scale), WINGS_SIZE, s)
        for image, s in zip(_cells(grid), sums, strict=True)
    ]


def _cells(grid) -> Float[np.ndarray, "n side side"]:
    """PSFs of a grid, some of them where they are many."""
    every = np.reshape(grid, (-1, *grid.shape[2:]))
    return every[:: -(-len(every) // _CELLS)]


def _noisy(light, rms, gain, covariance, seed) -> Float[np.ndarray, "n size size 1"]:
    """Light with the noise of background and photons, correlated as the sky's is."""
    rng = np.random.default_rng((seed, _NOISE))
    noise = rms * rng.standard_normal(light.shape)
    if gain is not None:
        noise += rng.poisson(light.clip(0) * gain) / gain - light.clip(0)
    n, size = light.shape[:2]
    strip = correlate_noise(noise.reshape(n * size, size), covariance)
    return (light + strip.reshape(light.shape)).astype(np.float32)


def _robust_fit(terms, values, sigma) -> Float[np.ndarray, " term"]:
    def residual(x):
        return (values - terms @ x) / sigma

    return least_squares(residual, np.zeros(terms.shape[1]), loss="huber").x
