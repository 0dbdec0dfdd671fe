"""Galaxies that share pixels: who overlaps with whom, how much, and what that does to fluxes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_OVERLAP = 0.01
"""Galaxies whose templates have a noise-weighted cosine above this belong to a group."""


class Groups(NamedTuple):
    """Of n galaxies; pairs are those that overlap, each once."""

    group: Int[np.ndarray, " n"]
    """Number of each galaxy's group."""
    pair: Int[np.ndarray, "pair 2"]
    correlation: Float[np.ndarray, " pair"]
    """Of the errors of the two fluxes, if all profiles of the group are known."""

    @property
    def neighbours(self) -> Int[np.ndarray, " n"]:
        """Number of galaxies with which each overlaps."""
        return np.bincount(self.pair.ravel(), minlength=len(self.group))


def find_groups(
    stamps: Float[np.ndarray, "n size size"],
    corner: Int[np.ndarray, "n 2"],
    variance: Float[np.ndarray, "n size size"],
) -> Groups:
    r"""Groups of overlapping galaxies, and how the errors of their fluxes hang together.

    The joint least-squares solution of a group's fluxes has the covariance $A^{-1}$ with
    $A_{ij} = \sum_p t_{ip} t_{jp} / v_p$, $t$ the galaxies' unit profiles.

    Args:
        stamps: Each galaxy's light or unit profile.
        corner: (y, x) of each stamp's first pixel on the image.
        variance: Of the same pixels; infinite where one is to be ignored.
    """
    scaled = np.where(np.isfinite(variance), stamps, 0) / np.sqrt(variance)
    norm = np.sqrt(np.einsum("nyx,nyx->n", scaled, scaled))
    scaled /= np.where(norm > 0, norm, np.inf)[:, None, None]
    pair = cKDTree(corner).query_pairs(stamps.shape[1] - 1, p=np.inf, output_type="ndarray")
    cosine = np.array([_product(scaled, corner, i, j) for i, j in pair.tolist()])
    near = cosine > _OVERLAP
    pair, cosine = pair[near].reshape(-1, 2), cosine[near]
    n = len(stamps)
    _, group = connected_components(coo_array((cosine, pair.T), shape=(n, n)), directed=False)
    return Groups(group, pair, _correlations(group, pair, cosine))


def _product(scaled, corner, i: int, j: int) -> float:
    """Scalar product of two stamps where they overlap."""
    size, shift = scaled.shape[1], corner[j] - corner[i]
    first = tuple(slice(max(s, 0), size + min(s, 0)) for s in shift)
    second = tuple(slice(max(-s, 0), size - max(s, 0)) for s in shift)
    return float(np.vdot(scaled[i][first], scaled[j][second]))


def _correlations(group, pair, cosine) -> Float[np.ndarray, " pair"]:
    """Of the errors of each pair's fluxes, from the inverse of each group's matrix."""
    found = np.zeros(len(pair))
    order = np.argsort(group[pair[:, 0]], kind="stable")
    _, start = np.unique(group[pair[order, 0]], return_index=True)
    for rows in np.split(order, start[1:]) if len(pair) else []:
        members, local = np.unique(pair[rows], return_inverse=True)
        i, j = local.reshape(-1, 2).T
        matrix = np.eye(len(members))
        matrix[i, j] = matrix[j, i] = np.minimum(cosine[rows], 0.999)
        covariance = np.linalg.pinv(matrix, hermitian=True)
        std = np.sqrt(np.diag(covariance).clip(1))  # at least that of a galaxy alone
        found[rows] = covariance[i, j] / (std[i] * std[j])
    return found.clip(-1, 1)
