"""What co-adding dithered exposures makes of the PSF and of the noise.

Every exposure is interpolated at the co-add's pixels, and the mean is taken. As long as its shift
is the same all over a stamp, an exposure's interpolation is a convolution with a comb of points, of
light and of noise alike: VIS is undersampled, so that the PSF of a co-add depends on its pattern of
dithers (Bertin+ 2002; Fruchter & Hook 2002, section 7 on the noise).

A co-add's rms is *white-equivalent*: that of independent pixels whose sums over large apertures are
as noisy. The scatter of correlated pixels is less.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import convolve

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import Psf, make_psf

_CLIPPED = 4.0
"""Scatter beyond which pixels of a sky are cut off."""
LARGEST_LAG = 5
"""Lag beyond which no kernel of `INTERPOLATIONS` correlates pixels [pixel]."""


class Dithers(NamedTuple):
    """Exposures of a co-add, as one place of it has them."""

    shift: Float[np.ndarray, "exposure 2"]
    """(y, x) of an exposure's pixel centres from the co-add's [pixel], of which whole pixels are of
    no account."""
    interpolation: str
    """Name of one of `INTERPOLATIONS`."""


def _bilinear(offset):
    return np.maximum(1 - abs(offset), 0)


def _lanczos3(offset):
    return np.where(abs(offset) < 3, np.sinc(offset) * np.sinc(offset / 3), 0)


INTERPOLATIONS: dict[str, tuple[int, Callable]] = {
    "bilinear": (1, _bilinear),
    "lanczos3": (3, _lanczos3),
}
"""Half the width [pixel] of SWarp's kernels, and their values at an offset along one axis."""


def draw_dithers(
    rng: np.random.Generator, exposures: tuple[int, int], interpolations: tuple[str, ...]
) -> Dithers:
    """A random pattern: any shifts within a pixel, of any number of exposures in a range.

    Args:
        rng: Generator of random numbers.
        exposures: Least and largest number of exposures.
        interpolations: Names of `INTERPOLATIONS`, each as likely.
    """
    n = int(rng.integers(exposures[0], exposures[1] + 1))
    return Dithers(rng.random((n, 2)), str(rng.choice(interpolations)))


class CoaddRecipe(NamedTuple):
    """Which PSFs of a family are those of co-adds."""

    share: float = 0.0
    """Share of the family; the others are of single exposures."""
    exposures: tuple[int, int] = (1, 6)
    """Least and largest number of a co-add's exposures."""
    interpolations: tuple[str, ...] = ("bilinear", "lanczos3")
    """Names of `INTERPOLATIONS`, each as likely."""


def coadd_some(
    family: Sequence[tuple[Psf, ...]],
    recipe: CoaddRecipe,
    *,
    pixel_scale: float,
    seed: tuple[int, ...],
) -> tuple[tuple[tuple[Psf, ...], ...], Float[np.ndarray, "n lag lag band"]]:
    """A family of which some members are co-adds', evenly spread, and each one's noise.

    Every band has dithers of its own. Member i depends on `seed` and i alone.

    Args:
        family: PSFs of exposures, one a band each.
        recipe: Share and kind of the co-adds.
        pixel_scale: Side of a pixel [arcsec].
        seed: Words of the seed.

    Raises:
        PsfError: An interpolation of another name, a share beyond 0 and 1, or no exposures.
    """
    _check(recipe)
    psfs, noise = [], []
    for i, member in enumerate(family):
        covariance = len(member) * [white_autocorrelation()]
        if int((i + 1) * recipe.share) > int(i * recipe.share):
            rng = np.random.default_rng((*seed, i))
            dithers = [draw_dithers(rng, recipe.exposures, recipe.interpolations) for _ in member]
            pairs = zip(member, dithers, strict=True)
            member = tuple(coadded_psf(psf, each, pixel_scale) for psf, each in pairs)
            covariance = list(map(noise_autocorrelation, dithers))
        psfs.append(member)
        noise.append(np.stack(covariance, axis=-1))
    return tuple(psfs), np.stack(noise).astype(np.float32)


def _check(recipe: CoaddRecipe) -> None:
    """Refuses settings that are none."""
    low, high = recipe.exposures
    for holds, name, found, wanted in (
        (0 <= recipe.share <= 1, "share", recipe.share, "0 to 1"),
        (1 <= low <= high, "exposures", recipe.exposures, "a least and a largest number from 1"),
        (
            recipe.interpolations and INTERPOLATIONS.keys() >= {*recipe.interpolations},
            "interpolations",
            recipe.interpolations,
            f"some of {sorted(INTERPOLATIONS)}",
        ),
    ):
        if not holds:
            raise PsfError(f"{name} of co-adds is {found}; wanted {wanted}")


def coadded_psf(psf: Psf, dithers: Dithers, pixel_scale: float) -> Psf:
    """The effective PSF of a co-add, from that of its exposures.

    Args:
        psf: Effective PSF of an exposure, sampled finely enough (Nyquist).
        dithers: Exposures.
        pixel_scale: Side of the co-add's pixel, and of the exposures' [arcsec].
    """
    side, step = len(psf.image), psf.pixel_scale / pixel_scale
    pad = int(np.ceil(2 * LARGEST_LAG / step))  # what is shifted over the edge must not come back
    frequency = np.fft.fftfreq(side + pad) / step  # [cycles per pixel of the co-add]
    transfer = np.zeros((len(frequency),) * 2, complex)
    for offset, weight in map(_comb, dithers.shift, [dithers.interpolation] * len(dithers.shift)):
        waves = np.exp(2j * np.pi * frequency[:, None, None] * offset)
        along = np.einsum("fta,ta->fa", waves, weight)
        transfer += along[:, None, 0] * along[:, 1] / len(dithers.shift)
    padded = np.pad(psf.image, (0, pad))
    image = np.fft.ifft2(np.fft.fft2(padded) * transfer).real[:side, :side]
    return make_psf(image, psf.pixel_scale, source="PSF of a co-add")


def noise_autocorrelation(dithers: Dithers) -> Float[np.ndarray, "lag lag"]:
    """Autocovariance of a co-add's noise, in units of the white-equivalent variance.

    Lags of -5 to 5 pixels along y and x; their sum is 1, and the middle one is the variance of a
    pixel.
    """
    total = np.zeros((2 * LARGEST_LAG + 1,) * 2)
    for shift in dithers.shift:
        _, weight = _comb(shift, dithers.interpolation)
        y, x = (_padded(np.correlate(w, w, "full")) for w in weight.T)
        total += np.outer(y, x) / len(dithers.shift)
    return total


def white_autocorrelation() -> Float[np.ndarray, "lag lag"]:
    """`noise_autocorrelation` of pixels that are independent."""
    return np.outer(*2 * [_padded(np.ones(1))])


def autocovariance(
    sky: Float[np.ndarray, "height width"], largest: int
) -> Float[np.ndarray, "lag lag"]:
    """Autocovariance of the pixels of a sky, far ones clipped, at lags (y, x) about 0.

    Args:
        sky: Pixels of the sky, in any unit; NaN elsewhere.
        largest: Largest lag along either axis [pixel].
    """
    known = np.isfinite(sky)
    values = np.where(known, np.nan_to_num(sky) - np.median(sky[known]), 0).astype(float)
    clip = _CLIPPED * 1.4826 * np.median(np.abs(values[known]))
    values = values.clip(-clip, clip)
    total = np.zeros((2 * largest + 1,) * 2)
    for y in range(largest + 1):
        for x in range(-largest if y else 0, largest + 1):
            found = _covariance(values, known, y, x)
            total[largest + y, largest + x] = found
            total[largest - y, largest - x] = found
    return total


def correlate_noise(
    white: Float[np.ndarray, "height width"], covariance: Float[np.ndarray, "lag lag"] | None
) -> Float[np.ndarray, "height width"]:
    """Noise of independent pixels as resampling leaves it: its sums over large apertures stay.

    Args:
        white: Independent pixels, of any variance.
        covariance: Autocovariance, of unit sum, its middle lag 0; None if they stay independent.
    """
    if covariance is None:
        return white
    from scipy.signal import oaconvolve  # whose import takes as long as all of JAX's

    lags, middle = len(covariance), len(covariance) // 2
    side = 8 * middle
    centred = np.roll(np.pad(covariance, (0, side - lags)), (-middle,) * 2, axis=(0, 1))
    kernel = np.fft.ifft2(np.sqrt(np.fft.fft2(centred).real.clip(0))).real
    kernel = np.roll(kernel, (side // 2,) * 2, axis=(0, 1))[1:, 1:]
    return oaconvolve(white, kernel / kernel.sum(), mode="same").astype(white.dtype)


def _covariance(values, known, y: int, x: int) -> float:
    """Mean product of the pixels of a sky that are known, y and x apart."""
    height, width = values.shape
    first = slice(0, height - y), slice(max(-x, 0), width - max(x, 0))
    second = slice(y, height), slice(max(x, 0), width - max(-x, 0))
    pairs = (known[first] & known[second]).sum()
    return float((values[first] * values[second]).sum() / max(pairs, 1))


def pixel_variance(covariance: Float[np.ndarray, "lag lag"] | None) -> float:
    """Variance of a pixel in units of the white-equivalent one, 1 of white noise.

    Args:
        covariance: Autocovariance of the noise, of unit sum, its middle lag 0; None if white.
    """
    return 1.0 if covariance is None else float(covariance[tuple(n // 2 for n in covariance.shape)])


def filtered_rms(
    kernel: Float[np.ndarray, "height width"],
    covariance: Float[np.ndarray, "lag lag"] | None = None,
) -> float:
    """Rms of filtered noise of unit white-equivalent rms.

    Args:
        kernel: Filter.
        covariance: Autocovariance of the noise, of unit sum, its middle lag 0; None if white.
    """
    if covariance is None:
        return float(np.linalg.norm(kernel))
    return float(np.sqrt(np.vdot(kernel, convolve(kernel, covariance, mode="constant")).clip(0)))


def _comb(shift, interpolation: str):
    """Offsets (tap, 2) of an exposure's pixels from one of the co-add's, and weights of unit sum.

    The weight of an exposure's pixel is the product of those along y and x.
    """
    reach, kernel = INTERPOLATIONS[interpolation]
    offset = np.arange(-reach, reach)[:, None] + np.mod(shift, 1)
    weight = kernel(offset)
    return offset, weight / weight.sum(axis=0)


def _padded(values) -> Float[np.ndarray, " lag"]:
    """Values about lag 0, up to the largest lag."""
    return np.pad(values, LARGEST_LAG - len(values) // 2)
