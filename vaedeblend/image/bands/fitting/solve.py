r"""Fluxes of sources whose templates are known: one linear problem, solved group by group.

With templates $T$, changes of them with the profiles' sizes $T'$, weights $W$ and a smooth
background $B$ the fluxes $f$ and the background's nodes $b$ minimise
$|W^{1/2} (d - T f - B b)|^2$. Sources that share pixels are a group, whose matrix $T^T W T$ is
factorised (Cholesky); the background, which all share, is eliminated (Schur), so that the fluxes'
covariance

$$C = (T^T W T)^{-1} + Y S^{-1} Y^T, \quad Y = (T^T W T)^{-1} T^T W B$$

is exact within a group. An error $\eta$ of a profile's size moves all fluxes of its group by
$-C T^T W T' f \eta$, and its own by $\eta$ of itself at least, as in VIS. Another size in the band
than in VIS moves them alike, but for the latter.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, sparse
from scipy.optimize import nnls
from scipy.sparse.csgraph import connected_components

_MESH = 256
"""Distance of the background's nodes [pixel]."""
_RIDGE = 1e-9
"""Share that is added to the diagonal, so that sources of one template do not end a group."""


class Problem(NamedTuple):
    """Pixels of a window, those that count, and what they are to be made of."""

    light: sparse.csc_array
    """A column a source of unit flux (pixel, source)."""
    grown: sparse.csc_array
    """Its change with the logarithm of the profile's size."""
    data: Float[np.ndarray, " pixel"]
    weight: Float[np.ndarray, " pixel"]
    """Inverse variance; 0 where a pixel does not count."""
    sky: sparse.csc_array
    """A column a node of the background (pixel, node)."""


class Block(NamedTuple):
    """One group's covariances."""

    members: Int[np.ndarray, " m"]
    """Columns of the problem."""
    noise: Float[np.ndarray, "m m"]
    """Covariance of the fluxes, of noise."""
    profile: Float[np.ndarray, "m m"]
    """Covariance of the fluxes, of the profiles' sizes."""


class Solution(NamedTuple):
    """Fluxes of n sources."""

    flux: Float[np.ndarray, " n"]
    background: Float[np.ndarray, " node"]
    blocks: list[Block]
    response: Float[np.ndarray, " n"]
    """Change of the logarithm of a flux with the logarithm of its own profile's size."""
    inflation: Float[np.ndarray, " n"]
    """Error over what it would be were there no other source and no background to fit."""

    def model(self, problem: Problem) -> Float[np.ndarray, " pixel"]:
        """Light of all sources."""
        return problem.light @ self.flux

    def diagonal(self, kind: str) -> Float[np.ndarray, " n"]:
        """Variances of the fluxes, of `noise` or `profile`."""
        variance = np.zeros(len(self.flux))
        for block in self.blocks:
            variance[block.members] = np.diagonal(getattr(block, kind))
        return variance


@lru_cache(maxsize=1)
def sky_mesh(shape: tuple[int, int], mesh: int = _MESH) -> sparse.csc_array:
    """Tents over a window, of unit sum everywhere: a constant where the window is small.

    Pieces are of one shape mostly, whose tents are kept; nothing may write into them.

    Args:
        shape: Height and width of the window [pixel].
        mesh: Distance of the nodes, nearly [pixel].
    """
    rows, columns = (_tents(n, mesh) for n in shape)
    return sparse.csc_array(sparse.kron(rows, columns))


def _tents(n: int, mesh: int) -> sparse.csr_array:
    """Tents along an axis (pixel, node)."""
    nodes = 1 + n // mesh
    if nodes == 1:
        return sparse.csr_array(np.ones((n, 1)))
    place = np.linspace(0, nodes - 1, n)
    return sparse.csr_array((1 - np.abs(place[:, None] - np.arange(nodes))).clip(0))


def solve(
    problem: Problem,
    size_error: Float[np.ndarray, " n"],
    gradient: Float[np.ndarray, " n"],
    *,
    non_negative: bool = False,
) -> Solution:
    """The fluxes of all sources, and their covariances.

    Args:
        problem: Pixels and templates.
        size_error: Relative errors of the profiles' sizes.
        gradient: Expected differences of the logarithms of sizes between VIS and the band.
        non_negative: No flux is below 0; errors are those of free fluxes.
    """
    light, sky = problem.light, problem.sky
    weighted, weighted_sky = (_weighted(each, problem.weight) for each in (light, sky))
    normal = (light.T @ weighted).tocsr()
    cross, change = (weighted.T @ each for each in (sky, problem.grown))
    cross, change = cross.toarray(), change.tocsr()
    right = weighted.T @ problem.data
    of_sky = sky.T @ weighted_sky
    groups = _groups(normal)
    inverses = [_inverse(normal[g][:, g].toarray()) for g in groups]
    solved = np.zeros_like(cross)
    for g, inverse in zip(groups, inverses, strict=True):
        solved[g] = inverse @ cross[g]
    schur = of_sky.toarray() - cross.T @ solved
    schur_inverse = linalg.pinvh(schur)
    flux = np.zeros(len(right))
    background = schur_inverse @ (sky.T @ (problem.weight * problem.data) - solved.T @ right)
    for g, inverse in zip(groups, inverses, strict=True):
        own = right[g] - cross[g] @ background
        flux[g] = _bounded(normal[g][:, g].toarray(), own) if non_negative else inverse @ own
    blocks, response = [], np.zeros(len(flux))
    for g, inverse in zip(groups, inverses, strict=True):
        noise = inverse + solved[g] @ schur_inverse @ solved[g].T
        moved = -noise @ change[g][:, g].toarray()
        response[g] = np.diagonal(moved)
        # What is wrong in a profile is its outskirts as well, which no wider PSF makes less so.
        least = np.maximum(1 / np.maximum(np.abs(response[g]), 0.1), 1)
        by_size = [moved * (flux[g].clip(0) * e) for e in (size_error[g] * least, gradient[g])]
        blocks.append(Block(g, noise, sum(each @ each.T for each in by_size)))
    solution = Solution(flux, background, blocks, response, np.zeros(len(flux)))
    alone = np.sqrt(solution.diagonal("noise") * normal.diagonal())
    return solution._replace(inflation=alone)


def _weighted(columns: sparse.csc_array, weight: Float[np.ndarray, " pixel"]) -> sparse.csc_array:
    """Columns times the weights of their pixels."""
    values = columns.data * weight[columns.indices]
    return sparse.csc_array((values, columns.indices, columns.indptr), shape=columns.shape)


def pixel_chi2(problem: Problem, solution: Solution) -> Float[np.ndarray, " pixel"]:
    """Squares of the residuals in units of the noise; 0 where a pixel does not count."""
    residual = problem.data - solution.model(problem) - problem.sky @ solution.background
    return problem.weight * residual**2


def source_chi2(problem: Problem, chi2: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " n"]:
    """Mean chi2 under each source, by the square of its template; NaN without a valid pixel."""
    square = problem.light.multiply(problem.light).tocsc()
    total = square.T @ (problem.weight > 0).astype(float)
    return np.where(total > 0, square.T @ chi2 / np.where(total > 0, total, 1), np.nan)


def _groups(normal: sparse.csr_array) -> list[Int[np.ndarray, " m"]]:
    """Members of each group of sources that share pixels; those without a pixel are left out."""
    _, label = connected_components(normal, directed=False)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else []
    seen = normal.diagonal() > 0
    return [g for g in groups if seen[g].all()]


def _inverse(normal: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "m m"]:
    """Inverse of a group's matrix, by Cholesky's factors."""
    scale = np.sqrt(np.diagonal(normal))
    matrix = normal / np.outer(scale, scale)
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    inverse = linalg.cho_solve(linalg.cho_factor(matrix, lower=True), np.eye(len(matrix)))
    return inverse / np.outer(scale, scale)


def _bounded(normal: Float[np.ndarray, "m m"], right: Float[np.ndarray, " m"]):
    """Fluxes of a group, none below 0."""
    scale = np.sqrt(np.diagonal(normal))
    matrix = normal / np.outer(scale, scale)
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    factor = linalg.cholesky(matrix, lower=True)
    return nnls(factor.T, linalg.solve_triangular(factor, right / scale, lower=True))[0] / scale
