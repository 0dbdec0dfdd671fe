"""Tiles side by side: every place has one owner, and all that is found is what the whole holds."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS
from fitsfolder import RMS, folder, header, network, run, sky  # noqa: F401
from matched import gaussian
from surveyed import cut_tiles, planned, same_sources

from vaedeblend.exceptions import SurveyError
from vaedeblend.image.surveys import shards
from vaedeblend.image.surveys.edges.cores import core_depth, find_core, with_edges
from vaedeblend.image.surveys.edges.margins import lenders, prepare_tile, widen
from vaedeblend.image.surveys.edges.union import settle, union_tasks
from vaedeblend.image.surveys.listing import SurveyTile, as_cards
from vaedeblend.image.surveys.plan import OPTIONS
from vaedeblend.image.surveys.work import measure_survey_tile
from vaedeblend.image.tiles import network_at
from vaedeblend.io.mosaic import open_mosaic

pytest.importorskip("pyarrow")


def tile(name, centre, shape=(600, 800), turn=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix, wcs.wcs.crval = [(n + 1) / 2 for n in shape[::-1]], centre
    cos, sin = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = np.array([[-cos, sin], [sin, cos]]) * 0.1 / 3600
    return SurveyTile(name, f"{name}.fits", {}, shape, as_cards(wcs.to_header()))


def test_every_place_belongs_to_one_tile_whatever_the_tiles_are(rng):
    centres = [(150, 2), (150.018, 2.001), (150.009, 2.014), (149.99, 1.99)]
    tiles = [tile(f"t{i}", at, turn=0.1 * i) for i, at in enumerate(centres)]
    tiles, _ = with_edges(tiles)
    ra, dec = rng.uniform(149.975, 150.03, 4000), rng.uniform(1.98, 2.025, 4000)
    depths = np.array(
        [
            core_depth(one, {other.name: other for other in tiles if other is not one}, ra, dec)
            for one in tiles
        ]
    )
    np.testing.assert_array_equal((depths >= 0).sum(axis=0), 1)
    assert (np.bincount(np.argmax(depths, axis=0)) > 100).all()


def test_cores_of_an_even_grid_are_its_pieces(folder, tmp_path):
    image = fits.getdata(folder / "image.fits")
    cut_tiles(tmp_path, image, np.ones_like(image), header(), size=100, reach=30)
    plan, _ = planned(tmp_path, tmp_path / "out")
    core = find_core(plan.tiles[0], {each.name: each for each in plan.others(0)})
    (bottom, top), (left, right) = core.window
    assert (bottom, left) == (0, 0) and 100 <= top <= 110 and 100 <= right <= 110
    assert core.pixels == pytest.approx(100 * 100, rel=0.02)
    assert not lenders(plan.tiles[0]._replace(shape=(900, 900)), {}, core.window)


@pytest.mark.parametrize("reach", [0, 30])
def test_a_tile_reads_what_it_lacks_from_its_neighbours(folder, tmp_path, reach):
    image = fits.getdata(folder / "image.fits")
    rms = np.random.default_rng(3).uniform(1, 2, image.shape).astype(np.float32)
    cut_tiles(tmp_path, image, rms, header(), size=130, reach=reach)
    plan, _ = planned(tmp_path, tmp_path)
    last, others = plan.tiles[3], {each.name: each for each in plan.others(3)}
    wide, offset = widen(last, others, find_core(last, others).window, tmp_path)
    assert offset == (130 - reach, 130 - reach) and len(others) == 3
    np.testing.assert_array_equal(fits.getdata(wide.image), image)  # it ends where the sky ends
    np.testing.assert_array_equal(fits.getdata(wide.options["rms"]), rms)
    x, y = wide.wcs.all_world2pix(*last.wcs.all_pix2world(7, 9, 0), 0)
    np.testing.assert_allclose([x, y], [7 + offset[1], 9 + offset[0]], atol=1e-6)


def write_psfs(path, kind):
    """PSFs of one tile that are wider towards its right: of a grid, at places, or of a model."""
    narrow, broad = (gaussian(16, 16, (33, 33), sigma=sigma) for sigma in (1.2, 1.5))
    if kind == "grid":
        fits.writeto(path, np.stack([narrow, broad])[None])
    elif kind == "stamps":
        image = fits.ImageHDU(
            np.concatenate([narrow, broad], axis=1), fits.Header({"STMPSIZE": 33})
        )
        places = Table({"x_center": [17.0, 50.0], "y_center": [17.0, 17.0]})
        places["x"], places["y"] = [10.0, 60.0], [65.0, 65.0]  # the second is nearer to the middle
        table = fits.BinTableHDU(places)
        fits.HDUList([fits.PrimaryHDU(), image, table]).writeto(path)
    else:
        basis = np.array([narrow, broad - narrow])
        model = np.concatenate([basis, 0 * basis[:1]])
        column = fits.Column("PSF_MASK", f"{model.size}E", dim="(33,33,3)")
        table = fits.BinTableHDU.from_columns([column], nrows=1)
        table.data["PSF_MASK"][0] = model
        cards = {"PSF_SAMP": 1.0, "POLNAXIS": 2, "POLDEG1": 1, "POLNGRP": 1}
        for i, name in enumerate(("X_IMAGE", "Y_IMAGE"), 1):
            cards |= {f"POLNAME{i}": name, f"POLZERO{i}": 1.0, f"POLSCAL{i}": 130.0}
        table.header.update(cards)
        table.writeto(path)


@pytest.mark.parametrize("kind", ["grid", "stamps", "model"])
def test_psfs_stay_on_the_pixels_of_a_tile_that_is_widened(folder, tmp_path, kind):
    image = fits.getdata(folder / "image.fits")
    cut_tiles(tmp_path, image, np.full_like(image, RMS), header(), size=130, reach=0)
    for name in ("t00", "t01", "t10", "t11"):
        write_psfs(tmp_path / f"{name}_psf.fits", kind)
    plan, _ = planned(tmp_path, tmp_path)
    last, others = plan.tiles[3], {each.name: each for each in plan.others(3)}
    window, found = find_core(last, others).window, []
    for near in ({}, others):
        prepared, offset = prepare_tile(last, near, window, OPTIONS, None, tmp_path)
        with open_mosaic(prepared.job.image, **prepared.job.files) as mosaic:
            psf = network_at(prepared.job, mosaic, np.array(offset)).psf
        found.append(psf(None, np.array([[9.0, 9.0], [60.0, 64.0], [9.0, 66.0], [60.0, 120.0]])))
    assert offset == (130, 130)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


def test_a_tile_that_others_cover_has_no_source_of_its_own(folder, tmp_path):
    image, known = fits.getdata(folder / "image.fits", header=True)
    for name in ("t00", "t01"):
        fits.writeto(tmp_path / f"{name}.fits", image[:80, :80], known)
        fits.writeto(tmp_path / f"{name}_rms.fits", np.full((80, 80), RMS, np.float32), known)
    _, tasks = planned(tmp_path, tmp_path)
    measure_survey_tile(tasks["t01"])
    assert shards.read_mark(tmp_path, "t01").rows == 0


@pytest.mark.slow
@pytest.mark.parametrize("reach", [0, 30])
def test_tiles_together_find_what_the_whole_image_holds(folder, tmp_path, reach):
    whole = run(folder)
    image, known = fits.getdata(folder / "image.fits", header=True)
    cut_tiles(tmp_path / "tiles", image, np.full_like(image, RMS), known, size=130, reach=reach)
    plan, tasks = planned(tmp_path / "tiles", tmp_path)
    assert all(not measure_survey_tile(task)["kept"] for task in tasks.values())
    others = {each.name: plan.others(i) for i, each in enumerate(plan.tiles)}
    for task in union_tasks(tmp_path, plan.tiles, others).values():
        settle(task)
    own = [shards.read_own(tmp_path, name) for name in tasks]
    found = vstack(own, metadata_conflicts="silent")
    row, distance = same_sources(found, whole)
    assert len(found) == len(whole) == len({*row}) and distance.max() < 0.05
    moved = np.abs(found["flux"] - whole["flux"][row]) / whole["flux_err"][row]
    assert np.max(moved) < 0.1
    assert len({*found["object_id"]}) == len(found) and {*found["tile"]} == {*tasks}
    assert found["flux"].unit == "uJy" and found["ra"].unit == "deg"


def rows(depths, ra, name):
    n = len(ra)
    table = Table(
        {"ra": ra, "dec": np.full(n, 2.0), "core_depth": depths, "flags": np.zeros(n, int)}
    )
    table["flux_ujy"], table["apparent"] = np.ones(n), np.ones(n)
    table["flux"] = np.arange(n) + (100.0 if name == "b" else 0.0)
    return table


def test_a_source_at_a_border_is_neither_lost_nor_there_twice(tmp_path):
    """Both tiles put one beyond the border, both put one within, and one is seen by one alone."""
    arcsec = 1 / 3600
    a, b = tile("a", (150, 2)), tile("b", (150 - 700 * 0.1 * arcsec, 2))
    (a, b), _ = with_edges([a, b])
    border = 150 - 350 * 0.1 * arcsec
    place = {"a": border + np.array([0.1, -0.1, -0.3, 9.0]) * arcsec}
    place["b"] = border + np.array([0.12, -0.12, 9.0, -9.0]) * arcsec
    for one, other in ((a, b), (b, a)):
        ra = place[one.name]
        depth = core_depth(one, {other.name: other}, ra, np.full(len(ra), 2.0))
        depth[:2] = [0.05, -0.05] if one is a else [0.05, -0.05]
        if one is b:
            ra, depth = ra[[0, 1, 3]], depth[[0, 1, 3]]
        path = shards.shard_path(tmp_path, one.name)
        digest = shards.write_shard(path, rows(depth, ra, one.name))
        shards.write_mark(tmp_path, shards.Done(one.name, {}, [], digest, len(ra), {}, {}))
    tasks = union_tasks(tmp_path, (a, b), {"a": (b,), "b": (a,)})
    kept = {name: settle(task) for name, task in tasks.items()}
    found = [float(flux) for name in "ab" for flux in shards.read_own(tmp_path, name)["flux"]]
    assert sorted(found) == [0.0, 2.0, 3.0, 101.0, 102.0], kept
    shards.write_shard(shards.shard_path(tmp_path, "a"), rows([1.0], [150.0], "a"))
    with pytest.raises(SurveyError, match="is not what its mark was written for"):
        settle(tasks["a"])
