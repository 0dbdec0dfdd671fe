"""What a latent space holds: how many of its dimensions are used, and for what properties."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from vaedeblend.models.sinh_arcsinh import ProfileDecoder, draw_galaxies
from vaedeblend.pixels.shapes import measure_shapes

ACTIVE = 0.01
"""Variance over galaxies of an active dimension's posterior mean: at least this (Burda+ 2016)."""
GALAXY_PARAMETERS = (
    "magnitude",
    "disk_half_light_radius",
    "disk_axis_ratio",
    "bulge_fraction",
    "purity",
)
TRAVERSED, STEPS = 6, (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Dimensions of which a traversal is shown, and its steps [standard deviation of the galaxies]."""

_EMBEDDED = 3000
_NEIGHBOURS = 10


def draw_light(
    decode: ProfileDecoder, found, rows, key
) -> Float[np.ndarray, "n height width band"]:
    """Light of some of the galaxies that a network found, drawn from their posterior."""
    known = found.latent_mean, found.latent_std, found.log_flux
    _, light = draw_galaxies(decode, *jax.tree.map(lambda field: field[rows], known), key)
    return np.asarray(light)


def study(
    mean: Float[np.ndarray, "n latent"],
    std: Float[np.ndarray, "n latent"],
    column: Mapping[str, np.ndarray],
    decode: ProfileDecoder | None,
    seed: int,
) -> tuple[dict, Float[np.ndarray, "n 2"], Float[np.ndarray, "dim step height width"] | None]:
    """Numbers of a latent space, its t-SNE, and images along its most used dimensions.

    Args:
        mean: Mean of each galaxy's posterior.
        std: Standard deviation of each galaxy's posterior.
        column: Columns of the per-example table, with `GALAXY_PARAMETERS`.
        decode: `network.Deblender.decode`; None leaves the images out.
        seed: Seed of the t-SNE.
    """
    numbers = usage(mean, std)
    numbers["layout"] = layout(mean, column)
    known = {name: r2 for name, r2 in numbers["layout"].items() if r2 is not None}
    for end, choose in (("best", max), ("worst", min)):
        if known:
            name = choose(known, key=known.get)
            numbers[end] = {"name": name.replace("_", " "), "r2": known[name]}
    order = np.argsort(numbers["variance"])[::-1][:TRAVERSED]
    if decode is None or not len(mean):
        return numbers, embed(mean, seed), None
    images = traverse(decode, mean, order)
    numbers["traversals"] = [
        {"dimension": int(dim), **_change(row)} for dim, row in zip(order, images, strict=True)
    ]
    return numbers, embed(mean, seed), images


def usage(mean: Float[np.ndarray, "n latent"], std: Float[np.ndarray, "n latent"]) -> dict:
    """Use of each dimension: variance of the mean, mean variance, KL from N(0, 1) [nat].

    With the number of dimensions that are active; variance and means are over galaxies.
    """
    variance = mean.astype(float).var(axis=0) if len(mean) else np.zeros(mean.shape[1])
    noise = np.square(std.astype(float))
    kl = (np.square(mean) + noise - np.log(np.maximum(noise, 1e-30)) - 1) / 2
    return {
        "n_dimensions": mean.shape[1],
        "n_active": int(np.sum(variance > ACTIVE)),
        "variance": variance.tolist(),
        "noise": noise.mean(axis=0).tolist() if len(mean) else [],
        "kl": kl.mean(axis=0).tolist() if len(mean) else [],
    }


def layout(mean: Float[np.ndarray, "n latent"], column: Mapping[str, np.ndarray]) -> dict:
    """How well each parameter is known from a galaxy's ten nearest neighbours in the space (R2).

    None where the parameter does not vary.
    """
    few = slice(None, _EMBEDDED)
    space = np.nan_to_num(mean[few])
    if len(space) <= _NEIGHBOURS:
        return dict.fromkeys(GALAXY_PARAMETERS)
    _, near = cKDTree(space).query(space, _NEIGHBOURS + 1)
    found = {}
    for name in GALAXY_PARAMETERS:
        values = column[name][few].astype(float)
        total = np.nanvar(values)
        guess = np.nanmean(values[near[:, 1:]], axis=1)
        varies = total > 1e-12
        found[name] = float(1 - np.nanmean((guess - values) ** 2) / total) if varies else None
    return found


def embed(mean: Float[np.ndarray, "n latent"], seed: int) -> Float[np.ndarray, "n 2"]:
    """T-SNE (van der Maaten & Hinton 2008) of the first 3000 galaxies, NaN for the others.

    NaN for all of them where they are fewer than five, or one and the same point.
    """
    place = np.full((len(mean), 2), np.nan)
    rows = np.flatnonzero(np.isfinite(mean).all(axis=1))[:_EMBEDDED]
    if len(rows) < 5 or not np.ptp(mean[rows], axis=0).any():
        return place
    perplexity = min(30.0, (len(rows) - 1) / 4)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    with threadpool_limits(
        1
    ):  # its threads wait for each other: many times slower on a busy machine
        place[rows] = tsne.fit_transform(mean[rows].astype(np.float32))
    return place


def traverse(
    decode: ProfileDecoder, mean: Float[np.ndarray, "n latent"], dimensions
) -> Float[np.ndarray, "dim step height width"]:
    """Profiles of the median galaxy with one dimension at a time set to steps about its mean."""
    typical, spread = np.nanmedian(mean, axis=0), np.nanstd(mean, axis=0)
    z = np.tile(typical, (len(dimensions), len(STEPS), 1))
    for row, dim in zip(z, dimensions, strict=True):
        row[:, dim] = np.nanmean(mean[:, dim]) + np.array(STEPS) * spread[dim]
    images = np.asarray(decode(jnp.asarray(z.reshape(-1, mean.shape[1]))))[..., 0]
    return images.reshape(*z.shape[:2], *images.shape[1:])


def _change(images: Float[np.ndarray, "step height width"]) -> dict:
    """Change of radius, peak, axis ratio and place of the light from first to last image."""
    ends = images[[0, -1]]
    shapes = measure_shapes(ends, ends.sum(axis=(1, 2)))
    radius, ratio = shapes.half_light_radius, shapes.axis_ratio
    peak = ends.max(axis=(1, 2))
    shift = float(np.hypot(*(shapes.centre[1] - shapes.centre[0])))
    both = zip(("radius", "peak"), (radius, peak), strict=True)
    factors = {f"{name}_factor": float(b / a) for name, (a, b) in both}
    return factors | {"axis_ratio_change": float(ratio[1] - ratio[0]), "shift": shift}
