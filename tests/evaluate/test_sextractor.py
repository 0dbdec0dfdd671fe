"""The baseline measures analytic Gaussians right, and says so where it cannot."""

import shutil
import warnings

import numpy as np
import pytest

from vaedeblend.evaluate import sextractor
from vaedeblend.evaluate.sextractor import (
    GRID,
    Settings,
    detection_kernel,
    make_mosaic,
    measure_centrals,
    search_settings,
)

BINARY = shutil.which("source-extractor") or shutil.which("sex")
needs_binary = pytest.mark.skipif(BINARY is None, reason="SExtractor is not installed")
PROGRAMS = [pytest.param(BINARY, marks=needs_binary, id="binary"), "sep"]
UNITS = {"gain": 1.0, "zero_point": 23.9}
CENTRE = 31.5


def gaussian(flux, y=CENTRE, x=CENTRE, sigma=2.2, shape=(64, 64)):
    """Stamp [flux/pixel] of a round Gaussian source at (y, x)."""
    rows, columns = np.indices(shape)
    square = (rows - y) ** 2 + (columns - x) ** 2
    return flux * np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def noisy(*stamps, rms=1.0, seed=1):
    """Stamps [n, height, width] with white noise."""
    stamps = np.stack(stamps)
    return stamps + np.random.default_rng(seed).normal(0.0, rms, stamps.shape)


@pytest.fixture(params=PROGRAMS)
def program(request):
    """Each program that can measure."""
    return request.param


@pytest.mark.parametrize("n", [1, 5, 7])
def test_flux_position_and_count_of_isolated_sources(program, n):
    flux = 3000.0 * 1.2 ** np.arange(n)
    found = measure_centrals(noisy(*map(gaussian, flux)), 1.0, program=program, **UNITS)
    np.testing.assert_allclose(found.flux, flux, rtol=0.03)
    np.testing.assert_allclose(found.position, CENTRE, atol=0.2)
    np.testing.assert_allclose(found.magnitude, 23.9 - 2.5 * np.log10(found.flux))
    np.testing.assert_array_equal(found.n_objects, 1)
    assert found.program.startswith("sep 1" if program == "sep" else "SExtractor 2")


def test_position_is_y_x_in_a_stamp_that_is_not_square(program):
    stamp = gaussian(5000.0, y=17.0, x=34.0, shape=(40, 64))
    found = measure_centrals(noisy(stamp, stamp), 1.0, program=program, **UNITS)
    np.testing.assert_allclose(found.position, [[17.0, 34.0]] * 2, atol=0.1)
    assert found.segmentation.shape == (2, 40, 64)
    assert (found.segmentation[:, 17, 34] > 0).all()


def test_empty_stamps_miss(program):
    found = measure_centrals(
        noisy(np.zeros((64, 64)), np.zeros((64, 64))), 1.0, program=program, **UNITS
    )
    assert np.isnan(found.flux).all()
    assert np.isnan(found.position).all()
    np.testing.assert_array_equal(found.n_objects, 0)
    np.testing.assert_array_equal(found.flags, -1)
    assert not found.segmentation.any()


def test_central_of_two_sources_is_taken(program):
    pair = gaussian(2000.0) + gaussian(9000.0, y=12.0, x=50.0)
    off_centre = gaussian(4000.0, x=CENTRE + 8.0)
    found = measure_centrals(noisy(pair, off_centre), 1.0, program=program, **UNITS)
    np.testing.assert_array_equal(found.n_objects, [2, 1])
    assert found.flux[0] == pytest.approx(2000.0, rel=0.04)
    assert np.isnan(found.flux[1])
    labels = found.segmentation
    assert 0 < labels[0, 31, 31] != labels[0, 12, 50] > 0
    assert labels[1, 31, 39] not in (0, labels[0, 31, 31], labels[0, 12, 50])


def test_a_stamp_does_not_feel_its_neighbours(program):
    faint = noisy(gaussian(400.0))[0]
    bright = noisy(gaussian(1e6, y=60.0, x=60.0, sigma=3.0))[0]
    alone = measure_centrals(np.stack([faint] * 5), 1.0, program=program, **UNITS)
    beside = measure_centrals(
        np.stack([bright, faint, bright, faint, faint]), 1.0, program=program, **UNITS
    )
    np.testing.assert_allclose(beside.flux[[1, 3, 4]], alone.flux[[1, 3, 4]], rtol=1e-4)


def test_rms_is_absolute(program):
    stamps = noisy(gaussian(5000.0), gaussian(5000.0))
    rms = np.ones_like(stamps)
    rms[1] = 3.0
    options = {"program": program, "gain": 0.0, "zero_point": 0.0}
    found = measure_centrals(stamps, rms, **options)
    area = np.pi * (3.5 * 2.2) ** 2
    np.testing.assert_allclose(found.flux_err, np.sqrt(area) * np.array([1.0, 3.0]), rtol=0.15)
    peak = gaussian(5000.0).max()
    threshold = Settings(detect_thresh=peak / 2, filter_name="none")
    np.testing.assert_array_equal(
        measure_centrals(stamps, rms, threshold, **options).n_objects, [1, 0]
    )


def test_flux_error_holds_the_photon_noise(program):
    stamps = noisy(gaussian(5000.0))
    with_photons, without = (
        measure_centrals(stamps, 1.0, program=program, gain=gain, zero_point=0.0)
        for gain in (4.0, 0.0)
    )
    photons = with_photons.flux_err**2 - without.flux_err**2
    np.testing.assert_allclose(photons, with_photons.flux / 4.0, rtol=0.01)


def test_pixels_of_infinite_rms_are_not_used(program):
    stamps, rms = noisy(gaussian(5000.0)), np.ones((1, 64, 64))
    stamps[0, 5:8, 5:8], rms[0, 5:8, 5:8] = np.nan, np.inf
    found = measure_centrals(stamps, rms, program=program, **UNITS)
    np.testing.assert_allclose(found.flux, 5000.0, rtol=0.03)
    np.testing.assert_array_equal(found.n_objects, 1)


@pytest.mark.parametrize("filter_name", ["none", "default", "gauss_3.0_5x5"])
@needs_binary
def test_sep_agrees_with_the_binary(filter_name):
    stamps = noisy(*(gaussian(flux) for flux in np.linspace(500.0, 5000.0, 30)))
    settings = Settings(filter_name=filter_name)
    real = measure_centrals(stamps, 1.0, settings, program=BINARY, **UNITS)
    ours = measure_centrals(stamps, 1.0, settings, program="sep", **UNITS)
    np.testing.assert_allclose(ours.flux, real.flux, rtol=0.02)
    np.testing.assert_allclose(ours.flux_err, real.flux_err, rtol=0.02)
    np.testing.assert_allclose(ours.position, real.position, atol=0.01)
    assert np.mean((ours.segmentation > 0) == (real.segmentation > 0)) > 0.999


def test_mosaic_lays_stamps_out_at_their_origins():
    stamps = np.arange(5.0)[:, None, None] + np.zeros((5, 4, 6))
    rms = stamps + 1.0
    image, noise, origins = make_mosaic(stamps, rms, np.random.default_rng(0), margin=3)
    assert image.shape == noise.shape == (2 * 10, 3 * 12)
    assert image.dtype == np.float32
    for (y, x), stamp in zip(origins, stamps, strict=True):
        np.testing.assert_array_equal(image[y : y + 4, x : x + 6], stamp)
        np.testing.assert_array_equal(noise[y : y + 4, x : x + 6], stamp + 1.0)
    assert noise[0, 0] == 3.0


def test_search_prefers_the_better_settings(program):
    flux = np.linspace(500.0, 5000.0, 6)
    grid = (Settings(detect_thresh=1000.0), Settings(), Settings(detect_thresh=50.0))
    best, table = search_settings(
        noisy(*map(gaussian, flux)), flux, 1.0, grid, program=program, **UNITS
    )
    assert best == grid[1]
    assert [row["misses"] for row in table] == [6, 0, 2]
    assert table[0]["score"] == 1.0
    assert table[0]["sigma"] == 0.0
    assert table[1]["score"] < 0.05
    assert [row["detect_thresh"] for row in table] == [1000.0, 1.5, 50.0]


def test_search_refuses_fluxes_that_are_not_positive():
    with pytest.raises(ValueError, match="wanted 1 positive"):
        search_settings(np.zeros((1, 8, 8)), np.zeros(1), 1.0, **UNITS)


def test_grid_holds_thirty_six_usable_settings():
    assert len(set(GRID)) == 36
    for settings in GRID:
        assert detection_kernel(settings.filter_name).sum() == pytest.approx(1.0)


def test_gaussian_kernel_is_integrated_over_pixels():
    # The line of SExtractor's own gauss_2.0_5x5.conv, relative to its centre.
    line = np.array([0.075183, 0.483068, 0.894573, 0.483068, 0.075183])
    ours = detection_kernel("gauss_2.0_5x5")[2]
    np.testing.assert_allclose(ours / ours[2], line / line[2], rtol=0.01)


@pytest.mark.parametrize("name", ["gauss_2.0_3x5", "mexhat_2.0_7x7", ""])
def test_unknown_filter_is_refused(name):
    with pytest.raises(ValueError, match="wanted 'none'"):
        measure_centrals(np.zeros((1, 8, 8)), 1.0, Settings(filter_name=name), **UNITS)


@pytest.mark.parametrize(
    ("stamps", "rms", "message"),
    [
        (np.zeros((0, 8, 8)), 1.0, r"\(0, 8, 8\)"),
        (np.zeros((1, 8, 8)), 0.0, r"\[0.0, 0.0\]; wanted positive"),
        (np.zeros((1, 8, 8)), np.nan, "wanted positive"),
        (np.zeros((1, 8, 8)), np.inf, "some finite"),
        (np.full((1, 8, 8), np.nan), 1.0, r"stamps\[0, 0, 0\] is nan"),
    ],
)
def test_useless_input_is_refused(stamps, rms, message):
    with pytest.raises(ValueError, match=message):
        make_mosaic(stamps, rms, np.random.default_rng(0), margin=2)


def script(folder, body):
    """Path of an executable called source-extractor with the given shell lines."""
    path = folder / "source-extractor"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_failing_program_is_quoted(tmp_path, monkeypatch):
    script(tmp_path, "echo 'no such keyword' >&2; exit 3")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="status 3, wanted 0: no such keyword"):
        measure_centrals(np.zeros((1, 8, 8)), 1.0, **UNITS)


@needs_binary
def test_complaints_of_the_program_become_warnings(tmp_path):
    path = script(tmp_path, f'echo "> WARNING: stack overflow" >&2; exec {BINARY} "$@"')
    with pytest.warns(RuntimeWarning, match="stack overflow"):
        measure_centrals(np.zeros((1, 8, 8)), 1.0, program=str(path), **UNITS)


def test_sep_stands_in_where_there_is_no_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure_centrals(noisy(gaussian(5000.0)), 1.0, **UNITS)
    assert found.program == f"sep {sextractor.sep.__version__}"
