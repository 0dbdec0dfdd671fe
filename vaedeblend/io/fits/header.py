"""What the header of an image says of it: units, zero point, gain, coordinates, and what is wrong.

Nothing is guessed: a card that cannot be used is named in `Facts.notes`.
"""

import re
import warnings
from collections.abc import Collection, Mapping
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from vaedeblend.io.fits.sky import to_sky

_ZERO_POINTS = (
    *("MAGZERO", "MAGZPT", "MAGZP", "MAG_ZERO", "ZEROPNT", "ZEROPOINT", "ZP", "PHOTZP"),
    *("ABMAGZP", "ABZP", "ZPAB", "ZP_STACK"),
)
_LIKE_ZERO_POINTS = re.compile(r"(?!.?ZERO\d*$).*(ZP|ZERO|FLUXMAG0|PHOTFLAM).*")
"""Cards that may tell a zero point, of whatever meaning: none is BZERO, or TZERO1."""
_FAINTEST = 90.0
"""Zero points beyond are marks of unknown ones [mag]."""
_GAINS = "GAIN", "EGAIN"
_ELECTRONS = {"e", "e-", "electron", "electrons", "photoelectron", "photoelectrons"}
"""Units of images that count electrons."""
_SCALES = "PIXSCALE", "PIXELSCL", "PSFSCALE"
_EXPOSURES = "EXPTIME", "TEXPTIME", "EXPOSURE"
_SATURATIONS = "SATURATE", "SATLEVEL", "SATURLEV"
_INHERITED = _ZERO_POINTS, _GAINS, _SCALES, _EXPOSURES, _SATURATIONS, ("BUNIT",)

PSF_SECTION = "PSFSEC"
"""Card of the part of an image that its PSFs are of, as `as_section` writes it."""
_SECTION = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")

_NAMES = {"ujy": "uJy", "microjy": "uJy", "njy": "nJy", "nanojy": "nJy", "jy": "Jy"}
_NAMES |= dict.fromkeys(("nanomaggy", "nanomaggie", "nanomaggies", "nmgy"), "3.631e-6 Jy")
"""Units that are known whatever the case: mJy and MJy are not among them."""
_PER_SECOND = re.compile(
    r"(e-?|electrons?|adu|dn|counts?|cts?)( */ *|[ .]*)\(?(s|sec)\)?(\^?-1|\*\*-1)?"
)
_PER_PIXEL = re.compile(
    r"( */ *| per +)pix(el)?\b|[ .*]*\bpix(el)?(\^|\*\*)?\(?-1\)?|(?<=\()pix (?=\w+\))", re.I
)
"""Factor of a unit, as in uJy/pix, uJy pix-1, electron / (pix s)."""
_STEP = re.compile(r"(CD|PC)\d+_\d+|CDELT\d+|(CD|PC)\d{6}")
"""Cards of the size of pixels."""
_CELESTIAL = re.compile(r"(RA--|DEC-|.LON|.LAT)-")
"""CTYPE of axes on the sky."""
_JANSKY = 8.9
"""AB magnitude of 1 Jy."""
_DEGREES = 0.01
"""Steps of pixels below which they are angles in degrees."""


class Facts(NamedTuple):
    """What a header says; None where it says nothing that could be used."""

    wcs: WCS | None
    """Celestial coordinates of the image's two axes."""
    pixel_scale: float | None
    """Mean side of a pixel [arcsec]."""
    zero_point: float | None
    """AB magnitude of one image unit."""
    gain: float | None
    """Electrons per image unit."""
    unit: u.UnitBase | None
    """Unit of a flux: of the sum of pixels."""
    origins: Mapping[str, str]
    """Card from which zero_point, gain and pixel_scale are, by name."""
    notes: tuple[str, ...]
    """What could not be used, each a sentence without the file."""
    psf_section: tuple[slice, slice] | None = None
    """Rows and columns that the image's PSFs are of; None for all."""


def mended(header: fits.Header) -> fits.Header:
    """A copy in which cards that break the standard hold what stands in them, as text.

    Those that cannot be mended, of a keyword or a character that it does not have, are left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits.Header([card for card in header.copy().cards if _is_mended(card)])


def _is_mended(card: fits.Card) -> bool:
    """Whether a card, mended where it can be, keeps to the standard."""
    try:
        card.verify("silentfix")
    except (VerifyError, ValueError):  # ValueError where astropy's mending fails
        return False
    return True


def with_inherited(
    header: fits.Header, primary: fits.Header | None
) -> tuple[fits.Header, frozenset[str]]:
    """A header, mended, with what it leaves to its file's primary one, and these cards' names.

    Args:
        header: Header of an image.
        primary: The primary header, if it is another one and has no image itself.
    """
    header, taken = mended(header), {}
    if primary is not None and primary.get("NAXIS") == 0:
        above = mended(primary)
        for names in _INHERITED:
            if not any(name in header for name in names):
                taken |= {name: above[name] for name in names if name in above}
    header.update(taken)
    return header, frozenset(taken)


def read_facts(header: fits.Header, inherited: Collection[str] = ()) -> Facts:
    """What a header says of its image.

    Args:
        header: The header, and what it inherits.
        inherited: Names of cards of the file's primary header.
    """
    header = mended(header)
    notes: list[str] = []
    wcs = _wcs(header, notes)
    scale, scale_origin = pixel_scale(header, wcs)
    if wcs is not None and (unplaced := _unplaced(header)):
        wcs, notes = None, [*notes, unplaced]
    unit, per_pixel = _unit(header, scale)
    zero_point, zero_origin = _number(header, _ZERO_POINTS, -_FAINTEST, notes, _FAINTEST)
    if zero_point is None:
        zero_point, zero_origin = _of_photflam(header)
    of_unit = None if per_pixel is None else _zero_point(per_pixel)
    if zero_point is None:
        zero_point, zero_origin = of_unit, f"unit {_text(header)}"
    elif of_unit is not None and abs(of_unit - zero_point) > 0.01:
        notes.append(
            f"{zero_origin} is {zero_point:g}, but its unit {_text(header)} means {of_unit:.4g}; "
            f"{zero_origin} is used"
        )
    if zero_point is None and _text(header).lower() in ("mjy", "mjy/sr") and unit is None:
        notes.append(f"BUNIT {_text(header)!r} may be mJy or MJy; wanted the case of either")
    gain, gain_origin = _number(header, _GAINS, 0.0, notes)
    origins = {"zero_point": zero_origin, "gain": gain_origin, "pixel_scale": scale_origin}
    above = {*inherited, f"unit {_text(header)}"} if "BUNIT" in inherited else inherited
    origins |= {what: f"{o} of the primary header" for what, o in origins.items() if o in above}
    return Facts(wcs, scale, zero_point, gain, unit, origins, tuple(notes), _psf_section(header))


def as_section(rows: slice, columns: slice) -> str:
    """A part of an image as cards have it: its first and last column and row, from 1."""
    ends = (f"{span.start + 1}:{span.stop}" for span in (columns, rows))
    return f"[{','.join(ends)}]"


def _psf_section(header: fits.Header) -> tuple[slice, slice] | None:
    found = _SECTION.fullmatch(str(header.get(PSF_SECTION, "")))
    if found is None:
        return None
    left, right, bottom, top = map(int, found.groups())
    return slice(bottom - 1, top), slice(left - 1, right)


def pixel_scale(header: fits.Header, wcs: WCS | None = None) -> tuple[float | None, str]:
    """Mean side of a pixel [arcsec] and its origin: WCS, a card of its own, or CDELT."""
    if wcs is not None:
        return float(np.mean(proj_plane_pixel_scales(wcs)) * 3600), "WCS"
    scale, origin = _number(header, _SCALES, 0.0, [])
    if scale is None:  # an angle in degrees, without the rest of a WCS
        step, origin = _number(header, ["CD2_2", "CDELT2"], -np.inf, [])
        scale = abs(step) * 3600 if step and abs(step) < _DEGREES else None
    return scale, origin


def sampling(header: fits.Header) -> tuple[float | None, str, str]:
    """Sampling of a PSF [arcsec], its origin, and what of the header is no number.

    A card of its own goes before a WCS, which may be that of the image.
    """
    header = mended(header)
    notes: list[str] = []
    scale, origin = _number(header, _SCALES, 0.0, notes)
    wrong = "; ".join(notes) if scale is None else ""
    if scale is None:
        scale, origin = pixel_scale(header, _wcs(header, []))
    return scale, origin, wrong


def like_zero_points(header: fits.Header) -> list[str]:
    """Cards that may tell a zero point, and their values, of a header without one that is known."""
    header = mended(header)
    names = [name for name in header if _LIKE_ZERO_POINTS.fullmatch(name)]
    return [f"{name} {header[name]:g}" for name in names if _is_number(header[name])]


def is_logarithmic(header: fits.Header) -> bool:
    """Whether the unit is one of magnitudes, of which no sum is a flux."""
    unit = _parsed(mended(header))
    if isinstance(unit, u.UnitBase):
        return any(base in (u.mag, u.dex) for base in unit.bases)
    return unit is not None


def pixel_unit(header: fits.Header) -> u.UnitBase | None:
    """Unit of a pixel's value; None where it is not known, or that of a logarithm, as mag(AB)."""
    unit = _parsed(mended(header))
    return unit if isinstance(unit, u.UnitBase) else None


def exposure_time(header: fits.Header) -> tuple[float | None, str]:
    """Exposure time [s] and its card."""
    return _number(mended(header), _EXPOSURES, 0.0, [])


def saturation(header: fits.Header) -> tuple[float | None, str]:
    """Level from which pixels are saturated [image unit], and its card."""
    return _number(mended(header), _SATURATIONS, 0.0, [])


def rate_of(header: fits.Header) -> str | None:
    """What the image counts in a second, electrons or counts; None where it is no such rate."""
    found = _PER_SECOND.fullmatch(_text(mended(header)).lower())
    if found is None or not (found[2].strip(" .") or found[4]):
        return None
    return "electrons" if found[1].startswith("e") else "counts"


def counts_electrons(header: fits.Header) -> str | None:
    """The name of the unit where it is electrons; None where it is another."""
    unit = _text(mended(header))
    return unit if unit.lower() in _ELECTRONS else None


def _wcs(header: fits.Header, notes: list[str]) -> WCS | None:
    """Celestial coordinates, as far as the header has them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(_with_sip(header, notes))
            if not wcs.has_celestial:
                return None
            _check_steps(header)
            wcs = wcs if wcs.naxis == 2 else wcs.celestial
            place = np.divide([header.get("NAXIS1", 1), header.get("NAXIS2", 1)], 2)
            there = np.append(to_sky(wcs, *place[:, None]), proj_plane_pixel_scales(wcs))
    except Exception as error:  # wcslib's errors are of many kinds, and none is a reason to stop
        notes.append(f"its WCS cannot be used ({' '.join(str(error).split())[:120]})")
        return None
    if np.isfinite(there).all():
        return wcs
    notes.append("its WCS gives no coordinates at the image's centre")
    return None


def _with_sip(header: fits.Header, notes: list[str]) -> fits.Header:
    """The header, with CTYPE as it should be where there are coefficients of SIP."""
    axes = [
        name for name in ("CTYPE1", "CTYPE2") if str(header.get(name)).rstrip().endswith("-TAN")
    ]
    if not axes or not {"A_ORDER", "B_ORDER"} <= {*header}:
        return header
    header = header.copy()
    for name in axes:
        header[name] = f"{header[name].rstrip()}-SIP"
    notes.append("its WCS has coefficients of SIP, but no CTYPE of -SIP; they are used")
    return header


def _unplaced(header: fits.Header) -> str:
    """Why pixels have a size, but no place on the sky: wcslib takes what is missing to be 0."""
    for axis in range(1, 10):
        value = header.get(f"CRVAL{axis}")
        on_sky = _CELESTIAL.match(str(header.get(f"CTYPE{axis}", "")))
        if on_sky is not None and not (_is_number(value) and np.isfinite(value)):
            found = f"{value.strip()!r}, no number" if isinstance(value, str) else "missing"
            return f"its WCS cannot be used (CRVAL{axis} is {found})"
    return ""


def _check_steps(header: fits.Header) -> None:
    """Raises a ValueError where pixels have no size: wcslib takes it to be a degree."""
    steps = [value for name, value in header.items() if _STEP.fullmatch(name)]
    if not any(_is_number(value) and value != 0 for value in steps):
        said = "all 0" if steps else "missing"
        raise ValueError(f"its pixels have no size: CD, or CDELT, is {said}")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(header: fits.Header) -> str:
    """The text of BUNIT, less that it is of a pixel."""
    return _PER_PIXEL.sub("", str(header.get("BUNIT", ""))).strip()


def _parsed(header: fits.Header) -> u.UnitBase | u.FunctionUnitBase | None:
    """The unit of BUNIT, less that it is of a pixel."""
    text = _text(header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return u.Unit(_NAMES.get(text.replace(" ", "").lower(), text))
    except (ValueError, TypeError):
        return None


def _unit(
    header: fits.Header, scale: float | None
) -> tuple[u.UnitBase | None, u.UnitBase | u.Quantity | None]:
    """The unit of a flux, and of a pixel's; no unit where its factor is none for FITS tables."""
    unit = pixel_unit(header)
    if unit is None:
        return None, None
    if unit.is_equivalent(u.Jy / u.sr):
        area = None if scale is None else (scale * u.arcsec) ** 2
        return _tabled(unit * u.pix), None if area is None else (unit * area).to(u.Jy)
    return _tabled(unit), unit


def _tabled(unit: u.UnitBase) -> u.UnitBase | None:
    """A unit; none where its factor is one that FITS tables cannot carry."""
    try:
        return unit if unit.scale > 0 and unit.to_string("fits") else None
    except u.UnitScaleError:
        return None
    except ValueError:  # not among FITS's units, which astropy writes all the same
        return unit


def _zero_point(unit: u.UnitBase | u.Quantity) -> float | None:
    """AB magnitude of a flux density; of anything else none."""
    try:
        jansky = u.Quantity(1, unit).to_value(u.Jy)
    except (u.UnitConversionError, TypeError):
        return None
    return round(_JANSKY - 2.5 * float(np.log10(jansky)), 9) if jansky > 0 else None


def _of_photflam(header: fits.Header) -> tuple[float | None, str]:
    """The zero point of an image of Hubble's in electrons or counts per second."""
    flam, wavelength = (header.get(name) for name in ("PHOTFLAM", "PHOTPLAM"))
    known = all(_is_number(each) and each > 0 for each in (flam, wavelength))
    if not known or rate_of(header) is None:
        return None, ""
    zero_point = -2.5 * np.log10(flam) - 5 * np.log10(wavelength) - 2.408  # of STScI
    return float(zero_point), "PHOTFLAM and PHOTPLAM"


def _number(
    header, names, above: float, notes: list[str], below: float = np.inf
) -> tuple[float | None, str]:
    """The first of the cards that holds a finite number between limits, and its name."""
    for name in names:
        value = header.get(name)
        number = _of_text(value)
        if np.isfinite(number) and above < number < below:
            if isinstance(value, str):
                notes.append(f"{name} {value.strip()!r} is text; taken as the number {number:g}")
            return number, name
        if value is None or isinstance(value, fits.card.Undefined) or value == "":
            continue
        if not np.isfinite(number):
            notes.append(f"{name} {str(value).strip()!r} is no number")
        elif np.isfinite(below):
            notes.append(f"{name} {number:g} is no number between {above:g} and {below:g}")
    return None, ""


def _of_text(value) -> float:
    """A number, also one in quotes; NaN of all else."""
    try:
        return float(value) if _is_number(value) or isinstance(value, str) else np.nan
    except ValueError:
        return np.nan
