"""Noise that tiles near each other measure together: the same wherever the sky is cut."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import vstack
from fitsfolder import header
from scipy.ndimage import gaussian_filter
from surveyed import cut_tiles, plan_of, planned, same_sources, sky_tiles

from vaedeblend.euclid.mer.grid import TileGrid, simulate_grid
from vaedeblend.euclid.mer.simulate import simulate_tile
from vaedeblend.image.inspection.findings import BlankSky, ImageNoise, PhotonNoise, SkyNoise
from vaedeblend.image.options import ImageOptions
from vaedeblend.image.preparation import prepare_image
from vaedeblend.image.surveys import shards
from vaedeblend.image.surveys.edges.noise import (
    TileNoise,
    join_noise,
    measure_tile_noise,
    read_tile_noise,
)
from vaedeblend.image.surveys.edges.union import settle, union_tasks
from vaedeblend.image.surveys.plan import noise_tasks, tile_tasks
from vaedeblend.image.surveys.work import is_unchanged, measure_survey_tile

pytest.importorskip("pyarrow")


def near(correlation):
    """Autocovariance of noise whose next pixels are correlated."""
    axis = np.array([0, 0, correlation, 1, correlation, 0, 0])
    return np.outer(axis, axis)


def test_tiles_say_together_what_each_says_of_too_few_pixels():
    tiles = [
        TileNoise(BlankSky(near(0.2), 10_000), PhotonNoise(8.0, 1.0, 0.9, 100), True),
        TileNoise(BlankSky(near(0.3), 30_000), PhotonNoise(12.0, 2.0, 1.8, 300), True),
        TileNoise(None, None, False),
    ]
    found = [join_noise(own, tiles) for own in tiles]
    for each in found:
        correlation = each.correlated.covariance[3, 4] / each.correlated.covariance[3, 3]
        assert correlation == pytest.approx(0.275) and each.photons.scale == 11.0
    assert [each.photons.variance for each in found] == [1.0, 2.0, 1.75]  # its own depth
    doubtful = [tiles[0], *2 * [TileNoise(None, None, True)]]
    assert join_noise(tiles[0], doubtful).photons is None


def test_only_tiles_that_lie_near_measure_together():
    small, large = sky_tiles(4, side=3000), sky_tiles(4)
    assert small.together == 4 * ((0, 1, 2, 3),)
    assert large.together == ((0,), (1,), (2,), (3,))  # Euclid's, 30 arcmin apart
    units = [tile._replace(zero_point=float(i)) for i, tile in enumerate(small.tiles)]
    assert plan_of(units).together == large.together


def test_a_tile_is_measured_anew_when_the_noise_near_it_is_another(tmp_path):
    white = np.random.default_rng(0).normal(size=(240, 240))
    noise = gaussian_filter(white, 0.7)
    image = (noise / noise.std()).astype(np.float32)
    cut_tiles(tmp_path, image, np.ones_like(image), header(), size=120, reach=20)
    plan, alone = planned(tmp_path, tmp_path)
    assert all(task.noise is None for task in alone.values())
    tasks = noise_tasks(plan, tmp_path)
    for task in tasks.values():
        measure_tile_noise(task)
    joined = tile_tasks(plan, tmp_path)
    first, *others = [task.noise.correlated.covariance for task in joined.values()]
    for other in others:
        np.testing.assert_array_equal(first, other)
    own = {n: read_tile_noise(task).sky.covariance for n, task in tasks.items()}
    assert min(abs(each[3, 4] - own["t00"][3, 4]) for n, each in own.items() if n != "t00") > 0
    path = shards.mark_path(tmp_path, "t00", shards.NOISE)
    path.write_text(path.read_text().replace("true", "false").replace("1", "2", 1))
    assert read_tile_noise(tasks["t00"]) is None and tile_tasks(plan, tmp_path)["t00"].noise is None
    measure_tile_noise(tasks["t00"])
    assert read_tile_noise(tasks["t00"]).sky is not None


def test_an_image_is_measured_with_the_noise_that_is_given(tmp_path):
    image = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    image[40:44, 40:44] = 400.0
    for name, plane in (("image", image), ("rms", np.sqrt(1 + image.clip(0) / 50))):
        fits.writeto(tmp_path / f"{name}.fits", plane.astype(np.float32), header())
    noise = ImageNoise(SkyNoise(near(0.2) / near(0.2).sum(), 1.0), PhotonNoise(50.0, 1.0, 0.9))
    given = tmp_path / "image.fits", ImageOptions(rms=str(tmp_path / "rms.fits")), (), print
    found = prepare_image(tmp_path, *given, noise)
    np.testing.assert_array_equal(found.job.covariance, noise.correlated.covariance)
    assert found.job.files["gain"] == 50.0 and found.inspection.photons is None
    np.testing.assert_allclose(fits.getdata(found.job.files["rms"])[41:43, 41:43], 1, atol=0.1)
    assert prepare_image(tmp_path, *given).job.covariance is None


@pytest.mark.slow
def test_tiles_of_mer_together_are_the_stitched_image(tmp_path):
    """Of correlated noise, with photon noise in the map, which one tile is too dark to show."""
    simulate_grid(tmp_path / "grid", TileGrid(2, 2, reach=60), size=256, seed=1)
    simulate_tile(tmp_path / "whole", size=512, seed=1)
    plan, _ = planned(tmp_path / "grid", tmp_path, pattern="*")
    for task in noise_tasks(plan, tmp_path).values():
        measure_tile_noise(task)
    tasks = tile_tasks(plan, tmp_path)
    (stitched,) = planned(tmp_path / "whole", tmp_path / "one", pattern="*")[1].values()
    for task in (*tasks.values(), stitched._replace(noise=tasks["102000001"].noise)):
        assert not measure_survey_tile(task)["kept"]
    assert all(map(is_unchanged, tile_tasks(plan, tmp_path).values()))
    others = {each.name: plan.others(i) for i, each in enumerate(plan.tiles)}
    for task in union_tasks(tmp_path, plan.tiles, others).values():
        settle(task)
    own = [shards.read_own(tmp_path, name) for name in tasks]
    found = vstack(own, metadata_conflicts="silent")
    whole = shards.read_shard(shards.shard_path(tmp_path / "one", stitched.tile.name))
    row, distance = same_sources(found, whole)
    assert len(found) == len(whole) == len({*row}) and distance.max() < 0.1
    moved = np.abs(found["flux"] - whole["flux"][row]) / whole["flux_err"][row]
    # Each tile's response to light is that under its own cells of PSFs.
    assert np.sum(moved > 0.1) <= 1 and np.nanmax(moved) < 0.2
