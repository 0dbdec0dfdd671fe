import json

import numpy as np
import pytest
from astropy.table import Table

from vaedeblend.evaluate.added.shown import account, as_rows, summarise, write_shown
from vaedeblend.io.html import number


@pytest.fixture
def table():
    """A fourth is not found; the others are measured to a tenth, and 2 % too bright."""
    n, rng = 400, np.random.default_rng(0)
    flux = np.ones(n)
    error = np.where(np.arange(n) % 4, 0.1 * rng.normal(size=n) + 0.02, -1.0)
    found = error > -1
    return Table(
        {
            "mag": np.repeat([23.5, 24.5], n // 2) * 1.0,
            "purity": np.where(found, 0.85, np.nan),
            "flux": flux,
            "found": found,
            "flux_found": flux * (1 + error),
            "flux_err": 0.1 * flux,
            "error": error,
            "star": np.arange(n) >= 390,
            "seed": np.arange(n) // 100,
        },
        units={"mag": "mag"},
    )


def test_summary_has_errors_by_magnitude_and_purity(table):
    rows = {row["bin"]: row for row in summarise(table)}
    assert rows["mag 23-24"]["found"] == 75 and rows["mag 24-25"]["n"] == 190
    assert rows["all"]["n"] == 390 and rows["star 24-25"]["n"] == 10
    assert rows["purity 0.8-0.9"]["n"] == 292 and rows["purity 0-0.5"]["n"] == 0
    assert rows["mag 23-24"]["coverage"] == pytest.approx(68, abs=8)
    assert rows["mag 23-24"]["sigma"] == pytest.approx(10, abs=2)
    assert np.isnan(rows["purity 0-0.5"]["bias"]) and not any("pure" in name for name in rows)


def test_errors_of_the_summary_are_those_of_statistics(table):
    row = {row["bin"]: row for row in summarise(table)}["mag 23-24"]
    assert row["found_err"] == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 200), rel=0.15)
    assert row["bias_err"] == pytest.approx(1.2533 * 10 / np.sqrt(150), rel=0.35)
    assert row["coverage_err"] == pytest.approx(100 * np.sqrt(0.68 * 0.32 / 150), rel=0.2)


def test_one_source_has_no_scatter_and_no_coverage(table):
    """Not one of 0, which would be drawn as the best."""
    (row,) = (each for each in summarise(table[1:2]) if each["bin"] == "all")
    assert row["n"] == 1 and row["found"] == 100 and np.isfinite(row["bias"])
    assert np.isnan([row["sigma"], row["nmad"], row["coverage"]]).all()
    names, rows = as_rows(summarise(table[1:2]))
    assert not any(rows[0][names.index(each)] for each in ("sigma", "nmad", "coverage"))


def test_pure_sources_have_rows_of_their_own(table):
    table["purity"][:100] = 0.95
    rows = {row["bin"]: row for row in summarise(table)}
    assert rows["purity 0.9-1"]["n"] == 100 and rows["pure 23-24"]["n"] == 100


def test_files_hold_what_is_shown(table, tmp_path):
    said = account(table, 410)
    assert "of 400" in said[0] and "on 4 images" in said[0] and "10 had no place" in said[0]
    write_shown(tmp_path, table, said, {"n": 3}, {"before/index.html": "as it is"})
    numbers = json.loads((tmp_path / "injection.json").read_text())
    assert numbers["n"] == 3 and numbers["said"] == said
    assert numbers["rows"][0]["bin"] == "all" and numbers["rows"][0]["n"] == 390
    assert numbers["rows"][3]["bias"] is None
    columns, rows = as_rows(summarise(table))
    assert not any(name.endswith("_err") for name in columns)
    page = (tmp_path / "injection.html").read_text()
    assert rows[1][columns.index("coverage")] in page and "before/index.html" in page


def test_curves_hold_what_each_bin_of_magnitude_has(table, tmp_path):
    write_shown(tmp_path, table, account(table, 400), {}, {})
    page = (tmp_path / "injection.html").read_text()
    assert page.count("<svg") == 4 and page.count("<circle") == 4 * 2  # magnitudes 23 and 24
    found = [row["found"] for row in summarise(table) if row["bin"].startswith("mag ")]
    assert all(f">{number(value, 3)}</text>" in page for value in found)
    assert ">23-24</text>" in page and ">68.3</text>" in page


def test_nothing_found_leaves_curves_without_points(table, tmp_path):
    table["found"] = False
    write_shown(tmp_path, table, account(table, 400), {}, {})
    page = (tmp_path / "injection.html").read_text()
    assert page.count("<svg") == 4 and page.count("<circle") == 2 and "nan" not in page
