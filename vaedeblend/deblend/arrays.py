"""The one door by which users' arrays come in: native, in single precision, of the right shape.

A compiled program reads the bytes of an array of foreign order, as FITS files hold them, as if
they were its own, and knows nothing of masks and units: whatever is not plain is made so here.
Arrays that are being traced come from a program that has already passed the door, and go on as
they are; arrays on a device are native.
"""

import warnings
from typing import NamedTuple

import astropy.units as u
import jax
import numpy as np
from astropy.nddata import NDData, NDUncertainty, VarianceUncertainty
from jaxtyping import Float

from vaedeblend.exceptions import StampError
from vaedeblend.io.fits.numbers import as_uncertainty
from vaedeblend.pixels.psf import PSF_SIZE, encircled_energy

_AXES = "(batch, height, width, band)"
_UNIT_SUM = 1e-4
"""Departure of a PSF's sum from its share of light that is rounding of its pixels."""
_FAINTEST, _BRIGHTEST = 1e-37, 1e37
"""Variances beyond which single precision has no number."""


_NOISELESS = 1e-6
"""Scatter over the rms below which stamps hold no noise that could be judged."""
_MANY, _FACTOR, _FACTOR_OF_FEW = 8, 3.0, 6.0
"""Stamps from which on neighbours at single edges do not tell, and factors of the rms that are no
accident of so many, and of fewer."""
_EDGE, _LAG, _DIFFERENCE = 4, 4, 0.6745 * np.sqrt(2)
"""Width of a stamp's edge, distance of pixels whose difference is noise [pixel], and its median."""
_COVERED = 0.1
"""Share of a galaxy's light on ignored pixels that is said, as of images."""
_RANGE = 1e10
"""An rms beyond this, or below its inverse, is scaled: fourth powers leave single precision."""


class StampWarning(UserWarning):
    """What a user should know of stamps that are measured nevertheless."""


class Stamps(NamedTuple):
    """Arguments of a deblender, each an array that a compiled program reads as it was meant."""

    image: np.ndarray | jax.Array
    """(batch, height, width, band), in the unit of the caller's image."""
    variance: np.ndarray | jax.Array
    """In that unit squared, of a shape that the image's holds."""
    mask: np.ndarray | jax.Array | None
    """(batch, height, width, band) or (batch, height, width, 1)."""
    psf: np.ndarray | jax.Array | None
    gain: np.ndarray | jax.Array | None
    neighbours: np.ndarray | jax.Array | None


class _Given(NamedTuple):
    """An argument: its plain numbers, its unit and its mask, as far as it has them."""

    values: np.ndarray | jax.Array
    unit: u.UnitBase | None = None
    mask: np.ndarray | None = None


def as_stamps(
    image,
    variance,
    mask=None,
    psf=None,
    gain=None,
    neighbours=None,
    *,
    size: int | None = None,
    bands: int | None = None,
) -> Stamps:
    """A caller's arguments as a deblender takes them.

    Big-endian arrays, doubles, integers and lists become native arrays in single precision. A
    masked pixel of image or variance is ignored, as is one of an NDData. Units are stripped: those
    of variance, gain and neighbours are first brought to the image's. A PSF is cut to the size that
    networks know; where its sum is not the share of light that it holds (0.9 to 1), it is made 1.

    Args:
        image: Stamps (batch, height, width, band): an array, masked array, Quantity or NDData.
        variance: Background variance, a number or an array that the image's shape holds; None
            where an NDData of the image has an uncertainty.
        mask: True where a pixel is to be ignored.
        psf: Effective PSF, one or one for each stamp.
        gain: Electrons per image unit.
        neighbours: Light that was subtracted from the image.
        size: Side of the stamps that are wanted [pixel]; any without.
        bands: Number of bands that is wanted; any without.

    Raises:
        StampError: A shape, a unit or a PSF is not what is wanted.
    """
    if variance is None:
        variance = getattr(image, "uncertainty", None)
        if variance is None:
            raise StampError("no variance is given, and the image has no uncertainty; wanted one")
    pixels, noise = _given(image, "image"), _given(variance, "variance")
    light = None if neighbours is None else _given(neighbours, "neighbours")
    _check_image(pixels.values, size, bands)
    shape = pixels.values.shape
    values = _in_unit(noise, _squared(pixels.unit), "variance")
    _check_variance(values, shape)
    _check_range(values)
    ignored = (_as_mask(each, shape) for each in (mask, pixels.mask, noise.mask))
    return Stamps(
        _single(pixels.values),
        _single(values),
        _any(ignored),
        as_psf(psf, shape[0], shape[-1]),
        None if gain is None else _as_gain(gain, pixels.unit, shape),
        None if light is None else _as_neighbours(light, pixels.unit, shape),
    )


def check_noise(
    image: Float[np.ndarray, "batch height width band"],
    variance: Float[np.ndarray, "batch height width band"],
) -> None:
    """Warns where stamps scatter at their edges by what their variance cannot be.

    Args:
        image: Stamps.
        variance: Their variance; infinite where a pixel is ignored.
    """
    if min(image.shape[1:3]) <= 2 * _LAG:
        return
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    pixels, noise = (np.where(valid, each, np.nan).astype(float) for each in (image, variance))
    rows = np.concatenate([pixels[:, :_EDGE], pixels[:, -_EDGE:]], axis=1)
    columns = np.concatenate([pixels[:, :, :_EDGE], pixels[:, :, -_EDGE:]], axis=2)
    lags = rows[:, :, _LAG:] - rows[:, :, :-_LAG], columns[:, _LAG:] - columns[:, :-_LAG]
    steps = np.concatenate([np.abs(each).reshape(len(image), -1) for each in lags], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of stamps without a valid pixel
        scatter = np.nanmedian(steps, axis=1) / _DIFFERENCE
        ratio = scatter / np.sqrt(np.nanmedian(noise.reshape(len(image), -1), axis=1))
    known = ratio[np.isfinite(ratio) & (ratio > _NOISELESS)]
    most = _FACTOR if len(known) >= _MANY else _FACTOR_OF_FEW
    if not len(known) or 1 / most < np.median(known) < most:
        return
    text = f"variance: pixels at the stamps' edges scatter by {np.median(known):.3g} times its root"
    text += "; wanted about 1: is it an rms, an inverse variance, or in another unit?"
    warnings.warn(text, StampWarning, stacklevel=3)


def warn_of_hidden_light(share: Float[np.ndarray, " batch"], most: float) -> None:
    """Warns of stamps whose galaxies lie on pixels to be ignored.

    Args:
        share: Share of each galaxy's light that does.
        most: Share beyond which its flux is not believed.
    """
    lost, part = int((share > most).sum()), int(((share > _COVERED) & (share <= most)).sum())
    if not lost + part:
        return
    text = f"of {len(share)} stamps, {part} have more than {_COVERED:g} of the galaxy's light on "
    text += f"pixels to be ignored, which is a guess, and {lost} more than {most:g}: their fluxes "
    warnings.warn(text + "are NaN", StampWarning, stacklevel=4)


def unit_scale(variance: np.ndarray) -> float:
    """Power of two that brings the rms of stamps near 1; 1 where squares are within range."""
    known = variance[np.isfinite(variance) & (variance > 0)]
    rms = float(np.sqrt(np.median(known))) if known.size else 1.0
    return 1.0 if 1 / _RANGE < rms < _RANGE else float(2.0 ** -np.rint(np.log2(rms)))


def native(values):
    """An array in the machine's byte order; None, and one on a device or being traced, as it is."""
    if values is None or isinstance(values, jax.Array):
        return values
    values = np.asarray(values)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _given(argument, name: str) -> _Given:
    """The parts of an argument."""
    if isinstance(argument, jax.Array):  # a tracer is one, too
        return _Given(argument)
    if isinstance(argument, NDUncertainty):
        argument = as_uncertainty(argument, VarianceUncertainty, StampError)
        return _Given(_numbers(argument.array, name), argument.unit)
    if isinstance(argument, NDData):
        values = _given(argument.data, name)
        masks = [m for m in (values.mask, argument.mask) if m is not None]
        return _Given(values.values, argument.unit, np.any(masks, axis=0) if masks else None)
    unit, mask = getattr(argument, "unit", None), getattr(argument, "mask", None)
    if isinstance(argument, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(argument)
    if isinstance(mask, np.ndarray):
        return _Given(_numbers(_plain(argument.filled(0)), name), unit, mask)
    return _Given(_numbers(_plain(argument), name), unit)


def _plain(argument):
    """A Quantity's or a column's numbers."""
    return getattr(argument, "value", argument)


def _numbers(values, name: str) -> np.ndarray:
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise StampError(f"{name}: no array ({error}); wanted numbers") from error
    if values.dtype.kind not in "biuf":
        raise StampError(f"{name}: values of type {values.dtype}; wanted numbers")
    return values


def _single(values):
    """Native, in single precision; what is being traced as it is."""
    if isinstance(values, jax.core.Tracer):
        return values
    if isinstance(values, jax.Array):
        return values.astype(np.float32)
    return np.asarray(values, np.float32)


def _squared(unit: u.UnitBase | None) -> u.UnitBase | None:
    return None if unit is None else unit**2


def _in_unit(given: _Given, unit: u.UnitBase | None, name: str):
    """Values in a unit, which image and argument have both or neither."""
    if given.unit == unit:
        return given.values
    try:
        if given.unit is None or unit is None:
            raise u.UnitConversionError
        return given.unit.to(unit, given.values)
    except u.UnitConversionError as error:
        found, wanted = (each or "no unit" for each in (given.unit, unit))
        raise StampError(f"{name}: in {found}; wanted {wanted}, as the image has it") from error


def _check_image(values, size: int | None, bands: int | None) -> None:
    shape = values.shape
    if len(shape) != 4:
        hint = {2: "image[None, ..., None]", 3: "image[..., None]"}.get(len(shape))
        hint = f"; {hint} is one band's" if hint else ""
        raise StampError(f"image: shape {shape}; wanted four axes, {_AXES}{hint}")
    sides = (size or shape[1], size or shape[1], bands or shape[3])
    if shape[1:] != sides:
        hint = ""
        if shape[2] == shape[3] != shape[1] and (bands in (None, shape[1])):
            hint = "; np.moveaxis(image, 1, -1) puts the bands last"
        wanted = ", ".join(map(str, sides))
        raise StampError(f"image: shape {shape}; wanted (batch, {wanted}), as {_AXES}{hint}")


def _check_variance(values, shape: tuple[int, ...]) -> None:
    own = np.shape(values)
    if not _held(own, shape) or (len(own) == 4 and own[0] != shape[0]):
        raise StampError(f"variance: shape {own}; wanted a number, or the image's {shape}")


def _held(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array can be broadcast to a shape."""
    pairs = zip(own[::-1], shape[::-1], strict=False)
    return len(own) <= len(shape) and all(a in (1, b) for a, b in pairs)


def _check_range(values) -> None:
    """Refuses variances below 0, and such as vanish in single precision, all of them."""
    if isinstance(values, jax.Array):
        return
    if (least := np.nanmin(values, initial=0)) < 0:
        raise StampError(f"variance: its least is {least:.3g}; wanted none below 0")
    positive = values[np.isfinite(values) & (values > 0)] if values.ndim else values[None]
    if positive.size and (positive.max() < _FAINTEST or positive.min() > _BRIGHTEST):
        raise StampError(
            f"variance: {np.median(positive):.3g}, which single precision does not hold; wanted "
            "image and variance in a unit in which the rms is not far from one"
        )


def _as_mask(mask, shape: tuple[int, ...]):
    """True where a pixel is to be ignored, with a band axis; of (height, width), for all stamps."""
    if mask is None:
        return None
    if not isinstance(mask, jax.Array):
        mask = np.ma.filled(np.ma.asarray(mask), True).astype(bool)
    if mask.ndim < 4:
        mask = mask[..., None]
    if mask.ndim < 3 or not _held(mask.shape, shape):
        raise StampError(f"mask: shape {mask.shape}; wanted the image's {shape}, or {shape[:-1]}")
    return mask


def _any(masks):
    """True where one of several masks is, of which some are None; None where all are."""
    found = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else found | mask
    return found


def _as_gain(gain, unit: u.UnitBase | None, shape: tuple[int, ...]):
    """Electrons per unit of the image; a plain number is taken to be so."""
    given = _given(gain, "gain")
    values = given.values
    if given.unit is not None:
        values = _in_unit(given, u.electron / (unit or u.dimensionless_unscaled), "gain")
    if not _held(values.shape, (shape[0], shape[3])):
        wanted = f"a number, ({shape[3]},) or ({shape[0]}, {shape[3]})"
        raise StampError(f"gain: shape {values.shape}; wanted {wanted}, one a band of a stamp")
    if not isinstance(values, jax.Array) and not (values > 0).all():
        raise StampError(f"gain: {np.min(values):.4g}; wanted positive numbers")
    return _single(values)


def _as_neighbours(given: _Given, unit: u.UnitBase | None, shape: tuple[int, ...]):
    values = _in_unit(given, unit, "neighbours")
    if values.shape != shape:
        raise StampError(f"neighbours: shape {values.shape}; wanted the image's, {shape}")
    return _single(values)


def as_psf(psf, n: int, bands: int):
    """PSFs that sum to the light that they hold; those that are being traced as they are.

    Args:
        psf: Effective PSF, one or one for each stamp; None remains None.
        n: Number of stamps.
        bands: Number of bands.

    Raises:
        StampError: A shape or a pixel is not what is wanted.
    """
    if psf is None:
        return None
    values = _given(psf, "psf").values
    if values.ndim not in (3, 4) or values.shape[-1] != bands:
        wanted = f"(height, width, {bands}), or one for each of the {n} stamps"
        raise StampError(f"psf: shape {values.shape}; wanted {wanted}")
    if values.ndim == 4 and values.shape[0] not in (1, n):
        raise StampError(f"psf: {values.shape[0]} of them; wanted one, or {n}, as stamps")
    height, width = values.shape[-3:-1]
    if height != width or height % 2 == 0:
        raise StampError(f"psf: {height} x {width} pixels; wanted a square image of odd side")
    if isinstance(values, jax.core.Tracer):
        return values
    return _of_their_light(values)


def _of_their_light(psf):
    """PSFs as networks know them: each peaks at its middle pixel, and sums to the light it holds.

    They are as they were where that is so already; none is wider than networks are trained on.
    """
    values = np.asarray(psf, np.float64)
    if not np.isfinite(values).all():
        raise StampError(f"psf: {np.sum(~np.isfinite(values))} NaN or inf pixels; wanted none")
    if not ((total := values.sum(axis=(-3, -2))) > 0).all():
        raise StampError(f"psf: sum {total.min():.3g}; wanted a positive sum")
    side = values.shape[-2]
    flat = np.moveaxis(values, -1, -3).reshape(-1, side * side)
    off = np.abs(np.stack(np.divmod(flat.argmax(axis=1), side)) - side // 2).max(axis=0, initial=0)
    if (off > 1).any():
        raise StampError(f"psf: brightest {off.max()} pixels off its middle one; wanted it there")
    beyond = max(side - PSF_SIZE, 0) // 2
    core = slice(beyond, side - beyond)
    total = total[..., None, None, :]
    light = encircled_energy(total)
    if not beyond and np.abs(total - light).max() <= _UNIT_SUM:
        return _single(psf)
    return (values[..., core, core, :] / total * light).astype(np.float32)
