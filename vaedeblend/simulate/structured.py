"""Structured (synthetic) galaxies: what smooth profiles lack, made up for each galaxy by chance.

The disk is an exponential one times a pattern: logarithmic spiral arms with dust along their inner
edges, a bar, lopsidedness and, where it is seen nearly edge on, a dust lane. Knots of star
formation lie on top, most of them where the pattern is bright. Irregular galaxies have no arms, but
few and large knots off their centre. The de Vaucouleurs bulge may lie off the disk's centre. All of
this fades as the bulge's share of the light grows; a galaxy of bulge alone is the analytic one.

No galaxies have been measured for this: their looks are plausible, their statistics made up.
"""

import math

import galsim
import numpy as np
from jaxtyping import Float

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.simulate.disks import REACH, Structure, disk_image
from vaedeblend.simulate.profiles import analytic, bulge_share, half_light_radius, make_bulge

_SAMPLING, _SIDES = 0.03, (64, 256)
"""Of a disk's image [arcsec], as far as its side lies within these limits [pixel]."""
_STRUCTURE = 1
"""Last word of the seed, whose other purposes are the caller's."""


def structured(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
    """A structured (synthetic) galaxy, each band: one disk and one bulge in other proportions.

    The structure depends on the words of the seed, the bulge's share of the light of all bands and
    the disk's axis ratio. Flux, half-light radius, axis ratio and centroid are the analytic
    galaxy's: exactly, to 2 %, to 2 % and to 1 % of the disk's radius (1 sigma).
    """
    radius = float(galaxy.disk_half_light_radius)
    amount = 0.0 if galaxy.star else float(np.clip((0.8 - bulge_share(galaxy)) / 0.6, 0, 1))
    if amount == 0 or radius == 0:
        return analytic(galaxy, seed)
    rng = np.random.default_rng((*seed, _STRUCTURE))
    axis_ratio = float(galaxy.disk_axis_ratio)
    structure = draw_structure(rng, amount, axis_ratio)
    side = int(np.clip(8 * round(2 * REACH * radius / _SAMPLING / 8), *_SIDES))
    axes = _axes(axis_ratio, np.radians(float(galaxy.disk_position_angle)))
    # The whole keeps its half-light radius if the disk keeps the light that it has within that.
    within = float(np.clip(half_light_radius(galaxy) / radius, 0.5, 1))
    image = disk_image(structure, rng, axes, side, within)
    disk = _as_light(image, scale=2 * REACH * radius / side)
    shift = radius * structure.bulge_offset * axes @ rng.standard_normal(2)
    return [
        make_bulge(galaxy, bulge_flux).shift(*shift) + disk.withFlux(float(disk_flux))
        for bulge_flux, disk_flux in zip(galaxy.flux_bulge, galaxy.flux_disk, strict=True)
    ]


def draw_structure(rng: np.random.Generator, amount: float, axis_ratio: float) -> Structure:
    """A disk's structure by chance: a spiral's, barred or not, or an irregular galaxy's.

    Args:
        rng: Source of chance.
        amount: Of structure, from 0 to 1.
        axis_ratio: Of the disk as seen.
    """
    irregular = rng.random() < 0.3 * amount**4
    barred = rng.random() < 0.4
    dusty = axis_ratio < 0.4 and not irregular and rng.random() < 0.6
    face_on = min(1.0, axis_ratio / 0.35)  # arms seen edge on hide one another
    arms = 0.0 if irregular else amount * face_on * rng.uniform(0.3, 1)
    bar_angle = rng.uniform(0, np.pi)
    n_arms = int(rng.choice([2, 3, 4], p=[0.6, 0.2, 0.2]))
    winding = (-1) ** rng.integers(2).item() / math.tan(math.radians(rng.uniform(12, 32)))
    bar_length = rng.uniform(0.4, 0.9)
    # Arms start at the ends of a bar.
    phase = n_arms * (bar_angle - winding * math.log(bar_length)) if barred else rng.uniform(0, 7)
    lopsidedness = rng.uniform(0.25, 0.7) if irregular else min(0.7, rng.rayleigh(0.12))
    knot_size = rng.uniform(0.08, 0.2) if irregular else rng.uniform(0.03, 0.09)
    return Structure(
        n_arms=n_arms,
        winding=winding,
        arm_phase=phase,
        arm_contrast=arms,
        arm_dust=arms * rng.uniform(0, 0.6),
        bar_contrast=amount * rng.uniform(1, 3) if barred else 0.0,
        bar_length=bar_length,
        bar_angle=bar_angle,
        lopsidedness=amount * lopsidedness,
        lopsided_angle=rng.uniform(0, 2 * np.pi),
        lane_depth=amount * rng.uniform(0.4, 0.9) if dusty else 0.0,
        lane_place=rng.uniform(-0.4, 0.4),
        knot_share=amount * (rng.uniform(0.1, 0.4) if irregular else rng.uniform(0.02, 0.25)),
        n_knots=1 + rng.poisson(8 if irregular else rng.uniform(10, 60)),
        knot_size=min(knot_size, 0.4 * axis_ratio),  # within the thickness of the disk
        bulge_offset=amount * (0.1 if irregular else 0.03),
    )


def _axes(axis_ratio: float, angle: float) -> Float[np.ndarray, "2 2"]:
    """From a disk's plane, whose x is its major axis, to the sky's (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) * [1, axis_ratio]


def _as_light(image, scale: float) -> galsim.GSObject:
    """An image [arcsec per pixel] as GalSim's; unsheared, or it would take thrice as long."""
    side = len(image)
    return galsim.InterpolatedImage(
        galsim.Image(image.astype(float), scale=scale),
        x_interpolant="cubic",
        flux=1.0,
        pad_factor=2,
        _force_stepk=2 * np.pi / (side * scale),
        _force_maxk=np.pi / scale,
    )
