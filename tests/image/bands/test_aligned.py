"""An image in several bands, which weights of several bands measure together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from fitsfolder import RMS, SHAPE, folder, header, network, run, sky  # noqa: F401
from matched import gaussian, matched_filter

from vaedeblend.cli import main
from vaedeblend.euclid.mer.layout import product_name
from vaedeblend.exceptions import BandError, CatalogueError, InspectionError, MosaicError
from vaedeblend.image import tiles
from vaedeblend.image.bands.aligned import align
from vaedeblend.image.bands.aligned.windows import AlignedBand, BandWindow, read_window
from vaedeblend.image.bands.inputs import BandImage
from vaedeblend.image.inspection.findings import PhotonNoise
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.io.fits.header import read_facts
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.io.workdir import find_workdir
from vaedeblend.survey import magnitude_to_flux

COLOUR, ZERO_POINT, NOISE = np.array([0.4, 2.5]), 25.0, 0.05
"""Flux over the first band's [uJy], by turns; zero point and noise of the further band's image."""


@pytest.fixture
def weights(tmp_path):
    """A workdir of weights of two bands."""
    config = json.loads((find_workdir("euclid_vis") / "config.json").read_text())
    config["survey"]["bands"]["nir-h"] = {"psf": ""}
    workdir = tmp_path / "two_bands"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


@pytest.fixture
def true(sky):  # noqa: F811
    """Fluxes in the further band [uJy]."""
    place, flux = sky
    return flux * np.resize(COLOUR, len(flux))


@pytest.fixture
def band(folder, sky, true):  # noqa: F811
    return write_band(folder, sky[0], true)


def write_band(folder, place, flux, name="nir-h", **cards):  # noqa: F811
    """Writes an image of the further band, with its noise and PSF."""
    unit = magnitude_to_flux(ZERO_POINT)
    light = sum(f / unit * gaussian(*at, SHAPE) for at, f in zip(place, flux, strict=True))
    noise = NOISE * np.random.default_rng(8).normal(size=SHAPE)
    paths = [folder / f"{name}{part}.fits" for part in ("", "_rms", "_psf")]
    full = header()
    full.update({"MAGZERO": ZERO_POINT} | cards)
    fits.writeto(paths[0], (light + noise).astype(np.float32), full)
    fits.writeto(paths[1], np.full(SHAPE, NOISE, np.float32))
    psf = gaussian(10, 10, (21, 21), sigma=1.0)
    fits.writeto(paths[2], psf / psf.sum())
    return BandImage(paths[0], paths[2], paths[1], "NIR-H")


def matched_rows(table, place):
    """Row of the catalogue nearest to each place, of those within a pixel."""
    found = np.stack([np.asarray(table[axis]) for axis in "yx"], axis=1)
    distance = np.linalg.norm(found - place[:, None], axis=-1)
    return distance.argmin(axis=1), distance.min(axis=1) < 1


def test_fluxes_of_further_bands_stand_beside_the_first_s(folder, sky, true, band, weights):  # noqa: F811
    alone = run(folder, "alone", psf=band.psf)
    table = run(folder, weights=weights, bands=[band], psf=band.psf)
    one, other = (t[np.lexsort(np.floor([t["x"], t["y"]]))] for t in (table, alone))
    for name in ("x", "y", "flux", "flux_err", "half_light_radius", "chi2", "flags"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, err_msg=name)
    assert [*table.colnames[len(alone.colnames) :]] == ["flux_nir_h", "flux_err_nir_h"]
    assert table["flux_nir_h"].unit == "uJy" and "nir-h" in table["flux_nir_h"].description
    row, there = matched_rows(table, sky[0])
    assert there.mean() > 0.8
    row, wanted = row[there], true[there]
    assert table["flux_nir_h"][row] == pytest.approx(wanted, rel=0.02)
    wanted_err = NOISE * magnitude_to_flux(ZERO_POINT) * np.sqrt(4 * np.pi) * 2.0
    assert table["flux_err_nir_h"][row] == pytest.approx(wanted_err, rel=0.01)


def test_pieces_do_not_change_them(folder, band, weights):  # noqa: F811
    given = {"weights": weights, "bands": [band], "psf": band.psf}
    whole, parts = run(folder, **given), run(folder, "parts", tile=120, **given)
    assert np.asarray(parts["flux_nir_h"]) == pytest.approx(np.asarray(whole["flux_nir_h"]))


def test_rows_of_a_list_that_are_not_measured_have_none(folder, sky, band, weights):  # noqa: F811
    places = np.concatenate([sky[0][:3], [[-50.0, -50.0]]])
    listed = Table({"x": places[:, 1], "y": places[:, 0]})
    table = run(folder, weights=weights, bands=[band], psf=band.psf, catalog=listed, passes=0)
    measured = np.isfinite(np.ma.filled(table["flux_nir_h"], np.nan))
    assert measured.tolist() == [True, True, True, False]


def test_what_a_network_is_given_of_bands(folder, band, weights, monkeypatch):  # noqa: F811
    """PSFs of one size, the gain and noise of each band."""
    seen = []

    class Network:
        psf = np.pad(np.ones((1, 1, 2)), ((14, 14), (14, 14), (0, 0)))

        def under_noise(self, covariance):
            seen.append(covariance)
            return self

    monkeypatch.setattr(tiles, "_network", lambda weights: (Network(), 64))
    covariance = np.zeros((7, 7))
    covariance[3, 2:5] = 0.25, 0.5, 0.25
    aligned = AlignedBand("nir-h", str(band.image), {}, None, covariance, 1.0)
    grid = np.full((2, 3, 21, 21), 1 / 441)
    job = tiles.Job("", {}, None, "", "", {}, None, grid, bands=(aligned,))
    known = dict.fromkeys(Mosaic._fields) | {"path": Path(), "shape": (20, 30), "planes": {}}
    known |= {"header": header(), "facts": read_facts(header()), "mask_bits": -1}
    mosaic = Mosaic(**known | {"gain": 8.0, "scale": 2.0, "noise_factor": 1.0})
    window = BandWindow(np.zeros((4, 4)), np.ones((4, 4)), 3.0, 1.0)
    found = tiles.network_at(job, mosaic, np.zeros(2, int), [window])
    psf = found.psf(np.zeros(5, int), np.ones((5, 2)))
    assert psf.shape == (5, 29, 29, 2) and found.gain.tolist() == [4.0, 3.0]
    np.testing.assert_array_equal(psf[0, ..., 1], Network.psf[..., 1])
    np.testing.assert_allclose(psf[0, 4:25, 4:25, 0], grid[0, 0])
    np.testing.assert_array_equal(seen[0][..., 1], covariance)
    assert seen[0][3, 3, 0] == 1 and seen[0][..., 0].sum() == 1


def test_a_tile_s_bands_are_taken_by_their_names(folder, sky, band, weights):  # noqa: F811
    tile = folder / "tile"
    tile.mkdir()
    stamp = fits.getdata(band.psf)
    for name, files in (
        ("VIS", ("image", "rms")),
        ("NIR-H", ("nir-h", "nir-h_rms")),
    ):
        for product, file in zip(("image", "rms"), files, strict=True):
            path = product_name(product, 102000001, "20241018T142710.276838", band=name)
            shutil.copy(folder / f"{file}.fits", tile / path)
        path = product_name("grid_psf", 102000001, "20241018T142710.276838", band=name)
        hdu = fits.ImageHDU(stamp, fits.Header({"STMPSIZE": 21}))
        rows = fits.BinTableHDU.from_columns(
            [fits.Column(axis, "D", array=[11.0]) for axis in "xy"]
        )
        fits.HDUList([fits.PrimaryHDU(), hdu, rows]).writeto(tile / path)
    words = ["deblend", str(tile), "--out", str(folder / "out"), "--weights", str(weights)]
    assert main(words) == 0
    by_hand = [str(each) for each in (band.name, band.image, band.rms, band.psf)]
    image = [str(folder / f"{each}.fits") for each in ("image", "rms")]
    words = ["deblend", image[0], "--rms", image[1], "--psf", str(band.psf), "--band", *by_hand]
    assert main([*words, "--out", str(folder / "hand"), "--weights", str(weights)]) == 0
    one, other = (
        fits.getdata(folder / name / "catalog.fits", "CATALOG") for name in ("out", "hand")
    )
    np.testing.assert_array_equal(one["flux_nir_h"], other["flux_nir_h"])
    command = fits.getheader(folder / "hand" / "catalog.fits", "CATALOG")["COMMAND"]
    assert f"--band {' '.join(by_hand)}" in command
    inputs = fits.getheader(folder / "hand" / "catalog.fits", "CATALOG")["INPUT*"]
    assert any("nir-h_rms.fits" in str(each) for each in inputs.values())


def test_a_tile_wants_weights_of_vis_first(folder, weights):  # noqa: F811
    config = json.loads((weights / "config.json").read_text())
    config["survey"]["bands"] = {"nir-h": {}, "ext-g": {}}
    (weights / "config.json").write_text(json.dumps(config))
    for name in ("image", "rms"):
        path = product_name(name, 102000001, "20241018T142710.276838", band="VIS")
        shutil.copy(folder / f"{name}.fits", folder / path)
    with pytest.raises(MosaicError, match="its first band is ext-g; wanted VIS"):
        deblend_image(folder, folder / "out", weights=weights)


def test_bad_bands_are_named(folder, sky, true, band, weights):  # noqa: F811
    def refused(error, words, *bands, name=weights):
        with pytest.raises(error, match=words):
            run(folder, weights=name, bands=bands, psf=band.psf)

    refused(BandError, "weights of 2 bands; wanted images of nir-h, too")
    refused(BandError, "band 'nir-h': euclid_vis takes none", band, name="euclid_vis")
    refused(BandError, "band 'ext-g': .* takes nir-h", band._replace(name="EXT-G"))
    refused(BandError, "no rms of nir-h", band._replace(rms=None))
    image, full = fits.getdata(band.image), fits.getheader(band.image)
    path = folder / "other.fits"
    fits.writeto(path, image[:100], full)
    refused((BandError, MosaicError), "pixels; wanted those of", band._replace(image=path))
    moved = WCS(full)
    moved.wcs.crpix += 3
    other = moved.to_header()
    other["MAGZERO"] = ZERO_POINT
    fits.writeto(path, image, other, overwrite=True)
    refused(BandError, "its WCS puts a corner .* pixels from where", band._replace(image=path))
    del full["MAGZERO"]
    fits.writeto(path, image, full, overwrite=True)
    refused(BandError, "no zero point; wanted MAGZERO", band._replace(image=path))


def test_photon_noise_in_the_map_of_a_band_is_taken_out(folder, sky, true, band, weights):  # noqa: F811
    unit = magnitude_to_flux(ZERO_POINT)
    light = sum(f / unit * gaussian(*at, SHAPE) for at, f in zip(sky[0], true, strict=True))
    total = NOISE * np.sqrt(1 + light / (10 * NOISE))
    fits.writeto(band.rms, total.astype(np.float32), overwrite=True)
    table = run(folder, weights=weights, bands=[band], psf=band.psf)
    row, there = matched_rows(table, sky[0])
    background = fits.getdata(folder / "out" / "nir-h" / "background_rms.fits")
    assert np.median(background[total > 2 * NOISE]) == pytest.approx(NOISE, rel=0.1)
    wanted_err = NOISE * unit * np.sqrt(4 * np.pi) * 2.0
    assert np.median(table["flux_err_nir_h"][row[there]]) == pytest.approx(wanted_err, rel=0.1)
    said = "\n".join(value for key, value in table.meta.items() if key.startswith("SAID"))
    assert "nir-h:" in said and "photon noise" in said
    assert run(folder, weights=weights, bands=[band], psf=band.psf)["flux_nir_h"].shape == row.shape
    (folder / "out" / "nir-h" / "background_rms.fits").write_bytes(b"mine")
    with pytest.raises(BandError, match="would be overwritten"):
        run(folder, weights=weights, bands=[band], psf=band.psf)


def test_a_factor_of_the_noise_counts_once(folder, band):  # noqa: F811
    """Of a map from which photon noise is taken out, too."""
    files = band.options | {"noise_factor": 2.0}
    given = AlignedBand("nir-h", str(band.image), files, None, None, ZERO_POINT)
    photons = PhotonNoise(10 * NOISE, NOISE**2, NOISE**2)
    found = align._without_photons(given, photons, folder / "nir-h", lambda *_: None)
    window = read_window(found, slice(0, 50), slice(0, 50))
    assert np.median(window.rms) == pytest.approx(2 * NOISE, rel=0.05)


def test_of_a_band_that_is_refused_nothing_is_written(folder, band, weights):  # noqa: F811
    rms = fits.getdata(band.rms)
    fits.writeto(band.rms, rms / 20, overwrite=True)
    with pytest.raises(InspectionError, match="^nir-h: "):
        run(folder, weights=weights, bands=[band], psf=band.psf)
    assert not (folder / "out" / "nir-h").exists()
    table = run(folder, weights=weights, bands=[band], psf=band.psf, force=True)
    said = [value for key, value in table.meta.items() if key.startswith("SAID")]
    assert any(each.startswith("warned: nir-h: ") for each in said)


def test_samples_are_refused(folder, band, weights):  # noqa: F811
    given = {"rms": folder / "rms.fits", "psf": band.psf, "weights": weights, "bands": [band]}
    found = deblend_image(folder / "image.fits", folder / "out", **given)
    assert "not corrected for the wings" in "\n".join(found.said)
    with pytest.raises(CatalogueError, match="weights of several bands"):
        found.samples(1)


def test_the_filter_measures_bands_apart():
    """What the tests above rest on."""
    image = np.stack([gaussian(31.5, 31.5), 3 * gaussian(31.5, 31.5)], axis=-1)[None]
    flux = matched_filter(image, np.ones_like(image)).flux
    assert np.asarray(flux)[0] == pytest.approx([1, 3])
