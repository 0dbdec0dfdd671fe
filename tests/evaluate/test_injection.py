from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import SHAPE, folder, network, run, sky  # noqa: F401
from parsed import Parsed

from vaedeblend.cli import main
from vaedeblend.euclid.mer.layout import product_name
from vaedeblend.evaluate import injection
from vaedeblend.evaluate.injection import inject
from vaedeblend.exceptions import MosaicError

FOUND = {
    "x": 9.0,
    "y": 9.0,
    "flux": 1.0,
    "flux_err": 1.0,
    "flux_err_95": 2.0,
    "purity": 1.0,
    "flags": 0,
    "id": 1,
}


@pytest.fixture
def given(monkeypatch):
    """No deblending: no source, a residual whose first columns are ignored; what was asked for."""
    calls = []

    def deblend(image, out, **options):
        out.mkdir(exist_ok=True)
        calls.append((image, options))
        residual = np.random.default_rng(1).normal(0, 0.3, SHAPE).astype(np.float32)
        residual[:, :130] = np.nan
        fits.writeto(out / "residual.fits", residual, overwrite=True)
        fits.writeto(out / "segmentation.fits", np.zeros(SHAPE, np.int32), overwrite=True)
        if "total" in str(options.get("rms")):
            rms = np.full(SHAPE, 0.3, np.float32)
            fits.writeto(out / "background_rms.fits", rms, overwrite=True)
        return SimpleNamespace(table=Table([FOUND])[:0])

    monkeypatch.setattr(injection, "deblend_image", deblend)
    return calls


def test_injected_galaxies_are_added_to_the_image_and_nothing_else(folder, given):
    options = {"n": 20, "rms": folder / "rms.fits", "seed": 3, "gain": 1e6}
    table = inject(folder / "image.fits", folder / "i", **options)
    before, after = (fits.getdata(p / "image.fits") for p in (folder, folder / "i" / "seed_3"))
    added = after - before
    assert len(table) == 20 and not table["found"].any()
    y, x = (np.rint(table[name].value).astype(int) for name in ("y", "x"))
    for row in np.flatnonzero(table["flux"] > 1):
        near = added[max(y[row] - 15, 0) : y[row] + 15, max(x[row] - 15, 0) : x[row] + 15]
        assert near.sum() > 0.3 * table["flux"][row]
    whole = (y > 40) & (y < 160) & (x > 40) & (x < 220)
    assert added.sum() > 0.8 * table["flux"][whole].sum()
    np.testing.assert_allclose(23.9 - 2.5 * np.log10(table["flux"]), table["mag"].value, atol=1e-6)
    written = Table.read(folder / "i" / "injected.fits", hdu=1)
    np.testing.assert_array_equal(written["found"], table["found"])
    (_, first), (image, second) = given
    assert image == folder / "i" / "seed_3" / "image.fits"
    assert first["rms"] == second["rms"] == folder / "rms.fits"


def test_every_seed_has_galaxies_of_its_own_on_pixels_that_count(folder, given):
    options = {"rms": folder / "rms.fits", "magnitude": (24.0, 26.0), "stars": 4}
    table = inject(folder / "image.fits", folder / "i", n=30, seed=1, repeats=2, **options)
    one, other = (table[table["seed"] == seed] for seed in (1, 2))
    alone = inject(folder / "image.fits", folder / "j", n=30, seed=2, **options)
    assert len(one) == len(other) == 34 and one["star"].sum() == 4
    np.testing.assert_array_equal(other["flux"], alone["flux"])
    np.testing.assert_array_equal(other["x"], alone["x"])
    assert not np.array_equal(one["flux"], other["flux"])
    y, x = (np.floor(table[name].value + 0.5) for name in ("y", "x"))
    assert (x >= 130).all() and (x < SHAPE[1]).all() and (y >= 0).all() and (y < SHAPE[0]).all()
    assert len(given) == 3 + 2


def test_a_map_of_the_total_noise_holds_the_photons_of_what_is_added(folder, given):
    """Its gain is what the map says: K / b, with 400 electrons per unit here."""
    clean = fits.getdata(folder / "image.fits").clip(0)
    total = np.sqrt(0.3**2 + clean / 400).astype(np.float32)
    total[5, 200] = 1e16
    fits.writeto(folder / "total.fits", total)
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["GAIN"]
    options = {"n": 12, "rms": folder / "total.fits", "magnitude": (18.0, 19.0)}
    inject(folder / "image.fits", folder / "i", **options)
    path = folder / "i" / "seed_0" / "total_rms.fits"
    assert given[-1][1]["rms"] == str(path)
    excess = fits.getdata(path).astype(float) ** 2 - total.astype(float) ** 2
    light = fits.getdata(path.with_name("image.fits")) - fits.getdata(folder / "image.fits")
    assert fits.getdata(path)[5, 200] >= 1e15 and np.abs(excess[:, :100]).max() < 1e-3
    excess[5, 200] = light[5, 200] = 0
    assert light[:, 130:].sum() / excess[:, 130:].sum() == pytest.approx(400, rel=0.1)


def test_a_gain_that_was_corrected_is_that_of_the_images_with_galaxies(folder, given):
    """GAIN of a detector, in an image per second: the header of theirs has no exposure time."""
    with fits.open(folder / "image.fits", mode="update") as hdus:
        cards = {"BUNIT": "count/s", "GAIN": 1.0, "EXPTIME": 50.0, "MAGZERO": 23.9}
        hdus[0].header.update(cards)
    inject(folder / "image.fits", folder / "i", n=5, rms=folder / "rms.fits")
    assert given[-1][1]["gain"] == pytest.approx(50.0)


def test_a_tile_of_mer_is_all_that_is_wanted(folder, given):
    tile, time = folder / "tile", "20241018T142710.276838"
    tile.mkdir()
    for name in ("image", "rms"):
        (folder / f"{name}.fits").rename(tile / product_name(name, 102018211, time))
    flags = np.zeros(SHAPE, np.int32)
    fits.writeto(tile / product_name("flags", 102018211, time), flags)
    assert main(["inject", str(tile), "--out", str(folder / "i"), "--n", "5"]) == 0
    assert all("tile_id" not in options and image.is_file() for image, options in given)
    assert "MOSAIC-VIS-RMS" in given[-1][1]["rms"]
    assert given[-1][1]["mask_bits"] == (0, 3, 22) and "MOSAIC-VIS-FLAG" in given[-1][1]["mask"]


def test_an_image_without_a_zero_point_is_refused(folder):
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["BUNIT"]
    with pytest.raises(MosaicError, match="no zero point"):
        inject(folder / "image.fits", folder / "i", rms=folder / "rms.fits")


@pytest.mark.slow
def test_galaxies_far_below_the_noise_are_not_found(folder):
    """The image's rms is 0.3 uJy a pixel: 26 mag are 0.14 uJy."""
    table = inject(
        folder / "image.fits", folder / "i", n=30, rms=folder / "rms.fits", magnitude=(25.5, 26.0)
    )
    assert table["found"].mean() < 0.1  # of those that fall on others, none is found as one
    assert (table["error"][~table["found"]] == -1).all()


@pytest.mark.slow
def test_galaxies_on_the_exposed_part_of_an_image_are_found(folder):
    """Half of the image has no data, and a mask takes more: what is not there is not missed."""
    with fits.open(folder / "image.fits", mode="update") as hdus:
        hdus[0].data[:, 130:] = np.nan
    mask = np.zeros(SHAPE, np.int16)
    mask[:60] = 1
    fits.writeto(folder / "mask.fits", mask)
    options = {"rms": folder / "rms.fits", "mask": folder / "mask.fits", "magnitude": (16.0, 17.0)}
    table = inject(folder / "image.fits", folder / "i", n=25, beside_bright=True, **options)
    y, x = (np.floor(table[name].value + 0.5) for name in ("y", "x"))
    assert (y >= 60).all() and (y < SHAPE[0]).all() and (x >= 0).all() and (x < 130).all()
    assert table["found"].mean() > 0.8


def test_the_command_shows_its_summary_on_a_page(folder, given, capsys):
    words = ["inject", folder / "image.fits", "--rms", folder / "rms.fits", "--n", 8]
    assert main([*map(str, words), "--out", str(folder / "i")]) == 0
    said, page = capsys.readouterr().out, Parsed((folder / "i" / "injection.html").read_text())
    assert "0 of 8 injected galaxies were found" in said and "injection.html" in said
    assert page.all("td")[0]["text"] == "all"
    assert "0 of 8 injected galaxies were found" in page.source
    assert 'href="before/index.html"' in page.source and 'href="seed_0/index.html"' in page.source
