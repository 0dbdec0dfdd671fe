"""Draws from the posterior of the flux and profile of a galaxy on an image."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from vaedeblend.exceptions import CatalogueError
from vaedeblend.image.tiles import Instrument, Job, network_at, read_pixels
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.models.sinh_arcsinh import draw_galaxies
from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import stamp_centre


def draw_source(
    job: Job, profiles: Profiles, row: int, n: int, seed: int, *, flux: float, flux_err: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n size size"], int]:
    """Fluxes of a source, its light on its stamp's pixels [image unit], and these' binning.

    The network measures the source once more, less its neighbours' light as it was found. Its
    posterior is moved, and widened in the flux's logarithm, to the catalogue's flux and error,
    which hold what the pixels tell beside it.

    Args:
        job: How the image was measured.
        profiles: Light of all its sources.
        row: Row of the source.
        n: Number of draws.
        seed: Seed of the draws.
        flux: The catalogue's flux of the source [image unit].
        flux_err: Its error.

    Raises:
        CatalogueError: The weights are of several bands, of which the neighbours' light is kept of
            the first alone.
    """
    if job.bands:
        raise CatalogueError(f"samples of {job.weights}, weights of several bands: wanted one")
    with open_mosaic(job.image, **job.files) as mosaic:
        low = np.clip(profiles.corner[row], 0, None)
        high = np.minimum(profiles.corner[row] + profiles.sides[row], mosaic.shape)
        window = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        image, rms = read_pixels(mosaic, job.background, *window)
        network, scale = network_at(job, mosaic, low), mosaic.scale
    near = profiles.reaching(low, high)
    neighbours = profiles.select(near[near != row]).moved(low).lay(image.shape)
    own = profiles.select(np.array([row])).moved(low)
    pixels = image * scale, rms * scale, neighbours * scale
    given = _given(network, *pixels, own)
    deblend = network.deblend
    decode = partial(deblend.decode, psf=given.get("psf"))
    found = jax.device_get(deblend(**given))
    of_each = jax.tree.map(lambda a: np.repeat(a, n, axis=0), found)
    known = of_each.latent_mean, of_each.latent_std, of_each.log_flux
    drawn = draw_galaxies(decode, *known, jax.random.key(seed))
    fluxes, light = (np.asarray(each)[..., 0].astype(float) for each in drawn)
    median, error = (float(a[0, 0]) for a in (found.flux, found.flux_err))
    wider = np.arcsinh(flux_err / abs(flux)) / np.arcsinh(error / median)
    moved = flux * (fluxes / median) ** wider
    return moved, light * (moved / fluxes)[:, None, None], int(profiles.binning[row])


def _given(network: Instrument, image, rms, neighbours, own: Profiles) -> dict:
    """Arguments of the network for one source, whose profile stands on the piece of the image."""
    size, binning = network.size, own.binning
    index, corner = np.zeros(1, int), own.corner + (binning[:, None] - 1) * size // 2
    frames = [values[None, ..., None] for values in (image - neighbours, np.square(rms))]
    padded = PaddedImages(*frames, size=size, most=int(binning[0]))
    light = PaddedImages(neighbours[None, ..., None], frames[1], size=size, most=padded.most)
    given = {
        "image": padded.cut(padded.image, index, corner, binning),
        "variance": padded.noise(index, corner, binning),
        "neighbours": padded.cut(light.image, index, corner, binning),
    }
    if network.gain is not None:
        given["gain"] = network.gain
    if network.psf is not None:
        given["psf"] = network.psf(index, corner + stamp_centre(size))
    return given
