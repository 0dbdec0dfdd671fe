"""Pixels of an image and right ascension and declination, whatever its axes and frame.

Both directions stand here, so that a catalogue of an image lies on it where its sources are. ICRS
is what is meant; numbers of FK5 at J2000, within 0.03 arcsec of it, are taken as they are.
"""

import numpy as np
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord, Supergalactic
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from jaxtyping import Float

_OF_LONGITUDE = {"ELON": BarycentricMeanEcliptic(), "SLON": Supergalactic()}
"""Frames that astropy does not read from a header."""


def sky_frame(wcs: WCS):
    """The frame of an image's coordinates, and None where they are right ascension and declination.

    Raises:
        ValueError: The frame is not known.
    """
    longitude = wcs.wcs.lngtyp
    if longitude in _OF_LONGITUDE:
        return _OF_LONGITUDE[longitude]
    if longitude == "RA" and wcs.wcs.radesys.strip() not in ("", "FK4", "FK4-NO-E", "FK5"):
        return None  # ICRS, and what stands for no frame
    frame = wcs_to_celestial_frame(wcs)
    is_plain = frame.name == "icrs" or (frame.name == "fk5" and frame.equinox.jyear == 2000)
    return None if is_plain else frame


def to_sky(
    wcs: WCS, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "2 n"]:
    """Right ascension and declination [deg] of 0-based pixels."""
    world = wcs.all_pix2world(x, y, 0)
    longitude, latitude = world[wcs.wcs.lng], world[wcs.wcs.lat]
    frame = sky_frame(wcs)
    if frame is not None:
        sky = SkyCoord(longitude, latitude, unit="deg", frame=frame).icrs
        longitude, latitude = sky.ra.deg, sky.dec.deg
    return np.array([longitude, latitude])


def to_pixels(
    wcs: WCS,
    ra: Float[np.ndarray, " n"],
    dec: Float[np.ndarray, " n"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "n 2"]:
    """0-based pixels (y, x) of places on the sky [deg]; NaN of those that have none.

    Distortions hold near the image, of the given height and width: what lies far from it is
    placed without them.
    """
    position = np.full((len(ra), 2), np.nan)
    known = np.isfinite(ra + dec) & (np.abs(dec) <= 90)
    if not known.any():
        return position
    world = _world(wcs, ra[known], dec[known])
    x, y = wcs.wcs_world2pix(*world, 0)
    apart = np.abs(np.stack([y, x]) - np.reshape(shape, (2, 1)) / 2)
    near = (apart < 2 * np.reshape(shape, (2, 1)) + 100).all(axis=0)
    if near.any():
        x[near], y[near] = wcs.all_world2pix(*(each[near] for each in world), 0, quiet=True)
        back = SkyCoord(*to_sky(wcs, x[near], y[near]), unit="deg")
        apart = back.separation(SkyCoord(ra[known][near], dec[known][near], unit="deg"))
        far = apart > 0.1 * wcs.proj_plane_pixel_scales()[0]
        x[np.flatnonzero(near)[far]] = np.nan  # the other side of the sky, or no solution
    position[known] = np.stack([y, x], axis=1)
    return position


def _world(wcs: WCS, ra, dec) -> list:
    """Places on the sky as the image's two coordinates, in the order of its axes."""
    frame = sky_frame(wcs)
    if frame is not None:
        sky = SkyCoord(ra, dec, unit="deg").transform_to(frame).spherical
        ra, dec = sky.lon.deg, sky.lat.deg
    return [ra, dec] if wcs.wcs.lng < wcs.wcs.lat else [dec, ra]
