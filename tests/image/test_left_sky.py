"""Light between the sources of an image: found where no model has light, and taken off."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import RMS, SHAPE, folder, network, run, sky, use_network  # noqa: F401
from matched import PROFILE, matched_filter

from vaedeblend.deblend.calibration import Response
from vaedeblend.image import pieces
from vaedeblend.image.inspection.sky.background import LeftSky, write_left_sky
from vaedeblend.image.photometry import with_sky_error, without_sky
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.pixels.shapes import FWHM


def quiet(*_):
    pass


def lit(folder, level):  # noqa: F811
    """The image with light all over it."""
    with fits.open(folder / "image.fits", mode="update") as hdus:
        hdus[0].data = (hdus[0].data + level).astype(hdus[0].data.dtype)


def written(tmp_path, values, rms, core=None, gain=None):
    for name, plane in (("image", values), ("rms", rms)):
        fits.writeto(tmp_path / f"{name}.fits", plane.astype(np.float32))
    core = core or tuple(slice(0, n) for n in values.shape)
    noise = str(tmp_path / "rms.fits")
    with open_mosaic(tmp_path / "image.fits", rms=noise, gain=gain) as mosaic:
        return write_left_sky(mosaic, None, [], core, tmp_path, quiet)


def test_even_light_is_taken_off_and_fluxes_are_as_without_it(folder, sky):  # noqa: F811
    plain = run(folder)
    assert not (folder / "out" / "sky.fits").exists()
    lit(folder, 0.2 * RMS)
    table = run(folder)
    level = fits.getdata(folder / "out" / "sky.fits")
    np.testing.assert_allclose(level, 0.2 * RMS, rtol=0.15)
    assert len(table) == len(plain)
    moved = (table["flux"] - plain["flux"]) / plain["flux_err"]
    assert np.abs(np.median(moved)) < 0.1
    said = [value for key, value in table.meta.items() if key.startswith("SAID")]
    assert any("of light are left: taken off" in each for each in said)


def test_light_beside_the_sources_of_a_list_alone_is_no_sky(folder, sky):  # noqa: F811
    """It may be that of galaxies that the list lacks."""
    lit(folder, 0.2 * RMS)
    y, x = sky[0][::4].T
    run(folder, catalog=Table({"x": x, "y": y}), passes=0)
    assert not (folder / "out" / "sky.fits").exists()
    run(folder, catalog=Table({"x": x, "y": y}))
    assert (folder / "out" / "sky.fits").exists()


@pytest.mark.parametrize("photons", [60.45, 155.57, 155.75])
def test_photons_that_are_counted_leave_no_light(tmp_path, rng, photons):
    values = rng.poisson(photons, (512, 700)) - photons
    assert abs(np.median(values)) > 0.2  # of whole numbers less their mean
    assert written(tmp_path, values, np.full_like(values, photons**0.5), gain=1).path is None


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("gain", [None, 7.3])
def test_values_that_are_multiples_of_a_step_leave_no_light(tmp_path, rng, step, gain):
    values = step * np.round(rng.normal(size=(512, 700)) / step)
    assert written(tmp_path, values, np.ones_like(values), gain=gain).path is None


def test_light_beneath_counted_photons_is_found(tmp_path, rng):
    values = rng.poisson(156.0 + 2.5, (512, 700)) - 156.0
    found = written(tmp_path, values, np.full_like(values, 156**0.5), gain=1)
    assert found.levels.mean() == pytest.approx(2.5, abs=0.1)


def test_a_slope_is_followed_and_noise_is_not(tmp_path, rng):
    noise = rng.normal(size=(700, 900))
    assert written(tmp_path, noise, np.ones_like(noise)).path is None
    assert not (tmp_path / "sky.fits").exists()
    slope = np.linspace(0, 1, 900) * np.ones((700, 1))
    (tmp_path / "image.fits").unlink()
    (tmp_path / "rms.fits").unlink()
    found = written(tmp_path, noise + slope, np.ones_like(noise))
    level = fits.getdata(tmp_path / "sky.fits")
    assert np.abs(level - slope)[:, 150:-150].max() < 0.03
    assert found.low == pytest.approx(1 / 8, abs=0.05)
    assert found.high == pytest.approx(7 / 8, abs=0.05)


def test_light_is_no_deeper_where_the_noise_is(tmp_path, rng):
    """Depth changes within a box: the level is that of the light, in the image's unit."""
    rms = np.where(np.arange(300) < 150, 1.0, 2.0) * np.ones((300, 1))
    written(tmp_path, 0.3 + rms * rng.normal(size=rms.shape), rms)
    level = fits.getdata(tmp_path / "sky.fits")
    assert level.std() < 1e-6 and level.mean() == pytest.approx(0.3, abs=0.03)


def test_only_the_core_and_valid_pixels_tell(tmp_path, rng):
    values = rng.normal(size=(300, 600)) + 0.3
    values[:, 300:] += 5
    values[:150, :300] = np.nan
    found = written(tmp_path, values, np.ones_like(values), (slice(0, 300), slice(0, 300)))
    assert found.high == pytest.approx(0.3, abs=0.03)


def test_what_is_measured_again_holds_all_from_which_something_is_taken_off(tmp_path, rng):
    values = rng.normal(size=(900, 1500))
    values[300:450, :200] += 0.5
    values[880:, 1200:] += 3
    found = written(tmp_path, values, np.ones_like(values))
    level = fits.getdata(tmp_path / "sky.fits")
    for _ in range(200):
        y, x = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in values.shape)
        core, there = (slice(y[0], y[1]), slice(x[0], x[1])), level != 0
        part, lit = found.part(core, slight=True), there[y[0] : y[1], x[0] : x[1]]
        if part is None:
            assert not lit.any()
            continue
        assert all(c.start <= p.start < p.stop <= c.stop for c, p in zip(core, part, strict=True))
        assert there[part].sum() == lit.sum()
    rows, columns = found.part((slice(0, 900), slice(0, 700)), slight=True)
    assert rows.stop - rows.start < 800 and columns.start == 0 and columns.stop < 500
    assert found.part((slice(0, 900), slice(700, 850)), slight=True) is None


def test_sources_far_from_the_light_are_measured_once_and_none_is_lost(folder, sky, monkeypatch):  # noqa: F811
    lit(folder, 0.2 * RMS)
    whole = run(folder)
    measured, measure = [], pieces.measure_tiles

    def counted(job, tiles, *rest):
        measured.append([(each.number, each.core, job.background) for each in tiles])
        measure(job, tiles, *rest)

    half = SHAPE[1] // 2
    monkeypatch.setattr(pieces, "measure_tiles", counted)
    right = slice(0, SHAPE[0]), slice(half, SHAPE[1])
    monkeypatch.setattr(LeftSky, "part", lambda self, core, slight: right)
    table = run(folder)
    (first, second) = measured
    assert len(second) == 1 and second[0][0] == len(first) and second[0][1] == right
    assert not first[0][2] and second[0][2]
    place = {"plain": table[table["x"] < half - 5], "again": table[table["x"] > half + 5]}
    assert len(place["plain"]) and len(place["again"]) and len(table) == len(whole)
    same = np.isin(np.asarray(table["flux"]), np.asarray(whole["flux"]))
    assert same[np.asarray(table["x"]) > half + 64].all()
    assert not same[np.asarray(table["x"]) < half - 5].any()


@pytest.mark.parametrize("uneven", [0.0, 0.05])
def test_an_uneven_sky_is_found_beside_the_noise(tmp_path, rng, uneven):
    """Squares of 16 pixels have levels of their own, of which no box's median is moved."""
    levels = np.kron(rng.normal(0, uneven, (60, 60)), np.ones((16, 16)))
    values = rng.normal(size=levels.shape) + levels
    found = written(tmp_path, values, np.ones_like(values))
    assert found.scatter == pytest.approx(uneven, abs=0.015) and found.rms == pytest.approx(1)


def even(area):
    """A response by which fluxes are as found, over an area of a sky."""
    zeros = np.zeros(2, np.float32)
    numbers = np.zeros(3), zeros, zeros - 50, zeros + 50, 0.0
    return Response(*numbers, np.array([np.log(area), 0, 0]))


def test_a_slight_light_is_subtracted_from_fluxes_without_measuring_again(
    folder,  # noqa: F811
    sky,  # noqa: F811
    monkeypatch,
):
    area = 1 / np.sum(PROFILE**2)  # of the matched filter
    use_network(monkeypatch, SimpleNamespace(responding=lambda response: matched_filter))
    monkeypatch.setattr(pieces, "_responding", lambda job, _: job._replace(response=even(area)))
    plain, level = run(folder), 0.045 * RMS
    lit(folder, level)
    rounds, measure = [], pieces.measure_tiles

    def counted(job, tiles, *rest):
        rounds.append(len(tiles))
        measure(job, tiles, *rest)

    monkeypatch.setattr(pieces, "measure_tiles", counted)
    table = run(folder)
    assert sum(rounds) == 1
    found = fits.getdata(folder / "out" / "sky.fits")
    np.testing.assert_allclose(found, level, rtol=0.2)
    for name, lights in (("flux", area), ("flux_aperture", np.pi * (10 * table["fwhm"]) ** 2)):
        moved = (table[name] - plain[name]) / (lights * level)  # above 1 without a correction
        assert np.abs(np.median(moved)) < 0.7, name


def test_even_light_counts_over_the_area_of_a_galaxy_or_the_circle_of_a_point():
    columns = {"flux": np.array([100.0, 400.0, np.nan])}
    columns |= {"flux_err_alone": np.array([3.0, 5.0, np.nan])}
    columns |= {"flux_aperture": np.full(3, 80.0), "semi_major_axis": np.full(3, 1 / FWHM)}
    columns |= {"axis_ratio": np.full(3, 0.5), "flux_correction": np.array([1.0, 0.0, np.nan])}
    columns |= {"point_source_prob": np.array([0.1, 0.9, np.nan])}
    found = without_sky(columns, np.full(3, 0.01), even(200.0), rms=0.5)
    circle = np.pi / 2
    np.testing.assert_allclose(found["flux"], [98, 400 - 0.01 * 2.2**2 * circle, np.nan])
    corrected = found["flux_correction"] - columns["flux_correction"]
    np.testing.assert_allclose(corrected, found["flux"] - columns["flux"])
    np.testing.assert_allclose(found["flux_aperture"], 80 - 0.01 * circle)


def test_errors_hold_the_unevenness_of_the_area_that_a_flux_is_measured_in():
    flux, error = np.array([100.0, 400.0, np.nan]), np.array([3.0, 5.0, np.nan])
    columns = {"flux": flux, "flux_err": error, "flux_err_95": 2 * error, "flux_err_alone": error}
    found = with_sky_error(columns, even(200.0), rms=0.5, scatter=0.04)
    whole = np.hypot(error, 200 * 0.04 * 0.5)
    np.testing.assert_allclose(found["flux_err"], whole)
    np.testing.assert_allclose(found["flux_err_95"], 2 * whole)


def test_area_does_not_grow_with_what_a_source_may_hide():
    """Where errors of larger noise belong to larger galaxies."""
    growing = even(200.0)._replace(sky=np.array([np.log(200.0), 0.0, 1.0]))
    flux, error = np.full(2, 100.0), np.full(2, 3.0)
    columns = {"flux": flux, "flux_err": np.array([3.0, 30.0]), "flux_err_95": 2 * error}
    columns |= {"flux_err_alone": error}
    found = with_sky_error(columns, growing, rms=0.5, scatter=0.04)["flux_err"]
    added = found**2 - columns["flux_err"] ** 2
    assert added[0] > 0 and added[1] == pytest.approx(added[0])


def test_boxes_are_of_the_core_wherever_it_lies(tmp_path, rng):
    """So that a tile of a survey has the boxes that the whole sky would have."""
    values = rng.normal(size=(512, 900))
    values[:, 512:] += 0.4
    found = written(tmp_path, values, np.ones_like(values), (slice(0, 512), slice(256, 768)))
    assert found.first == (0, 256) and found.sides == (256, 256)
    np.testing.assert_allclose(found.levels, [[0, 0.4]] * 2, atol=0.03)
    level = fits.getdata(tmp_path / "sky.fits")
    np.testing.assert_allclose(level[:, 640:], found.levels[0, 1], atol=0.03)  # on beyond the core
    np.testing.assert_allclose(level[:, :384], 0, atol=1e-6)
    whole = slice(0, 512), slice(256, 768)
    assert found.part(whole, slight=False) == (slice(0, 512), slice(384, 768))


@pytest.mark.parametrize("empty", [300, 700, 1024])
def test_parts_without_sky_say_nothing_of_its_noise(tmp_path, rng, empty):
    values = 0.01 * rng.standard_normal((300, 1024))
    values[:, :empty] = np.nan
    found = written(tmp_path, values, np.full_like(values, 0.01))
    assert found.rms == pytest.approx(0.01 if empty < 1024 else 1.0, rel=1e-3)
    assert found.low == found.high == 0
