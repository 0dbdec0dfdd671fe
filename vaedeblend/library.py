"""Libraries of single galaxies, each rendered once, from which any number of scenes is composed.

Every entry is a galaxy at a random angle and a random sub-pixel phase on a stamp larger than a
scene. Whole-pixel shifts of such stamps are exact, which Fourier shifts of undersampled images are
not, and the random phases make the positions of a scene's galaxies continuous all the same.
"""

import multiprocessing
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from vaedeblend.psf import Psf
from vaedeblend.render import Galaxies, make_draw

_CHUNK = 64


class Library(NamedTuple):
    """n galaxies rendered alone, without noise."""

    stamps: Float[np.ndarray, "n side side band"]
    """[uJy per pixel]."""
    phase: Float[np.ndarray, "n 2"]
    """(y, x) of the galaxy from the stamp's centre, within half a pixel."""
    central: Bool[np.ndarray, " n"]
    """Whether the entry may be a scene's central galaxy; the others are companions."""
    id: Int[np.ndarray, " n"]
    """Of the catalogue; negative for stars."""
    galaxies: Galaxies
    """As rendered: position angles include the entry's rotation."""


class _Task(NamedTuple):
    first: int
    galaxies: Galaxies
    phase: np.ndarray


def render_library(
    galaxies: Galaxies,
    ids: Int[np.ndarray, " n"],
    central: Bool[np.ndarray, " n"],
    *,
    seed: tuple[int, ...],
    psfs: Sequence[tuple[Psf, ...]],
    size: int,
    pixel_scale: float,
    processes: int = 1,
) -> Library:
    """Renders each galaxy once, at an angle and a phase that depend on `seed` and its index only.

    Args:
        galaxies: One an entry; a galaxy may appear in several.
        ids: Of the catalogue.
        central: Which entries may be central galaxies.
        seed: Words of the seed; the entry's index is appended.
        psfs: By turns, one a band each: entry i is drawn with `psfs[i % len(psfs)]`.
        size: Of the stamps [pixel].
        pixel_scale: [arcsec].
        processes: That render side by side.
    """
    turned, phase = _random_poses(galaxies, len(ids), seed)
    tasks = [
        _Task(i, turned.take(slice(i, i + _CHUNK)), phase[i : i + _CHUNK])
        for i in range(0, len(ids), _CHUNK)
    ]
    drawing = {"psfs": psfs, "size": size, "pixel_scale": pixel_scale}
    stamps = np.empty((len(ids), size, size, len(psfs[0])), np.float32)
    for i, chunk in enumerate(_render_all(tasks, drawing, min(processes, len(tasks)))):
        stamps[i * _CHUNK : i * _CHUNK + len(chunk)] = chunk
    return Library(stamps, phase, np.asarray(central), np.asarray(ids), turned)


def _random_poses(galaxies, n, seed) -> tuple[Galaxies, Float[np.ndarray, "n 2"]]:
    poses = np.array([np.random.default_rng((*seed, i)).random(3) for i in range(n)])
    rotation = 180 * poses.reshape(n, 3)[:, 0]
    turned = galaxies._replace(
        bulge_position_angle=galaxies.bulge_position_angle + rotation,
        disk_position_angle=galaxies.disk_position_angle + rotation,
    )
    return turned, (poses.reshape(n, 3)[:, 1:] - 0.5).astype(np.float32)


def _render_all(tasks, drawing, processes):
    """Yields the stamps of each task, in order."""
    if processes <= 1:
        draws = _make_draws(**drawing)
        yield from (_render(task, draws) for task in tasks)
        return
    # Not fork: the parent may hold JAX's threads.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _start_worker, (drawing,)) as pool:
        yield from pool.imap(_render_in_worker, tasks)


def _make_draws(psfs, **drawing):
    return [make_draw(each, **drawing) for each in psfs]


def _render(task: _Task, draws) -> Float[np.ndarray, "n side side band"]:
    turns = (draws[(task.first + i) % len(draws)] for i in range(len(task.phase)))
    stamps = [
        draw(task.galaxies.take(i), at)
        for i, (draw, at) in enumerate(zip(turns, task.phase, strict=True))
    ]
    return np.stack(stamps)


def _start_worker(drawing):
    global _draws
    _draws = _make_draws(**drawing)


def _render_in_worker(task):
    return _render(task, _draws)
