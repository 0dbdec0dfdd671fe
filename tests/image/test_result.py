"""What `deblend_image` gives a notebook: tables, light, stamps, a figure, and nothing on disk."""

import gc
import inspect
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from fitsfolder import GAIN, RMS, SHAPE, folder, header, network, sky, use_network, write_sky  # noqa: F401

import vaedeblend
from vaedeblend.exceptions import CatalogueError, InspectionError, MosaicError
from vaedeblend.image import tiles
from vaedeblend.image.pipeline import GIVEN


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary folders."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def deblended(folder):  # noqa: F811
    image = fits.getdata(folder / "image.fits")
    return vaedeblend.deblend_image(image, rms=RMS, gain=GAIN, zero_point=23.9)


@pytest.fixture(scope="module")
def files(tmp_path_factory, sky):  # noqa: F811
    return write_sky(tmp_path_factory.mktemp("files"), sky)


@pytest.fixture(scope="module")
def result(files):
    with pytest.MonkeyPatch.context() as patch:
        use_network(patch)
        return deblended(files)


def test_nothing_is_kept_where_no_folder_is_given(folder, temporary):  # noqa: F811
    result = deblended(folder)
    assert len([*temporary.iterdir()]) == 1 and len(result.model) == SHAPE[0]
    del result
    gc.collect()
    assert not [*temporary.iterdir()]
    assert {each.name for each in folder.iterdir()} == {"image.fits", "rms.fits", "temporary"}
    with pytest.raises(MosaicError):
        vaedeblend.deblend_image(np.ones(SHAPE), rms=-1.0)
    assert not [*temporary.iterdir()]


def test_what_is_in_memory_is_called_by_its_argument(folder):  # noqa: F811
    image, psf = fits.getdata(folder / "image.fits"), np.pad([[1.0]], 10)
    noise = np.full(SHAPE, RMS**2 / 100)
    with pytest.raises(InspectionError, match=r"^variance: as a variance it .* but image scatters"):
        vaedeblend.deblend_image(image, variance=noise)
    found = vaedeblend.deblend_image(image, variance=noise, psf=psf, zero_point=23.9, force=True)
    said = " ".join(found.said)
    assert "warned: variance: as a" in said and "warned: psf: the PSF's" in said
    assert f"{GIVEN}/" not in said


def test_a_folder_takes_what_it_always_took(files, result, temporary):
    """Of an NDData, whose unit, WCS and header are used."""
    ccd = CCDData(fits.getdata(files / "image.fits"), unit="uJy", meta=fits.Header(header()))
    found = vaedeblend.deblend_image(ccd, files / "out", rms=RMS, gain=GAIN)
    assert not [*temporary.iterdir()]
    assert (files / "out" / "index.html").exists() and (files / "out" / "catalog.fits").exists()
    np.testing.assert_array_equal(result.model, found.model)
    np.testing.assert_array_equal(found.model, fits.getdata(files / "out" / "model.fits"))
    assert all(result.table["flux"] == found.table["flux"])
    assert str(files / "out") in repr(found)


def test_tables_have_units_and_light_adds_up(files, result):
    image = fits.getdata(files / "image.fits")
    catalog = result.catalog
    assert isinstance(catalog, QTable) and catalog["flux_ujy"].unit == u.uJy
    assert len(catalog) == len(result.table) > 40
    np.testing.assert_allclose(result.image, image, rtol=0, atol=1e-4)
    np.testing.assert_allclose(result.model + result.residual, result.image)
    assert result.model.dtype.isnative and result.segmentation.max() <= len(catalog)
    assert {"id_1", "id_2", "covariance"} <= {*result.covariance.colnames}


def test_a_stamp_is_a_source_on_its_place(result):
    row = int(np.argmax(result.table["flux"]))
    number = int(result.table["id"][row])
    stamp = result.stamp(number)
    y, x = stamp.corner
    height, width = stamp.light.shape
    there = slice(y, y + height), slice(x, x + width)
    np.testing.assert_array_equal(stamp.model, result.model[there])
    np.testing.assert_array_equal(stamp.residual, result.residual[there])
    assert (stamp.light <= stamp.model + 1e-4).all() and stamp.light.max() > 10 * RMS
    place = np.unravel_index(np.argmax(stamp.light), stamp.light.shape)
    at = np.add(place, stamp.corner)[::-1]
    np.testing.assert_allclose(at, [result.table[name][row] for name in ("x", "y")], atol=1)
    with pytest.raises(CatalogueError, match="no source 0; wanted an id of the catalogue, 1 to"):
        result.stamp(0)


def test_its_repr_counts_sources_and_says_what_was_assumed(result):
    said = repr(result)
    assert said.startswith(f"DeblendedImage of image.fits: {len(result.table)} sources, in memory")
    assert "\n  flagged: " in said and "\n  assumed: no WCS: ra and dec are NaN" in said


def test_a_figure_has_image_model_and_residual(result, tmp_path):
    figure = result.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["image", "model", "residual"]
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_help_shows_every_option():
    shown = inspect.signature(vaedeblend.deblend_image).parameters
    assert [*shown][:4] == ["image", "out", "report", "weights"]
    assert shown["out"].default is None and shown["iterations"].annotation is int


@pytest.mark.slow
def test_samples_are_of_the_posterior_in_the_catalogue(tmp_path, monkeypatch):
    monkeypatch.undo()  # the network itself
    assert tiles._network("euclid_vis")[1] == 64
    survey = vaedeblend.Survey()
    field = vaedeblend.simulate_field(survey=survey, size=200, seed=3)
    vaedeblend.write_field(field, survey, tmp_path)
    given = {name: tmp_path / f"{name}.fits" for name in ("rms", "psf")}
    result = vaedeblend.deblend_image(tmp_path / "image.fits", **given)
    table = result.table
    for row in np.argsort(-np.asarray(table["snr"]))[[0, 3, 8]]:
        drawn = result.samples(int(table["id"][row]), 400, seed=1)
        error = float(table["flux_err"][row])
        assert drawn.flux.shape == (400,) and drawn.light.shape == (400, 64, 64)
        assert abs(np.median(drawn.flux) - table["flux"][row]) < 0.2 * error
        width = np.ptp(np.quantile(drawn.flux, [0.16, 0.84])) / 2
        assert width == pytest.approx(error, rel=0.15)
        total = drawn.light.sum(axis=(1, 2)) / drawn.flux
        assert (
            (np.abs(total - table["captured"][row]) < 0.1).all()
            if "captured" in table.colnames
            else True
        )
    with pytest.raises(MosaicError, match="n is 0; wanted at least 1"):
        result.samples(int(table["id"][0]), 0)
    again = result.samples(int(table["id"][0]), 3, seed=1)
    np.testing.assert_array_equal(again.flux, result.samples(int(table["id"][0]), 3, seed=1).flux)
    assert not Path(result.folder).is_relative_to(tmp_path)


@pytest.mark.slow
def test_samples_are_drawn_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.undo()
    survey = vaedeblend.Survey()
    vaedeblend.write_field(
        vaedeblend.simulate_field(survey=survey, size=160, seed=3), survey, tmp_path
    )
    with monkeypatch.context() as context:
        context.chdir(tmp_path)
        result = vaedeblend.deblend_image("image.fits", rms="rms.fits", psf="psf.fits")
    assert len(result.samples(int(result.table["id"][0]), 2, seed=1).flux) == 2
