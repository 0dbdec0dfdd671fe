"""Gain, zero point, unit, coordinates and range of an image's numbers."""

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from vaedeblend.image.inspection.findings import Finding
from vaedeblend.io.fits.header import (
    counts_electrons,
    exposure_time,
    is_logarithmic,
    like_zero_points,
    rate_of,
    read_facts,
)
from vaedeblend.io.fits.sky import sky_frame, to_sky
from vaedeblend.io.mosaic import Mosaic

_FEWEST = 5.0
"""Least rms of a sky that was seen [electron]."""
_SAME_ZERO = 0.01
"""Difference of two zero points that are the same [mag]."""
_CARDS = 3
"""Cards that are named at most."""
_APART = 2.0
"""Distance on the sky of the same pixel of two planes that is no other astrometry's [pixel]."""
_RANGE = 1e10
"""An rms beyond this, or below its inverse, is scaled: squares leave single precision's range."""


def scale_of(rms: float) -> float:
    """Power of two that brings an rms near 1; 1 where its squares are within range as they are."""
    if not (np.isfinite(rms) and rms > 0) or 1 / _RANGE < rms < _RANGE:
        return 1.0
    return float(2.0 ** -np.rint(np.log2(rms)))


def gain_findings(mosaic: Mosaic, given: bool, rms: float) -> tuple[list[Finding], float | None]:
    """What the rms says of the gain, and the gain that is to be used [electron / unit].

    Args:
        mosaic: The image, with the gain of its header or the user's.
        given: The gain is the user's.
        rms: Background noise [image unit]; NaN where it is not known.
    """
    gain = mosaic.gain
    origin = "--gain" if given else mosaic.facts.origins["gain"]
    rate, (seconds, card) = rate_of(mosaic.header), exposure_time(mosaic.header)
    if gain is None and not given and rate == "electrons" and seconds:
        text = f"gain {seconds:.6g} electrons per image unit ({card}, of electrons per second)"
        return [Finding("assumed", "gain", text)], seconds
    if gain is None and not given and (unit := counts_electrons(mosaic.header)) and rms >= _FEWEST:
        text = f"gain 1 electrons per image unit (unit {unit})"
        return [Finding("assumed", "gain", text)], 1.0
    if gain is None:
        text = "no gain: photon noise is left out of the errors"
        return [Finding("given" if given else "assumed", "gain", text)], None
    electrons = gain * rms
    if not 0 < electrons < _FEWEST:
        text = f"gain {gain:.6g} electrons per image unit ({origin})"
        return [Finding("given" if given else "assumed", "gain", text)], gain
    said = f"{origin} {gain:.6g} makes the background's rms {electrons:.2g} electrons"
    if rate and seconds and not given:
        exposed = seconds if rate == "electrons" else gain * seconds
        if exposed * rms >= _FEWEST:
            text = f"{said}; {rate} per second and {card} {seconds:g} make it {exposed:.6g}"
            return [Finding("corrected", "gain", text)], exposed
    text = f"{mosaic.path}: {said}; wanted {_FEWEST:g} at least, as of any sky: a detector's gain, "
    text += "and not the image's? Give --gain, 0 for none"
    return [Finding("refused", "gain", text)], gain


def unit_findings(mosaic: Mosaic, given: bool, pixel_scale: float) -> list[Finding]:
    """Zero point, unit and coordinates that are used, and what of the header is not.

    Args:
        mosaic: The image.
        given: The zero point is the user's.
        pixel_scale: The weights' [arcsec].
    """
    findings = [Finding("warned", "header", f"{mosaic.path}: {e}") for e in mosaic.facts.notes]
    findings += _image(mosaic)
    zero_point, origin = mosaic.zero_point, mosaic.facts.origins["zero_point"]
    if zero_point is None:
        text = "no zero point: magnitudes are NaN"
        if like := like_zero_points(mosaic.header):
            text += f"; {', '.join(like[:_CARDS])} may tell one: give --zero-point"
    else:
        text = f"zero point {zero_point:.6g} mag ({'--zero-point' if given else origin})"
    findings.append(Finding("given" if given else "assumed", "zero point", text))
    findings += zero_point_findings(mosaic, given)
    if mosaic.wcs is None:
        findings.append(Finding("assumed", "wcs", "no WCS: ra and dec are NaN"))
    elif (frame := sky_frame(mosaic.wcs)) is not None:
        text = f"coordinates of the header are {frame.name}: ra and dec are ICRS"
        findings.append(Finding("assumed", "wcs", text))
    findings += _places(mosaic)
    if mosaic.pixel_scale is None:
        text = f"no pixel scale in the header: pixels of {pixel_scale:g} arcsec"
        findings.append(Finding("assumed", "pixel scale", text))
    return findings


def zero_point_findings(mosaic: Mosaic, given: bool) -> list[Finding]:
    """A zero point that the header contradicts.

    Args:
        mosaic: The image.
        given: The zero point is the user's.
    """
    own, used = mosaic.facts.zero_point, mosaic.zero_point
    if not given or own is None or abs(own - used) <= _SAME_ZERO:
        return []
    origin, times = mosaic.facts.origins["zero_point"], 10 ** (0.4 * (own - used))
    text = f"{mosaic.path}: {origin} is {own:.6g} mag, and --zero-point {used:.6g}, which is used: "
    return [Finding("warned", "header", f"{text}fluxes are {times:.3g} times those of the header")]


def corner_distance(mosaic: Mosaic, wcs: WCS | None) -> float:
    """How far apart coordinates and an image's own put its corners [pixel]; 0 without either."""
    if wcs is None or mosaic.wcs is None or mosaic.pixel_scale is None:
        return 0.0
    y, x = np.array([[0.0, 0, -1, -1], [0, -1, 0, -1]]) % np.reshape(mosaic.shape, (2, 1))
    here, there = (SkyCoord(*to_sky(each, x, y), unit="deg") for each in (mosaic.wcs, wcs))
    return float(np.max(here.separation(there).arcsec)) / mosaic.pixel_scale


def _image(mosaic: Mosaic) -> list[Finding]:
    """A plane of several that was taken, and one that holds no fluxes."""
    image, findings = mosaic.planes["image"], []
    if image.alike:
        text = f"{image}: the first of {1 + len(image.alike)} images of the file; name another as "
        findings.append(Finding("assumed", "image", f"{text}{image.path}[{image.alike[0]}]"))
    if is_logarithmic(mosaic.header):
        text = f"{image}: its unit is {str(mosaic.header['BUNIT']).strip()}; wanted one of fluxes, "
        findings.append(Finding("refused", "image", text + "as counts, electrons or Jy"))
    return findings


def _places(mosaic: Mosaic) -> list[Finding]:
    """Maps whose coordinates put the image's corners elsewhere."""
    findings = []
    for name, plane in mosaic.planes.items():
        wcs = None if name == "image" else read_facts(plane.hdu.header).wcs
        apart = corner_distance(mosaic, wcs)
        if apart > _APART:
            text = f"{plane}: its WCS puts a corner of {mosaic.planes['image']} {apart:.3g} pixels "
            text += "from where that of the image does; wanted a map of the same pixels"
            findings.append(Finding("refused", name, text))
    return findings
