"""Numbers as users give them: plain, as texts, of arrays, and with units."""

from numbers import Real

import astropy.units as u
import numpy as np
from astropy.nddata import NDData, NDUncertainty

from vaedeblend.exceptions import MosaicError, VaedeblendError

_POWER = {"rms": 1, "variance": 2, "weight": -2}
"""Power of the image's unit in which noise is, by its form."""
_ALIKE = [(u.pix, None), *u.zero_point_flux(3631 * u.Jy)]
"""Fluxes are of pixels, whether their unit says so or not; maggies are those of AB magnitudes."""


def as_number(value, name: str) -> float | None:
    """A number, whatever holds it; None stays.

    Args:
        value: Number, its text, an array of one, or a Quantity of no unit or in magnitudes.
        name: What it is, for messages.

    Raises:
        MosaicError: It is no number, or in another unit.
    """
    if value is None:
        return None
    if getattr(value, "unit", None) not in (None, u.dimensionless_unscaled, u.mag, u.ABmag):
        raise MosaicError(f"{name}: in {value.unit}; wanted a plain number")
    try:
        values = np.asarray(getattr(value, "value", value), float)
    except (TypeError, ValueError) as error:
        raise MosaicError(f"{name}: {_shown(value)}; wanted a number") from error
    if values.size != 1:
        raise MosaicError(f"{name}: {values.size} numbers; wanted one")
    return float(values.ravel()[0])


def as_count(value, name: str, least: int = 0) -> int | None:
    """A whole number, whatever holds it; None stays.

    Raises:
        MosaicError: It is no whole number, or below the least.
    """
    number = as_number(value, name)
    if number is None:
        return None
    if not number.is_integer():
        raise MosaicError(f"{name} is {number:g}; wanted a whole number")
    if number < least:
        raise MosaicError(f"{name} is {number:.0f}; wanted at least {least}")
    return int(number)


def as_gain(value, unit: u.UnitBase | None) -> float | None:
    """Electrons per image unit.

    Args:
        value: As `as_number` takes it, or a Quantity in electrons per unit.
        unit: The image's, where it is known.

    Raises:
        MosaicError: It is no number, or in a unit that the image's does not fit.
    """
    given = getattr(value, "unit", None)
    if given is None or given == u.dimensionless_unscaled:
        return as_number(value, "gain")
    for each in (unit, u.adu, u.dimensionless_unscaled):
        if each is not None and given.is_equivalent(u.electron / each):
            return as_number(value.to_value(u.electron / each), "gain")
    wanted = u.electron / (unit or u.adu)
    raise MosaicError(f"gain: in {given}; wanted {wanted}, as the image has it")


def as_noise(value, form: str, unit: u.UnitBase | None):
    """Noise in the unit of the image; as it is where that is not known.

    Args:
        value: Quantity or NDData, with a unit.
        form: What it is: rms, variance or weight.
        unit: The image's.

    Raises:
        MosaicError: It is in a unit that the image's does not fit.
    """
    if unit is None:
        return value
    power = _POWER[form]
    try:
        factor = (value.unit ** (1 / power)).to(unit, equivalencies=_ALIKE) ** power
    except u.UnitConversionError as error:
        text = f"{form}: in {value.unit}; wanted {unit**power}, as the image has it"
        raise MosaicError(text) from error
    numbers = value.data if isinstance(value, NDData) else value.value
    return u.Quantity(factor * numbers, unit**power)


def as_uncertainty(
    value: NDUncertainty, kind: type[NDUncertainty], error: type[VaedeblendError]
) -> NDUncertainty:
    """An uncertainty of another kind.

    Raises:
        error: It is of no kind that says what its numbers are, as a plain array's is.
    """
    try:
        return value.represent_as(kind)
    except TypeError as failure:
        wanted = "StdDevUncertainty, VarianceUncertainty or InverseVariance"
        raise error(f"uncertainty: {type(value).__name__}; wanted {wanted}") from failure


def is_constant(value) -> bool:
    """Whether a number, an array of one, or a Quantity of one stands for a whole image."""
    return isinstance(value, Real | np.ndarray | list | tuple) and np.size(value) == 1


def _shown(value) -> str:
    return repr(value) if isinstance(value, str) else type(value).__name__
