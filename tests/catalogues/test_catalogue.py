"""Catalogues: units are read, impossible rows refused, cuts and splits are exact."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, vstack

from vaedeblend.catalogues import catalogue
from vaedeblend.exceptions import CatalogueError

BANDS = ("euclid-vis", "euclid-nisp-h")
FLUXES = ("flux_bulge", "flux_disk")


@pytest.fixture
def galaxies():
    """Ten two-band galaxies."""
    rng = np.random.default_rng(1)
    table = QTable({"id": np.arange(100, 110)}, meta={"bands": BANDS})
    for name in FLUXES:
        table[name] = rng.uniform(0.1, 2, (10, 2)) * u.uJy
    for component in ("bulge", "disk"):
        table[f"{component}_half_light_radius"] = rng.uniform(0.01, 0.5, 10) * u.arcsec
        table[f"{component}_axis_ratio"] = rng.uniform(0.1, 1, 10)
        table[f"{component}_position_angle"] = rng.uniform(-90, 90, 10) * u.deg
    table["redshift"] = np.linspace(0.1, 3, 10)
    return catalogue.validate(table, "ten galaxies")


def assert_same(one, other):
    """Same columns, units, values and bands."""
    assert set(one.colnames) == set(other.colnames)
    assert one.meta["bands"] == other.meta["bands"]
    for name in one.colnames:
        assert one[name].unit == other[name].unit
        np.testing.assert_array_equal(one[name].value, other[name].value)


@pytest.mark.parametrize("extension", ["fits", "ecsv", "parquet"])
def test_round_trip(galaxies, tmp_path, extension):
    if extension == "parquet":
        pytest.importorskip("pyarrow")
        pytest.importorskip("pandas")
    path = tmp_path / f"galaxies.{extension}"
    catalogue.write(galaxies, path)
    assert_same(catalogue.read(path, BANDS), galaxies)
    catalogue.write(galaxies[:3], path, overwrite=True)
    assert len(catalogue.read(path)) == 3


def test_units_of_the_file_are_honoured(galaxies, tmp_path):
    for name in FLUXES:
        galaxies[name] = galaxies[name][:, 0].to(u.nJy)
    radius = galaxies["disk_half_light_radius"]
    galaxies["disk_half_light_radius"] = radius.to(u.mas)
    galaxies.meta.clear()
    galaxies.write(tmp_path / "one_band.ecsv")
    read = catalogue.read(tmp_path / "one_band.ecsv", ["any-name"])
    assert read["flux_disk"].shape == (10, 1) and read["flux_disk"].unit == u.uJy
    np.testing.assert_allclose(read["flux_disk"][:, 0], galaxies["flux_disk"])
    np.testing.assert_allclose(read["disk_half_light_radius"].value, radius.value)


@pytest.mark.parametrize(
    ("name", "row", "bad", "message"),
    [
        ("disk_half_light_radius", 3, -0.1, r"row 3: -0\.1, wanted finite and not negative"),
        ("bulge_half_light_radius", 0, np.nan, r"row 0: nan, wanted finite"),
        ("disk_axis_ratio", 9, 0.0, r"row 9: 0\.0, wanted b/a in \(0, 1\]"),
        ("bulge_axis_ratio", 2, 1.01, r"row 2: 1\.01, wanted b/a"),
        ("bulge_axis_ratio", 2, np.nan, r"row 2: nan, wanted b/a"),
        ("flux_bulge", 4, np.inf, r"row 4: \[inf inf\], wanted finite"),
        ("flux_disk", 5, -1.0, r"row 5: \[-1\. -1\.\], wanted finite and not negative"),
        ("disk_position_angle", 1, np.nan, "row 1: nan, wanted a finite angle"),
        ("redshift", 1, np.inf, "row 1: inf, wanted a number or NaN"),
        ("id", 6, 100, "row 6: 100, wanted an id that no earlier row has"),
    ],
)
def test_impossible_value_is_refused(galaxies, tmp_path, name, row, bad, message):
    galaxies[name][row] = bad * galaxies[name].unit if galaxies[name].unit else bad
    catalogue.write(galaxies, tmp_path / "bad.fits")
    with pytest.raises(CatalogueError, match=rf"bad\.fits: column {name}, {message}"):
        catalogue.read(tmp_path / "bad.fits", BANDS)


def test_galaxy_without_light_is_refused(galaxies):
    for name in FLUXES:
        galaxies[name][2, 1] = 0 * u.uJy
    with pytest.raises(CatalogueError, match=r"flux_bulge \+ flux_disk, row 2: .* 0\. *\]"):
        catalogue.validate(galaxies, "dark")


@pytest.mark.parametrize("name", ["id", *list(catalogue.COLUMNS)[:8]])
def test_missing_column_is_refused(galaxies, name):
    galaxies.remove_column(name)
    with pytest.raises(CatalogueError, match=rf"here: no column {name}, found \["):
        catalogue.validate(galaxies, "here")


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("disk_half_light_radius", np.ones(10) * u.kpc, r"float64 in kpc, wanted Unit\(\"arcsec"),
        ("flux_disk", np.ones(10) * u.uJy, r"shape \(10,\), wanted \(10, 2\)"),
        ("id", np.linspace(0, 1, 10), "id of float64, wanted an integer"),
        ("redshift", np.full(10, "high"), "U4 in None, wanted Unit"),
    ],
)
def test_wrong_unit_shape_or_type_is_refused(galaxies, name, column, message):
    galaxies[name] = column
    with pytest.raises(CatalogueError, match=f"here: column .*{message}"):
        catalogue.validate(galaxies, "here")


def test_empty_catalogue_is_refused(galaxies):
    with pytest.raises(CatalogueError, match="here: no rows"):
        catalogue.validate(galaxies[:0], "here")


def test_magnitude_is_ab(galaxies):
    galaxies["flux_bulge"][:, 1], galaxies["flux_disk"][:, 1] = 0.25 * u.uJy, 750 * u.nJy
    np.testing.assert_allclose(catalogue.magnitude(galaxies, band=1), 23.9)


def test_cuts_are_exclusive_and_combine(galaxies):
    radius = galaxies["disk_half_light_radius"].value
    cuts = {
        "disk_half_light_radius": (float(radius.min()), float(radius.max())),
        "redshift": (0.0, 2.0),
    }
    expected = galaxies["id"][(galaxies["redshift"] < 2) & (radius > radius.min())]
    expected = set(expected) - {galaxies["id"][radius.argmax()]}
    assert set(catalogue.select(galaxies, cuts)["id"]) == expected


def test_a_cut_from_zero_holds_components_that_are_not_there(galaxies):
    galaxies["bulge_half_light_radius"][:3] = 0 * u.arcsec
    cuts = {"bulge_half_light_radius": (0.0, 99.0)}
    assert len(catalogue.select(galaxies, cuts)) == len(galaxies)
    assert len(catalogue.select(galaxies, {"bulge_half_light_radius": (1e-9, 99.0)})) < 8


def test_cut_of_unknown_quantity_lists_the_known(galaxies):
    with pytest.raises(CatalogueError, match=r"\['size'\], wanted some of \['magnitude', 'id'"):
        catalogue.select(galaxies, {"size": (0.0, 1.0)})


def test_empty_selection_states_what_each_cut_passes(galaxies):
    cuts = {"magnitude": (0.0, 1.0), "redshift": (0.0, 9.0)}
    match = r"ten galaxies: none of 10 rows .*magnitude \(0\.0, 1\.0\): 0, redshift .*: 10"
    with pytest.raises(CatalogueError, match=match):
        catalogue.select(galaxies, cuts)


def test_splits_are_disjoint_complete_and_of_the_right_size():
    many = QTable({"id": np.arange(-1000, 19000)})
    parts = {name: set(catalogue.split(many, name, seed=3)["id"]) for name in catalogue.FRACTIONS}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 20000
    for name, fraction in catalogue.FRACTIONS.items():
        assert len(parts[name]) / 20000 == pytest.approx(fraction, abs=0.01)
    assert set(catalogue.split(many, "test", seed=4)["id"]) != parts["test"]


def test_split_depends_on_the_id_alone():
    many = QTable({"id": np.arange(5000)})
    some = many[np.random.default_rng(0).permutation(5000)[:2000]]
    train = set(catalogue.split(many, "train", seed=0)["id"])
    assert set(catalogue.split(some, "train", seed=0)["id"]) == train & set(some["id"])


def test_unknown_split_or_fractions_are_refused(galaxies):
    with pytest.raises(CatalogueError, match=r"'dev'.*wanted one of \['train', 'validation'"):
        catalogue.split(galaxies, "dev", seed=0)
    with pytest.raises(CatalogueError, match="add up to 1"):
        catalogue.split(galaxies, "train", seed=0, fractions={"train": 0.5, "test": 0.4})


def test_stars_are_valid_point_sources(galaxies):
    stars = catalogue.stars(1000, np.random.default_rng(0), BANDS, (20.0, 22.0))
    assert_same(catalogue.validate(stars, "stars"), stars)
    np.testing.assert_array_equal(stars["id"], -np.arange(1, 1001))
    for name in ("flux_bulge", "bulge_half_light_radius", "disk_half_light_radius"):
        assert not stars[name].value.any()
    first, second = catalogue.magnitude(stars, 0), catalogue.magnitude(stars, 1)
    np.testing.assert_array_equal(first, second)
    assert 20 < first.min() < 20.1 and 21.9 < first.max() < 22 and abs(first.mean() - 21) < 0.1
    del stars.meta["bands"]  # vstack would string the two tuples together
    both = vstack([galaxies, stars], join_type="inner", metadata_conflicts="silent")
    assert len(catalogue.validate(both, "both")) == 1010
