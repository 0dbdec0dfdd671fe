"""Galaxies that share pixels: who overlaps with whom, how much, and what that does to fluxes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import overlap

_OVERLAP = 0.01
"""Galaxies whose templates have a noise-weighted cosine above this belong to a group."""
_OUTSIDE = 0.49
"""Share of _OVERLAP, in the norm of a template, that may lie outside of a galaxy's circle."""
_WHOLE, _SURROUNDING = 500, 60
"""Galaxies of the largest group that is inverted as a whole, and of surroundings in larger ones."""

_SHARE = 0.5
"""Error of how two sources that are not resolved share their light [flux of the fainter one]:
measured on simulated galaxies at positions that were given."""

_SPIKES = 5.0
"""What a bright source may fake at a distance of r pixels: this share of its flux, by r^2. Spikes
of struts fall like that, halos and bleeding columns are not far from it."""


class Groups(NamedTuple):
    """Groups of n galaxies that overlap; each pair of them stands once."""

    group: Int[np.ndarray, " n"]
    """Number of each galaxy's group."""
    pair: Int[np.ndarray, "pair 2"]
    correlation: Float[np.ndarray, " pair"]
    """Correlation of the two fluxes' errors, if all profiles of the group are known."""

    @property
    def neighbours(self) -> Int[np.ndarray, " n"]:
        """Number of galaxies with which each overlaps."""
        return np.bincount(self.pair.ravel(), minlength=len(self.group))


def beside_bright(
    position: Float[np.ndarray, "n 2"],
    flux: Float[np.ndarray, " n"],
    apparent: Float[np.ndarray, " n"],
    bright: Bool[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Sources so faint beside a bright one that they may be a part of its light.

    Args:
        position: (y, x) of each source [pixel].
        flux: Flux, NaN where it is not known.
        apparent: Flux at least, as the pixels about a source have it: of a saturated star, too.
        bright: Sources brighter than the network knows.
    """
    doubtful = np.zeros(len(flux), bool)
    for i in np.flatnonzero(bright):
        square = np.square(position - position[i]).sum(axis=1)
        doubtful |= np.nan_to_num(flux) * square < _SPIKES * apparent[i]
    return doubtful & ~bright & np.isfinite(flux)


def with_shares(
    groups: Groups,
    together: Int[np.ndarray, "m 2"],
    flux: Float[np.ndarray, " n"],
    flux_err: Float[np.ndarray, " n"],
) -> tuple[Groups, Float[np.ndarray, " n"]]:
    """The groups and errors of fluxes that hold how unresolved sources share their light.

    Profiles that lie upon each other fit the pixels as well with light of the one given to the
    other, which a network that measures one at a time does not know. What one has too much the
    other lacks: the error of their sum stays.

    Args:
        groups: Groups of the galaxies.
        together: Pairs that are not resolved, each once, the lower number first.
        flux: Fluxes; NaN where there is none.
        flux_err: Their errors without it.
    """
    if not len(together):
        return groups, flux_err
    n, variance = len(flux), _exchanged(together, flux)
    error = _with_exchanged(together, variance, flux_err)
    matrix = coo_array((variance, together.T), shape=(n, n)).tocsr()
    i, j = np.sort(groups.pair, axis=1).T
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = groups.correlation * flux_err[i] * flux_err[j] - matrix[i, j]
        correlation = covariance / (error[i] * error[j])
    unresolved = np.isin(groups.pair, together).any(axis=1) & np.isfinite(correlation)
    correlation = np.where(unresolved, correlation, groups.correlation)
    return groups._replace(correlation=correlation), error


def shared_errors(
    together: Int[np.ndarray, "m 2"],
    flux: Float[np.ndarray, " n"],
    flux_err: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Errors of fluxes that hold how unresolved sources share their light; see `with_shares`."""
    return _with_exchanged(together, _exchanged(together, flux), flux_err)


def _with_exchanged(together, variance, flux_err) -> Float[np.ndarray, " n"]:
    """Errors with the variance of the light that each of some pairs may have of the other's."""
    square = np.zeros(len(flux_err))
    np.add.at(square, together, variance[:, None])
    return np.hypot(flux_err, np.sqrt(square))


def _exchanged(together, flux) -> Float[np.ndarray, " m"]:
    """Variance of the light that one of two unresolved sources may have of the other's."""
    return np.square(_SHARE * np.nan_to_num(flux)[together].min(axis=1).clip(0))


def find_groups(profiles: Profiles, variance: Float[np.ndarray, "height width"]) -> Groups:
    r"""Groups of overlapping galaxies, and how the errors of their fluxes hang together.

    The joint least-squares solution of a group's fluxes has the covariance $A^{-1}$ with
    $A_{ij} = \sum_p t_{ip} t_{jp} / v_p$, $t$ the galaxies' unit profiles.

    Args:
        profiles: Light or unit profiles of the galaxies, on stamps of even sides.
        variance: Noise of the image, squared; infinite where a pixel is ignored.
    """
    rms, corner = np.sqrt(variance), profiles.corner
    scaled = [_unit(*each, rms) for each in zip(profiles, corner.tolist(), strict=True)]
    pair = _near(corner, profiles.sides)
    pair = pair[_may_overlap(pair, corner + profiles.sides[:, None] / 2, _radii(scaled))]
    cosine = np.array([_product(scaled[i], scaled[j], corner[j] - corner[i]) for i, j in pair])
    near = cosine > _OVERLAP
    pair, cosine = pair[near].reshape(-1, 2), cosine[near]
    n = len(profiles)
    _, group = connected_components(coo_array((cosine, pair.T), shape=(n, n)), directed=False)
    return Groups(group, pair, _correlations(group, pair, cosine))


def _unit(stamp, corner, rms):
    """Light over noise, its squares adding up to one; 0 where the image has no valid pixel."""
    scaled = np.zeros_like(stamp)
    on_image, on_stamp = overlap(corner, len(stamp), rms.shape)
    scaled[on_stamp] = stamp[on_stamp] / rms[on_image]
    return scaled / (np.linalg.norm(scaled) or np.inf)


def _radii(scaled: list[Float[np.ndarray, "_ _"]]) -> Float[np.ndarray, " n"]:
    """Radius about the middle of each stamp beyond which its light hardly overlaps with anything.

    The product of two stamps whose circles are apart is at most what lies outside of the one and of
    the other, as each pixel lies outside of one of them.
    """
    radii, rings = np.zeros(len(scaled)), {}
    for i, stamp in enumerate(scaled):
        side = len(stamp)
        if side not in rings:
            offset = np.arange(side) - (side - 1) / 2
            rings[side] = np.ceil(np.hypot(offset[:, None], offset)).astype(int).ravel()
        beyond = np.cumsum(np.bincount(rings[side], np.square(stamp).ravel())[::-1])[::-1]
        radii[i] = (beyond > (_OUTSIDE * _OVERLAP) ** 2).sum()
    return radii


def _may_overlap(pair, centre, radius) -> Bool[np.ndarray, " pair"]:
    """Pairs whose product may reach _OVERLAP."""
    i, j = pair.T
    return np.hypot(*(centre[i] - centre[j]).T) <= radius[i] + radius[j] + 1


def _near(corner, side) -> Int[np.ndarray, "pair 2"]:
    """Stamps that have a pixel in common: the many of the least side, and the few larger ones."""
    tree, least = cKDTree(corner + side[:, None] / 2), side.min(initial=2**30)
    pairs = [tree.query_pairs(least - 1, p=np.inf, output_type="ndarray")]
    for i in np.flatnonzero(side > least):
        reach = (side[i] + side) / 2
        others = np.array(tree.query_ball_point(tree.data[i], reach.max(), p=np.inf), int)
        apart = np.abs(tree.data[others] - tree.data[i]).max(axis=1)
        others = others[(apart < reach[others]) & (others != i)]
        pairs.append(np.sort(np.stack([np.full(len(others), i), others], axis=1), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _product(first, second, shift) -> float:
    """Scalar product of two stamps, the second's corner at `shift` from the first's."""
    on_first, on_second = overlap(shift.tolist(), len(second), first.shape)
    return float(np.vdot(first[on_first], second[on_second]))


def _correlations(group, pair, cosine) -> Float[np.ndarray, " pair"]:
    """Correlation of the errors of each pair's fluxes, from the inverse of a group's matrix."""
    found = np.zeros(len(pair))
    order = np.argsort(group[pair[:, 0]], kind="stable")
    _, start = np.unique(group[pair[order, 0]], return_index=True)
    for rows in np.split(order, start[1:]) if len(pair) else []:
        members, local = np.unique(pair[rows], return_inverse=True)
        inverted = _of_group if len(members) <= _WHOLE else _of_surroundings
        found[rows] = inverted(local.reshape(-1, 2), np.minimum(cosine[rows], 0.999))
    return found.clip(-1, 1)


def _of_group(pair, cosine) -> Float[np.ndarray, " pair"]:
    """Correlations of a group that is inverted as a whole."""
    i, j = pair.T
    matrix = np.eye(pair.max() + 1)
    matrix[i, j] = matrix[j, i] = cosine
    return _inverse(matrix)[i, j]


def _of_surroundings(pair, cosine) -> Float[np.ndarray, " pair"]:
    """Correlations of a group too large for that: each galaxy's with those that it overlaps most.

    Galaxies far from both of a pair hardly bear on it.
    """
    n, found = pair.max() + 1, np.empty(len(pair))
    ends = np.concatenate([pair, pair[:, ::-1]]).T
    overlaps = coo_array((np.tile(cosine, 2), ends), shape=(n, n)).tocsr()
    order = np.argsort(pair[:, 0], kind="stable")
    first, start = np.unique(pair[order, 0], return_index=True)
    for i, rows in zip(first, np.split(order, start[1:]), strict=True):
        span = slice(*overlaps.indptr[i : i + 2])
        most = np.argsort(overlaps.data[span])[::-1][:_SURROUNDING]
        block = np.append(i, overlaps.indices[span][most])
        inverse = _inverse(overlaps[block][:, block].toarray() + np.eye(len(block)))
        row = np.full(n, np.nan)
        row[block] = inverse[0]
        other = pair[rows, 1]
        found[rows] = np.where(np.isnan(row[other]), -cosine[rows], row[other])
    return found


def _inverse(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The inverse, less the scale of its rows: correlations of errors."""
    covariance = np.linalg.pinv(matrix, hermitian=True)
    std = np.sqrt(np.diag(covariance).clip(1))  # at least that of a galaxy alone
    return covariance / np.outer(std, std)
