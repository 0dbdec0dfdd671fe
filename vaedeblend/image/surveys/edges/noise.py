"""What tiles near each other say together of their noise, wherever the sky was cut.

How noise is correlated, and how noisy the photons of light are beside the background, are of an
instrument and its processing: of all exposures there, and not of a tile. A small tile has few
pixels to measure them from, and fluxes of bright sources follow them; so tiles whose middles lie
within _REACH of each other's take the mean. A tile of Euclid's has no other so near, and its own
thousand square arcmin. Depth is a tile's own, and so is its PSF.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from scipy.spatial import cKDTree

from vaedeblend import __version__
from vaedeblend.image.inspection.findings import BlankSky, ImageNoise, Inspection, PhotonNoise
from vaedeblend.image.inspection.sky.correlation import correlated_noise
from vaedeblend.image.inspection.sky.total import SETTLED
from vaedeblend.image.options import ImageOptions
from vaedeblend.image.preparation import inspect_given
from vaedeblend.image.surveys import shards
from vaedeblend.image.surveys.listing import SurveyTile
from vaedeblend.io.folders.digest import digest, sealed_json, unsealed_json
from vaedeblend.io.write import prepare_folder, write_text

_REACH = 16.0
"""Distance within which tiles measure their noise together: half a side of Euclid's [arcmin]."""


class TileNoise(NamedTuple):
    """What a tile alone says of its noise."""

    sky: BlankSky | None
    photons: PhotonNoise | None
    is_bright: bool
    """Whether it has light in which photon noise would show."""


class NoiseTask(NamedTuple):
    """A tile whose noise is to be measured."""

    out: str
    """Folder of the survey."""
    tile: SurveyTile
    options: Mapping[str, Any]
    """Fields of `ImageOptions` of the whole survey."""


def companions(tiles: Sequence[SurveyTile]) -> list[tuple[int, ...]]:
    """Indices of the tiles that measure their noise together with each: itself, or all so near."""
    if not tiles:
        return []
    sky = np.concatenate([tile.middle for tile in tiles], axis=1)
    middles = SkyCoord(*sky, unit="deg").cartesian.xyz.value.T
    near = cKDTree(middles).query_ball_point(middles, np.radians(_REACH / 60))
    unit = [tile.zero_point for tile in tiles]
    return [tuple(sorted(j for j in of if unit[j] == unit[i])) for i, of in enumerate(near)]


def measure_tile_noise(task: NoiseTask) -> None:
    """Measures the noise of a tile's own pixels and writes it, unless that has been done.

    Raises:
        VaedeblendError: A file cannot be used or written.
    """
    if read_tile_noise(task) is not None:
        return
    made = _made(task)
    options = ImageOptions(**task.options | task.tile.options)
    found = _plain(tile_noise(inspect_given(task.tile.image, options, rounds=SETTLED)))
    prepare_folder(_path(task).parent)
    write_text(_path(task), sealed_json({"made": made, "noise": found}))


def tile_noise(inspection: Inspection) -> TileNoise:
    """What the inspection of a tile says of its noise."""
    is_bright = inspection.numbers.get("rms_growth") is not None
    return TileNoise(inspection.sky, inspection.photons, is_bright)


def read_tile_noise(task: NoiseTask) -> TileNoise | None:
    """What was measured of a tile's noise; None where that has not been done for its files."""
    try:
        kept = unsealed_json(_path(task).read_text(encoding="utf-8"))
        if kept["made"] != _made(task):
            return None
        sky, photons, is_bright = kept["noise"]
    except (OSError, ValueError, KeyError):
        return None
    return TileNoise(
        sky and BlankSky(np.array(sky[0]), sky[1]), photons and PhotonNoise(*photons), is_bright
    )


def join_noise(own: TileNoise, near: Sequence[TileNoise]) -> ImageNoise:
    """The noise that a tile is measured with.

    Args:
        own: What the tile says alone.
        near: What it and its companions say.
    """
    return ImageNoise(correlated_noise(_joined_sky(near)), _joined_photons(own, near))


def noise_digest(noise: ImageNoise | None) -> str:
    """Digest of the noise that a tile is measured with."""
    return digest(repr(None if noise is None else _plain(noise)).encode())


def _joined_sky(near: Sequence[TileNoise]) -> BlankSky | None:
    skies = [each.sky for each in near if each.sky is not None]
    if not skies:
        return None
    pixels = [sky.pixels for sky in skies]
    mean = np.average([sky.covariance for sky in skies], axis=0, weights=pixels)
    return BlankSky(mean, sum(pixels))


def _joined_photons(own: TileNoise, near: Sequence[TileNoise]) -> PhotonNoise | None:
    """The mean, if most of the tiles that could see it do; at the tile's own depth."""
    seen = [each.photons for each in near if each.photons is not None]
    if 2 * len(seen) <= sum(each.is_bright for each in near):
        return None
    weights = [max(each.pixels, 1) for each in seen]
    mean = PhotonNoise(*np.average(seen, axis=0, weights=weights).tolist())
    depth = own.photons or mean
    return PhotonNoise(mean.scale, depth.variance, depth.least, sum(weights))


def _made(task: NoiseTask) -> dict[str, Any]:
    """What a tile's noise is measured from."""
    options = {name: str(value) for name, value in (task.options | task.tile.options).items()}
    known = {"version": __version__, "options": options}
    return known | {"stats": shards.stats_of(task.tile.files)}


def _path(task: NoiseTask) -> Path:
    return Path(task.out) / shards.NOISE / f"{task.tile.name}.json"


def _plain(value) -> Any:
    """Nested tuples of numbers and arrays as JSON has them."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray) else value
