"""Light between the sources of an image: found where no model has light, and taken off."""

import numpy as np
import pytest
from astropy.io import fits
from fitsfolder import RMS, SHAPE, folder, network, run, sky  # noqa: F401

from vaedeblend.deblend.calibration import Response
from vaedeblend.image import pieces
from vaedeblend.image.inspection.sky.background import LeftSky, write_left_sky
from vaedeblend.image.photometry import with_sky_error
from vaedeblend.io.mosaic import open_mosaic


def quiet(*_):
    pass


def lit(folder, level):  # noqa: F811
    """The image with light all over it."""
    with fits.open(folder / "image.fits", mode="update") as hdus:
        hdus[0].data = (hdus[0].data + level).astype(hdus[0].data.dtype)


def written(tmp_path, values, rms, core=None):
    for name, plane in (("image", values), ("rms", rms)):
        fits.writeto(tmp_path / f"{name}.fits", plane.astype(np.float32))
    core = core or tuple(slice(0, n) for n in values.shape)
    with open_mosaic(tmp_path / "image.fits", rms=str(tmp_path / "rms.fits")) as mosaic:
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


def test_it_reaches_exactly_the_parts_from_which_something_is_taken_off(tmp_path, rng):
    values = rng.normal(size=(700, 1500))
    values[300:450, :200] += 0.5
    found = written(tmp_path, values, np.ones_like(values))
    level = fits.getdata(tmp_path / "sky.fits")
    assert level.any() and not level[:, 600:].any()
    for _ in range(200):
        y, x = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in values.shape)
        window = slice(y[0], y[1]), slice(x[0], x[1])
        assert found.reaches(window) or not level[window].any()
    assert found.reaches((slice(0, 700), slice(0, 400)))
    assert not found.reaches((slice(0, 700), slice(700, 1500)))


def test_only_parts_that_it_reaches_are_measured_again(folder, sky, monkeypatch):  # noqa: F811
    measured, measure = [], pieces.measure_tiles

    def counted(job, tiles, *rest):
        measured.append([(each.number, not job.background) for each in tiles])
        measure(job, tiles, *rest)

    monkeypatch.setattr(pieces, "measure_tiles", counted)
    monkeypatch.setattr(LeftSky, "reaches", lambda self, window: window[1].start > 0)
    lit(folder, 0.2 * RMS)
    run(folder, tile=256)
    (first, second), n = measured, len(measured[0])
    assert all(plain for _, plain in first) and not any(plain for _, plain in second)
    again = [number >= n for number, _ in second]
    assert any(again) and not all(again)


@pytest.mark.parametrize("uneven", [0.0, 0.05])
def test_an_uneven_sky_is_found_beside_the_noise(tmp_path, rng, uneven):
    """Squares of 16 pixels have levels of their own, of which no box's median is moved."""
    levels = np.kron(rng.normal(0, uneven, (60, 60)), np.ones((16, 16)))
    values = rng.normal(size=levels.shape) + levels
    found = written(tmp_path, values, np.ones_like(values))
    assert found.scatter == pytest.approx(uneven, abs=0.015) and found.rms == pytest.approx(1)


def test_errors_hold_the_unevenness_of_the_area_that_a_flux_is_measured_in():
    zeros, area = np.zeros(2, np.float32), 200.0
    numbers = np.zeros(3), zeros, zeros - 50, zeros + 50, 0.0
    response = Response(*numbers, np.array([np.log(area), 0, 0]))
    flux, error = np.array([100.0, 400.0, np.nan]), np.array([3.0, 5.0, np.nan])
    found = with_sky_error(flux, error, response, rms=0.5, scatter=0.04)
    np.testing.assert_allclose(found, np.hypot(error, 200 * 0.04 * 0.5))
