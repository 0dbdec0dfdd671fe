"""The light that sources add to an image, and its photon noise, which its resampling blurs."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vaedeblend.evaluate.added.ground import Ground
from vaedeblend.evaluate.added.inputs import Inputs
from vaedeblend.io import write
from vaedeblend.io.mosaic import NOISES, Mosaic, as_rms, image_header, open_mosaic
from vaedeblend.pixels.coadds import correlate_noise
from vaedeblend.pixels.psfs.wings import WINGS_SIZE, completed
from vaedeblend.pixels.stamps import overlap
from vaedeblend.simulate.library import (
    STAMP_SIZES,
    PlacedSources,
    render_stamps,
    stamp_sizes,
)
from vaedeblend.simulate.render import finer_psf

_PHOTONS = 22
"""Purpose of random numbers; `library` has the others."""


def write_with(
    sources: PlacedSources, inputs: Inputs, ground: Ground, folder: Path, seed: int
) -> dict[str, Any]:
    """Writes an image with sources added to it, and the map of its noise where that is total.

    Args:
        sources: Sources on the image.
        inputs: The image.
        ground: How it shows light.
        folder: Folder that takes image.fits, and total_rms.fits where the noise is total.
        seed: Seed of the photons.

    Returns:
        Options of `pipeline.deblend_image` for it.
    """
    light = added_light(sources, ground, seed)
    noise, variance = photon_noise(light, ground, seed)
    options = inputs.options | {"hdu": None, "zero_point": ground.zero_point}
    if ground.gain is not None and not ground.is_total:  # which may be another than the header's
        options |= {"gain": ground.gain}
    with open_mosaic(inputs.image, **inputs.files) as mosaic:
        whole = tuple(slice(0, side) for side in mosaic.shape)
        header, pixels = image_header(mosaic), mosaic.read(*whole)
        values = np.where(pixels.bad, np.nan, pixels.image + light + noise)
        _write(folder / "image.fits", values, header)
        if ground.is_total:
            path = folder / "total_rms.fits"
            _write(path, np.hypot(_raw_rms(mosaic, whole), np.sqrt(variance)), header)
            options |= dict.fromkeys(NOISES) | {"rms": str(path)}
    return options


def added_light(
    sources: PlacedSources, ground: Ground, seed: int
) -> Float[np.ndarray, "height width"]:
    """Noise-free light of sources, each seen through the PSF of its cell [image unit].

    A flux is that of all light: what the PSF's image lacks of it lies in wings beyond.

    Args:
        sources: Sources on the image, of one band.
        ground: The image.
        seed: Seed of what a style leaves to chance.
    """
    light, scale = np.zeros(ground.shape, np.float32), ground.pixel_scale
    cells = ground.cell(sources.position)
    for row, column in np.unique(cells, axis=0).tolist():
        own = np.flatnonzero((cells == (row, column)).all(axis=1))
        psf = finer_psf(completed(ground.psfs[row][column], WINGS_SIZE), scale)
        _add(light, sources, own, psf, scale, seed)
    light *= ground.unit
    return light


def photon_noise(
    light: Float[np.ndarray, "height width"], ground: Ground, seed: int
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Photon noise of added light, and its variance by the white-equivalent rms.

    Both are 0 where the gain is not known.

    Args:
        light: Light without noise [image unit].
        ground: The image.
        seed: Seed of the noise.
    """
    if ground.gain is None:
        return np.zeros_like(light), np.zeros_like(light)
    gain, light = np.asarray(ground.gain, np.float32), light.clip(0)
    variance = np.where(gain > 0, light / np.where(gain > 0, gain, 1), 0)
    electrons = np.random.default_rng((seed, _PHOTONS)).poisson(light * gain)
    white = np.where(gain > 0, electrons / np.where(gain > 0, gain, 1) - light, 0)
    return correlate_noise(white.astype(np.float32), ground.correlation), variance


def _raw_rms(mosaic: Mosaic, whole) -> Float[np.ndarray, "height width"]:
    """The map of the noise as an rms, pixels without data as they are."""
    return as_rms(mosaic.noise, mosaic.read_raw(*whole).rms)


def _write(path: Path, values, header) -> None:
    with write.write_image(path, values.shape, header) as put:
        put(values)


def _add(light, sources: PlacedSources, own, psf, scale: float, seed: int) -> None:
    """Adds the light of the sources of one cell [uJy]."""
    galaxies = sources.galaxies.take(own)
    sizes = stamp_sizes(galaxies, (psf,), scale, STAMP_SIZES)
    for size in np.unique(sizes).tolist():
        here = np.flatnonzero(sizes == size)
        members = own[here]
        stamps = render_stamps(
            galaxies.take(here),
            sources.phase[members],
            seeds=[(seed, i) for i in members.tolist()],
            psfs=[(psf,)],
            size=size,
            pixel_scale=scale,
        )
        for i, stamp in zip(members, stamps, strict=True):
            corner = (sources.pixel[i] - size // 2).tolist()
            on_image, on_stamp = overlap(corner, size, light.shape)
            light[on_image] += stamp[on_stamp][..., 0]
