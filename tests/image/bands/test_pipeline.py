import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from banded import BAND_SIGMA, NOISE, Sky, drawn

from vaedeblend.exceptions import MosaicError
from vaedeblend.image.bands import measure as measuring
from vaedeblend.image.bands import results, tiles
from vaedeblend.image.bands.pipeline import photometry
from vaedeblend.image.bands.products import table_columns
from vaedeblend.image.products import clear_products


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"moved": (0.3, -0.3)},
        {"angle": 37.0, "shape": (230, 230)},
        {"scale": 0.15, "shift": (2.3, 1.1), "moved": (0.2, 0.1)},
    ],
)
def test_fluxes_are_the_same_on_any_grid(sky, out, tmp_path, grid):
    table = photometry(out, [sky.band(tmp_path, **grid)])
    assert np.asarray(table["flux_h"]) == pytest.approx(sky.band_flux, rel=0.005)
    assert not (np.asarray(table["flags_h"]) & ~(1 | 16)).any()  # 16: chi2, and there is no noise


@pytest.mark.slow
def test_noise_is_that_of_the_errors(sky, out, tmp_path):
    pulls, chi2 = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        table = photometry(out, [sky.band(tmp_path, rng=rng)])
        pulls.append((np.asarray(table["flux_h"]) - sky.band_flux) / table["flux_err_h"])
        chi2.append(np.asarray(table["chi2_h"]))
    assert np.std(pulls) == pytest.approx(1, abs=0.2) and abs(np.mean(pulls)) < 0.3
    assert np.mean(chi2) == pytest.approx(0.95, abs=0.05)  # a flux is fitted under each


def test_a_run_replaces_the_one_before(sky, out, tmp_path):
    folder = out / results.PHOTOMETRY
    photometry(out, [sky.band(tmp_path, "NIR-H")])
    (folder / "notes.txt").write_text("mine")
    photometry(out, [sky.band(tmp_path, "EXT-G")])
    names = {each.name for each in folder.iterdir()}
    images = {"ext_g_model.fits", "ext_g_residual.fits"}
    assert names == {"notes.txt", "index.html", results.PHOTOMETRY_TABLE} | images


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [
        ({"tile": 0}, {}, "tile is 0; wanted at least 64"),
        ({"tile": -5}, {}, "tile is -5; wanted at least 64"),
        ({"processes": 0}, {}, "processes is 0; wanted at least 1"),
        ({}, {"gain": np.nan}, "gain is nan; wanted a finite number above 0, or 0 for none"),
        ({}, {"gain": -1.0}, "gain is -1.0; wanted a finite number above 0, or 0 for none"),
    ],
)
def test_options_are_refused_before_anything_is_removed(sky, out, tmp_path, options, given, said):
    band = sky.band(tmp_path)
    photometry(out, [band])
    kept = {path: path.read_bytes() for path in (out / results.PHOTOMETRY).iterdir()}
    with pytest.raises(MosaicError, match=said):
        photometry(out, [band._replace(**given)], **options)
    assert {path: path.read_bytes() for path in (out / results.PHOTOMETRY).iterdir()} == kept


def test_fluxes_of_another_catalogue_do_not_stay_beside_a_new_one(sky, out, tmp_path):
    photometry(out, [sky.band(tmp_path)])
    assert clear_products(out) == [] and not (out / results.PHOTOMETRY).exists()
    (out / results.PHOTOMETRY).mkdir()
    (out / results.PHOTOMETRY / "photometry.fits").write_text("another's")
    clear_products(out)
    assert (out / results.PHOTOMETRY / "photometry.fits").exists()


def test_a_small_image_says_that_its_scatter_is_not_measured(sky, out, tmp_path, monkeypatch):
    band = sky.band(tmp_path, rng=np.random.default_rng(2))
    assert "the scatter on the sky" in str(photometry(out, [band]).meta)
    monkeypatch.setattr(measuring, "_FEW", 10**6)
    assert "too little sky to measure its scatter" in str(photometry(out, [band]).meta)


@pytest.mark.parametrize(("factor", "found"), [(1, None), (3, "0.3"), (0.4, "2.")])
def test_a_map_of_the_noise_that_is_wrong_by_a_factor_is_said(sky, out, tmp_path, factor, found):
    band = sky.band(tmp_path, rng=np.random.default_rng(2))
    fits.writeto(tmp_path / "noise.fits", factor * fits.getdata(band.rms))
    table = photometry(out, [band._replace(rms=tmp_path / "noise.fits")])
    said = [text for text in table.meta.values() if str(text).startswith("H: warned: ")]
    assert len(said) == (found is not None)
    assert all(
        f"noise.fits: points on the sky scatter by {found}" in text
        and "times the noise as given; wanted a factor within 0.5 to 2" in text
        for text in said
    )


def test_results_are_in_files(sky, out, tmp_path):
    bands = [sky.band(tmp_path, name, np.random.default_rng(2)) for name in ("NIR-H", "EXT-G")]
    said = []
    photometry(out, bands, tile=100, report=lambda *each: said.append(each))
    folder = out / results.PHOTOMETRY
    with fits.open(folder / results.PHOTOMETRY_TABLE) as hdus:
        names = [hdu.name for hdu in hdus[1:]]
        each = [
            f"{kind}_{band}" for band in ("NIR_H", "EXT_G") for kind in ("COVARIANCE", "UNSEEN")
        ]
        assert names == ["PHOTOMETRY", *each]
        assert hdus[1].header["FLAG1"] == "edge" and "SAID1" in hdus[1].header
    table = Table.read(folder / results.PHOTOMETRY_TABLE, hdu=1)
    assert table["flux_nir_h"].unit == "uJy" and all(table[n].ndim == 1 for n in table.colnames)
    colour = -2.5 * np.log10(sky.flux / sky.band_flux)
    pull = (table["colour_vis_nir_h"] - colour) / table["colour_err_vis_nir_h"]
    assert np.abs(pull).max() < 4
    assert {"colour_vis_ext_g", "colour_nir_h_ext_g", "mag_nir_h", "flags_ext_g"} <= {
        *table.colnames
    }
    image = fits.getdata(bands[0].image)
    model, residual = (fits.getdata(folder / f"nir_h_{n}.fits") for n in ("model", "residual"))
    assert model + residual == pytest.approx(image, abs=1e-5)
    assert residual.std() == pytest.approx(NOISE, rel=0.1)
    assert {*table.colnames} == {*table_columns(["nir_h", "ext_g"])}
    page = (folder / "index.html").read_text()
    assert (
        page.count("NIR-H") > 3 and "What was assumed" in page and page.count("data:image/png") > 20
    )
    assert ("measuring NIR-H", 4, 4) in said and not (folder / ".pieces").exists()
    pairs = Table.read(folder / results.PHOTOMETRY_TABLE, hdu="COVARIANCE_NIR_H")
    assert (np.abs(pairs["correlation"]) < 1).all() and (pairs["id_1"] < pairs["id_2"]).all()
    table.write(tmp_path / "photometry.parquet")


@pytest.mark.slow
def test_pieces_do_not_change_fluxes(sky, out, tmp_path):
    band = sky.band(tmp_path, rng=np.random.default_rng(3))
    whole, parts = (photometry(out, [band], tile=n) for n in (1024, 80))
    assert np.asarray(parts["flux_h"]) == pytest.approx(np.asarray(whole["flux_h"]), rel=1e-3)


def test_a_killed_run_goes_on(sky, out, tmp_path, monkeypatch):
    band, measure, done = sky.band(tmp_path), tiles.measure_piece, []

    def killed(job, tile):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(tile.number)
        measure(job, tile)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(measuring, "measure_piece", killed)
        photometry(out, [band], tile=80)
    kept = out / results.PHOTOMETRY / ".pieces" / "H"
    assert len([*kept.glob("piece_*")]) == 2
    written = []
    write = tiles.write_piece
    monkeypatch.setattr(tiles, "write_piece", lambda *each: (written.append(each[0]), write(*each)))
    table = photometry(out, [band], tile=80)
    assert len(written) == 2  # of four
    assert np.asarray(table["flux_h"]) == pytest.approx(sky.band_flux, rel=0.005)


def test_masked_pixels_do_not_count(sky, out, tmp_path):
    band = sky.band(tmp_path, rng=np.random.default_rng(4))
    image, mask = fits.getdata(band.image), np.zeros(sky.shape, np.int16)
    y, x = np.rint(sky.position[0]).astype(int)
    mask[:, x + 1 : x + 40] = 1
    header = fits.getheader(band.image)
    fits.writeto(band.image, np.where(mask > 0, 1e4, image), header, overwrite=True)
    fits.writeto(tmp_path / "mask.fits", mask)
    table = photometry(out, [band._replace(mask=tmp_path / "mask.fits")])
    flags = np.asarray(table["flags_h"])
    assert flags[0] & 2
    good = flags == 0
    assert good.sum() >= 5
    error = np.asarray(table["flux_err_h"])
    assert (np.abs(np.asarray(table["flux_h"]) - sky.band_flux)[good] < 4 * error[good]).all()
    buried = (mask[tuple(np.rint(sky.position).astype(int).T)] > 0) & (flags & 32 == 0)
    assert (flags[buried] & 4).all()


def test_sources_off_the_band_are_unmeasured(sky, out, tmp_path):
    band = sky.band(tmp_path, shape=(160, 80))
    table = photometry(out, [band])
    there = np.abs(sky.position[:, 1] - 79.5) < 30
    away = np.abs(sky.position[:, 1] - 79.5) > 55
    flux, flags = np.asarray(table["flux_h"]), np.asarray(table["flags_h"])
    assert flux[there] == pytest.approx(sky.band_flux[there], rel=0.01)
    assert np.isnan(flux[away]).all() and (flags[away] == 32).all()


@pytest.mark.slow
def test_processes_do_not_change_fluxes(sky, out, tmp_path):
    band = sky.band(tmp_path, rng=np.random.default_rng(3))
    one, two = (photometry(out, [band], tile=80, processes=n) for n in (1, 2))
    assert np.array_equal(one["flux_h"], two["flux_h"])


def test_points_are_measured_as_such(tmp_path):
    sky = Sky(np.random.default_rng(6), 5)
    sky.width[:] = 1e-3
    out = sky.deblended(tmp_path / "out", flux_err=0.1, point=True)
    table = photometry(out, [sky.band(tmp_path, rng=np.random.default_rng(1))])
    assert (np.asarray(table["flags_h"]) & 64 > 0).all()
    assert np.asarray(table["flux_h"]) == pytest.approx(sky.band_flux, rel=0.2)
    assert np.array_equal(table["flux_err_h"], table["flux_noise_h"])


@pytest.mark.slow
def test_fluxes_are_not_below_zero_on_request(tmp_path):
    sky = Sky(np.random.default_rng(8), 12)
    out = sky.deblended(tmp_path / "out", flux_err=0.01)
    band = sky.band(tmp_path, rng=np.random.default_rng(1), bright=np.full(12, 1e-4))
    free, held = (photometry(out, [band], non_negative=held) for held in (False, True))
    assert np.min(free["flux_h"]) < 0 == np.min(held["flux_h"])


def test_sources_that_vis_lacks_are_found_in_the_residual(sky, out, tmp_path):
    band = sky.band(tmp_path, rng=np.random.default_rng(9))
    image, header = fits.getdata(band.image), fits.getheader(band.image)
    near = np.hypot(*(sky.position - [80.0, 140.0]).T).min()
    assert near > 12
    image += drawn(sky.shape, [[80.0, 140.0]], BAND_SIGMA, [0.4]).astype(np.float32)
    fits.writeto(band.image, image, header, overwrite=True)
    photometry(out, [band], tile=100)
    path = out / results.PHOTOMETRY / results.PHOTOMETRY_TABLE
    found = Table.read(path, hdu="UNSEEN_H")
    x, y = sky.wcs.all_world2pix(found["ra"], found["dec"], 0)
    assert len(found) == 1 and (y[0], x[0]) == pytest.approx((80, 140), abs=1.5)
    assert found["flux"][0] == pytest.approx(0.4, rel=0.3)
