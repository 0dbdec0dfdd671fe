from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import SHAPE, folder, network, run, sky  # noqa: F401
from parsed import Parsed

from vaedeblend.cli import main
from vaedeblend.evaluate import injection
from vaedeblend.evaluate.injection import _match_catalogue, inject, summarise
from vaedeblend.exceptions import MosaicError
from vaedeblend.simulate.library import random_sources


def test_injected_galaxies_are_added_to_the_image_and_nothing_else(folder):
    table = inject(folder / "image.fits", folder / "i", n=20, rms=folder / "rms.fits", seed=3)
    before, after = (fits.getdata(p / "image.fits") for p in (folder, folder / "i"))
    added = after - before
    assert len(table) == 20
    assert added.min() > -1e-4
    y, x = (np.rint(table[name].value).astype(int) for name in ("y", "x"))
    for row in np.flatnonzero(table["flux"] > 1):
        near = added[max(y[row] - 15, 0) : y[row] + 15, max(x[row] - 15, 0) : x[row] + 15]
        assert near.sum() > 0.3 * table["flux"][row]
    whole = (y > 40) & (y < 160) & (x > 40) & (x < 220)
    assert added.sum() > 0.8 * table["flux"][whole].sum()
    np.testing.assert_allclose(23.9 - 2.5 * np.log10(table["flux"]), table["mag"].value, atol=1e-6)
    written = Table.read(folder / "i" / "injected.fits", hdu=1)
    np.testing.assert_array_equal(written["found"], table["found"])


def test_galaxies_far_below_the_noise_are_not_found(folder):
    """The image's rms is 0.3 uJy a pixel: 26 mag are 0.14 uJy."""
    table = inject(
        folder / "image.fits", folder / "i", n=30, rms=folder / "rms.fits", magnitude=(25.5, 26.0)
    )
    assert table["found"].mean() < 0.1  # of those that fall on others, none is found as one
    assert (table["error"][~table["found"]] == -1).all()


@pytest.fixture
def unmeasured(monkeypatch):
    """No deblending: an empty catalogue, and a residual whose first columns are ignored."""

    def deblend(image, out, **options):
        out.mkdir(exist_ok=True)
        residual = np.zeros(SHAPE, np.float32)
        residual[:, :130] = np.nan
        fits.writeto(out / "residual.fits", residual, overwrite=True)
        columns = dict.fromkeys(("x", "y", "flux", "flux_err", "purity"), np.zeros(0))
        return SimpleNamespace(
            table=Table(columns | {"flags": np.zeros(0, int), "id": np.zeros(0, int)})
        )

    monkeypatch.setattr(injection, "deblend_image", deblend)


def test_same_seed_gives_the_same_galaxies_and_all_lie_on_pixels_that_count(folder, unmeasured):
    options = {"n": 60, "rms": folder / "rms.fits", "magnitude": (24.0, 26.0)}
    one, same, other = (
        inject(folder / "image.fits", folder / f"i{k}", seed=seed, **options)
        for k, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(one["flux"], same["flux"])
    np.testing.assert_array_equal(one["x"], same["x"])
    assert not np.array_equal(one["flux"], other["flux"])
    y, x = (np.floor(one[name].value + 0.5) for name in ("y", "x"))
    assert (x >= 130).all() and (x < SHAPE[1]).all() and (y >= 0).all() and (y < SHAPE[0]).all()


def test_an_image_without_a_zero_point_is_refused(folder):
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["BUNIT"]
    with pytest.raises(MosaicError, match="no zero point"):
        inject(folder / "image.fits", folder / "i", rms=folder / "rms.fits")


def test_summary_has_errors_by_magnitude_and_purity():
    n = 400
    rng = np.random.default_rng(0)
    flux = np.ones(n)
    error = np.where(np.arange(n) % 4, 0.1 * rng.normal(size=n) + 0.02, -1.0)
    found = error > -1
    table = Table(
        {
            "mag": np.repeat([23.5, 24.5], n // 2) * 1.0,
            "purity": np.where(found, 0.9, np.nan),
            "flux": flux,
            "found": found,
            "flux_found": flux * (1 + error),
            "flux_err": 0.1 * flux,
            "error": error,
        },
        units={"mag": "mag"},
    )
    summary = summarise(table)
    rows = {row["bin"]: row for row in summary}
    assert rows["mag 23-24"]["found"] == 75 and rows["mag 24-25"]["n"] == 200
    assert rows["purity 0.8-0.95"]["n"] == 300 and rows["purity 0-0.5"]["n"] == 0
    assert rows["mag 23-24"]["coverage"] == pytest.approx(68, abs=8)
    assert rows["mag 23-24"]["sigma"] == pytest.approx(10, abs=2)
    assert np.isnan(rows["purity 0-0.5"]["bias"])


@pytest.mark.slow
def test_galaxies_on_the_exposed_part_of_an_image_are_found(folder):
    """Half of the image has no data, and a mask takes more: what is not there is not missed."""
    with fits.open(folder / "image.fits", mode="update") as hdus:
        hdus[0].data[:, 130:] = np.nan
    mask = np.zeros(SHAPE, np.int16)
    mask[:60] = 1
    fits.writeto(folder / "mask.fits", mask)
    options = {"rms": folder / "rms.fits", "mask": folder / "mask.fits", "magnitude": (16.0, 17.0)}
    table = inject(folder / "image.fits", folder / "i", n=25, **options)
    y, x = (np.floor(table[name].value + 0.5) for name in ("y", "x"))
    assert (y >= 60).all() and (y < SHAPE[0]).all() and (x >= 0).all() and (x < 130).all()
    assert table["found"].mean() > 0.8


def test_sources_that_were_there_before_are_not_taken_for_injected_ones(rng):
    n = 40
    place = rng.uniform(5, 95, (n, 2))
    old = Table({"y": place[:, 0], "x": place[:, 1], "flux": np.full(n, 500.0), "flags": n * [0]})
    old["id"] = 1 + np.arange(n)
    for name in ("flux_err", "purity"):
        old[name] = np.ones(n)
    sources = random_sources(n, (25.0, 26.0), (100, 100), ("euclid-vis",), 0)
    pixel = np.floor(place[:, :] + 1).astype(int)
    table = _match_catalogue(sources._replace(pixel=pixel), old, old, 23.9)
    assert not table["found"].any()
    alone = _match_catalogue(sources._replace(pixel=pixel), old, old[:0], 23.9)
    assert alone["found"].mean() > 0.9 and not alone["id"][~alone["found"]].any()


def test_the_command_shows_its_summary_on_a_page(folder, unmeasured, capsys):
    words = ["inject", folder / "image.fits", "--rms", folder / "rms.fits", "--n", 8]
    assert main([*map(str, words), "--out", str(folder / "i")]) == 0
    said, page = capsys.readouterr().out, Parsed((folder / "i" / "injection.html").read_text())
    assert "0 of 8 injected galaxies were found" in said and "injection.html" in said
    assert page.all("td")[0]["text"].startswith("mag 2")
    assert "0 of 8 injected galaxies were found" in page.source
