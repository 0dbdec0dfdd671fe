"""Draws from the posterior of a galaxy's flux and profile, on a stamp and on an image."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaedeblend.image.tiles import Instrument, Job, network_at, read_pixels
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.models.sinh_arcsinh import quantile
from vaedeblend.models.vae import VAE, psf_features
from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import stamp_centre

ProfileDecoder = Callable[..., Float[Array, "n height width band"]]
"""`z -> profile` of unit flux, under one PSF."""


def make_decode(
    model: VAE, params: dict, psf: Float[np.ndarray | Array, "side side band"]
) -> ProfileDecoder:
    """The jitted function from latents to profiles of unit flux, under the PSF `psf`."""
    features = psf_features(jnp.asarray(psf))

    @jax.jit
    def decode(z):
        condition = jnp.broadcast_to(features, (len(z), features.shape[-1]))
        return model.apply({"params": params}, z, condition, method="decode")

    return decode


def draw_flux_and_light(
    decode: ProfileDecoder, found, key
) -> tuple[Float[np.ndarray, "n band"], Float[np.ndarray, "n height width band"]]:
    """A flux and an image of each galaxy, drawn from the posterior of its flux and profile.

    Args:
        decode: Decoder of the network.
        found: What the network found (`network.Deblended`).
        key: Random key.
    """
    latent_key, flux_key = jax.random.split(key)
    noise = jax.random.normal(latent_key, found.latent_mean.shape)
    score = jax.random.normal(flux_key, found.flux.shape)
    flux = jnp.exp(quantile(found.log_flux, score))
    profile = decode(jnp.asarray(found.latent_mean + noise * found.latent_std))
    return np.asarray(flux), np.asarray(flux[:, None, None] * profile)


def draw_source(
    job: Job, profiles: Profiles, row: int, n: int, seed: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n size size"], int]:
    """Fluxes of a source, its light on its stamp's pixels [image unit], and these' binning.

    The network measures the source once more, less its neighbours' light as it was found.

    Args:
        job: How the image was measured.
        profiles: Light of all its sources.
        row: Row of the source.
        n: Number of draws.
        seed: Seed of the draws.
    """
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
    psf = given.get("psf", deblend.psf)
    decode = make_decode(deblend.model, deblend.params, np.reshape(psf, deblend.psf.shape))
    found = jax.tree.map(lambda a: jnp.repeat(a, n, axis=0), deblend(**given))
    flux, light = draw_flux_and_light(decode, found, jax.random.key(seed))
    return flux[:, 0] / scale, light[..., 0] / scale, int(profiles.binning[row])


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
