"""EGG: its program is run and read, and the embedded sampler gives EGG's distributions."""

import json
import os
import stat
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from astropy.io import fits

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.catalogues import egg_prescriptions as prescriptions
from vaedeblend.exceptions import CatalogueError

AREA = 1.0  # [deg2]

# EGG v1.4: galaxies per deg2 and 0.5 mag from VIS 20 to 26.
COUNTS = [813, 1287, 2050, 3187, 5050, 7637, 11060, 15773, 23120, 33317, 46297, 60080]
# Medians inside the talk's mask, and the relative tolerance of a sampler.
MEDIANS = {
    "bulge_half_light_radius": (0.0212, 0.05),
    "disk_half_light_radius": (0.234, 0.05),
    "bulge_axis_ratio": (0.637, 0.05),
    "disk_axis_ratio": (0.508, 0.05),
    "flux_ratio": (0.024, 0.15),
    "magnitude": (24.63, 0.005),
    "redshift": (1.01, 0.1),
}

FAKE_EGG = """#!{python}
import sys
import numpy as np
from astropy.table import Table
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
if options["area"] == "0.0":
    sys.exit("error: no galaxies in such a field")
bands = options["bands"].strip("[]").split(",")
n = int(options["seed"])
flux = np.full((1, n, len(bands)), 10 ** (0.4 * (23.9 - float(options["maglim"]) + 1)))
cells = {{"ID": np.arange(n), "Z": np.ones(n), "RA": np.zeros(n), "DEC": np.zeros(n)}}
for component in ("BULGE", "DISK"):
    for name in ("RADIUS", "RATIO", "ANGLE"):
        cells[component + "_" + name] = np.full(n, 0.5)
cells["BANDS"] = np.array([band.encode() for band in bands])
table = Table({{name: cell[None] for name, cell in cells.items()}})
table["FLUX_BULGE"], table["FLUX_DISK"] = 0 * flux, flux
table.write(options["out"])
"""


@pytest.fixture
def no_egg(monkeypatch, tmp_path):
    """A PATH without EGG's program."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def fake_egg(monkeypatch, tmp_path):
    """A program in the place of EGG's: as many galaxies as its seed, 1 mag above the limit."""
    program = tmp_path / "egg-gencat"
    program.write_text(FAKE_EGG.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))


@pytest.fixture(scope="module")
def sampled():
    """Sampled galaxies over `AREA` to VIS 26."""
    return egg.sample(AREA, np.random.default_rng(7))


def quantities(table):
    """Everything a sampler is compared on, per galaxy."""
    total = table["flux_bulge"] + table["flux_disk"]
    values = {name: table[name].value for name in MEDIANS if name in table.colnames}
    values["flux_ratio"] = (table["flux_bulge"] / total).value[:, 0]
    return values | {"magnitude": catalogue.magnitude(table)}


def test_same_seed_same_galaxies():
    one, same, other = (egg.sample(0.01, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name in one.colnames:
        np.testing.assert_array_equal(one[name].value, same[name].value)
    assert len(other) != len(one) or (other["redshift"] != one["redshift"]).any()


def test_sample_is_a_valid_catalogue(sampled):
    valid = catalogue.validate(sampled, "sampler")
    assert set(valid.colnames) == {"id", *catalogue.COLUMNS}
    assert valid["id"].dtype == np.int64 and sampled.meta["bands"] == ("euclid-vis",)
    assert catalogue.magnitude(sampled).max() < 26


def test_positions_fill_the_square(sampled):
    for name in ("ra", "dec"):
        assert abs(sampled[name].mean()) < 0.01 * u.deg
        np.testing.assert_allclose(np.ptp(sampled[name]).to_value(u.deg), AREA**0.5, rtol=1e-3)


def test_bulge_and_disk_are_aligned(sampled):
    angle = sampled["disk_position_angle"]
    np.testing.assert_array_equal(angle, sampled["bulge_position_angle"])
    assert (abs(angle) <= 90 * u.deg).all() and abs(angle.mean()) < 1 * u.deg


def test_first_rows_are_a_fair_sample(sampled):
    first = sampled["redshift"][: len(sampled) // 2]
    assert np.median(first) == pytest.approx(np.median(sampled["redshift"]), rel=0.02)


def test_number_counts(sampled):
    counts, _ = np.histogram(catalogue.magnitude(sampled), np.arange(20, 26.1, 0.5))
    np.testing.assert_allclose(counts / AREA, COUNTS, rtol=0.25)


def test_slope_of_the_counts(sampled):
    edges = np.arange(23, 25.1, 0.25)
    counts, _ = np.histogram(catalogue.magnitude(sampled), edges)
    assert np.polyfit(edges[1:], np.log10(counts), 1)[0] == pytest.approx(0.32, abs=0.03)


def test_share_of_the_published_selection(sampled):
    between = catalogue.select(sampled, {"magnitude": (23.0, 25.0)})
    selected = catalogue.select(sampled, catalogue.TALK_SELECTION)
    assert 0.17 < len(selected) / len(between) < 0.23


@pytest.mark.parametrize("name", MEDIANS)
def test_medians_of_the_published_selection(sampled, name):
    values = quantities(catalogue.select(sampled, catalogue.TALK_SELECTION))[name]
    reference, tolerance = MEDIANS[name]
    assert np.median(values) == pytest.approx(reference, rel=tolerance)


@pytest.mark.parametrize("sample", ["all_23_25", "mask"])
def test_percentiles_of_the_reference_catalogue(sampled, sample):
    path = Path(__file__).parents[3] / "shared" / "egg" / "egg_vis_summary.json"
    if not path.exists():
        pytest.skip(f"no reference summary {path}")
    reference = json.loads(path.read_text())[sample]["percentiles_5_25_50_75_95"]
    cuts = {"all_23_25": {"magnitude": (23.0, 25.0)}, "mask": catalogue.TALK_SELECTION}
    values = quantities(catalogue.select(sampled, cuts[sample]))
    names = {"mag": "magnitude", "z": "redshift"}
    names |= {f"{c}_radius": f"{c}_half_light_radius" for c in ("bulge", "disk")}
    names |= {f"{c}_ratio": f"{c}_axis_ratio" for c in ("bulge", "disk")}
    for key, name in names.items():
        percentiles = np.percentile(values[name], [5, 25, 50, 75, 95])
        tolerance = 0.15 if name == "redshift" else 0.1
        np.testing.assert_allclose(percentiles, reference[key], rtol=tolerance, err_msg=key)
    # The faintest twentieth of B/T hangs on the fit to the reddest spectra: it is left out.
    percentiles = np.percentile(values["flux_ratio"], [25, 50, 75, 95])
    np.testing.assert_allclose(percentiles, reference["bt_flux"][1:], rtol=0.15, err_msg="B/T")


def test_mass_function_at_a_node():
    z, m = 0.5, 10.5
    first = 8.98887e-4 * 10 ** ((m - 11) * -0.4) * np.exp(-(10 ** (m - 11)))
    second = 8.30778e-5 * 10 ** ((m - 10.6418) * 1.5) * np.exp(-(10 ** (m - 10.6418)))
    density = prescriptions.mass_function(np.array([m]), np.array([z]), prescriptions.STAR_FORMING)
    np.testing.assert_allclose(density, np.log(10) * (first + second))


def test_mass_function_declines_as_the_mass_density_beyond_redshift_4():
    high = prescriptions.mass_function(
        np.array([10.0]), np.array([4.0, 5.0, 6.0, 8.0]), prescriptions.PASSIVE
    )[:, 0]
    np.testing.assert_allclose(np.log10(high[1:] / high[:-1]), [-0.43, -0.43, -1.4], rtol=1e-6)


def test_angles_follow_the_cosmology():
    redshift = np.array([0.1, 1.0, 5.0])
    scale = FlatLambdaCDM(H0=70, Om0=0.3).arcsec_per_kpc_proper(redshift).value
    np.testing.assert_allclose(prescriptions.to_arcsec(np.full(3, 2.0), redshift), 2 * scale, 1e-4)


def test_median_radii_of_a_massive_galaxy():
    n, rng = 20000, np.random.default_rng(0)
    log_mass, redshift = np.full(n, 10.6), np.ones(n)
    disk = np.median(prescriptions.disk_radius(log_mass, redshift, rng))
    bulge = np.median(prescriptions.bulge_radius(log_mass, redshift, rng))
    assert np.log10(disk) == pytest.approx(0.41 - 0.22 * np.log10(2) + 0.25, abs=0.01)
    assert np.log10(bulge) == pytest.approx(0.90 - 1.3 * np.log10(2) - 0.56 * 0.65, abs=0.01)


def test_egg_is_run_where_it_is_installed(fake_egg):
    bands = ("euclid-vis", "euclid-nisp-j")
    table = egg.catalogue(0.5, seed=4, magnitude_limit=25.0, bands=bands)
    assert len(table) == 4 and table.meta == {"bands": bands, "source": "egg-gencat"}
    np.testing.assert_allclose(catalogue.magnitude(table, band=1), 24.0)


def test_failing_egg_is_quoted(fake_egg):
    with pytest.raises(CatalogueError, match=r"egg-gencat area=0\.0 .* status 1, .*no galaxies in"):
        egg.gencat(0.0, seed=1)


def test_sampler_serves_where_there_is_no_egg(no_egg):
    table = egg.catalogue(0.01, seed=4, magnitude_limit=24.0)
    assert table.meta["source"] == "embedded EGG sampler"
    assert catalogue.magnitude(table).max() < 24


def test_other_bands_leave_vis_as_it_is(no_egg):
    alone = egg.catalogue(0.002, seed=4)
    several = egg.catalogue(0.002, seed=4, bands=["euclid-vis", "NIR-H", "EXT-G"])
    assert several.meta["bands"] == ("euclid-vis", "NIR-H", "EXT-G")
    assert np.array_equal(several["flux_disk"][:, :1], alone["flux_disk"])
    assert np.array_equal(several["disk_axis_ratio"], alone["disk_axis_ratio"])
    vis, h, g = np.asarray(several["flux_disk"] + several["flux_bulge"]).T
    assert 0.6 < np.median(2.5 * np.log10(h / vis)) < 1.6
    assert 0.1 < np.median(2.5 * np.log10(vis / g)) < 1.0


def test_colours_are_those_of_egg_itself(shared):
    native = fits.getdata(shared / "egg" / "egg_native_small.fits", 1)[0]
    redshift, seen = native["Z"], native["Z"] < 2
    for part in ("DISK", "BULGE"):
        vis, h = native[f"FLUX_{part}"].T
        found = prescriptions.band_colour(
            1540.0, native[f"RFUV_{part}"], native[f"RFVJ_{part}"], redshift
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            off = (found + 2.5 * np.log10(h / vis))[seen & (vis > 0) & (h > 0)]
        assert abs(np.median(off)) < 0.12
        assert 1.4826 * np.median(np.abs(off - np.median(off))) < 0.15


def test_sampler_knows_few_bands(no_egg):
    with pytest.raises(
        CatalogueError, match=r"'euclid-nisp-j'.*sampler knows \['euclid-vis', 'NIR"
    ):
        egg.catalogue(0.01, seed=4, bands=["euclid-vis", "euclid-nisp-j"])


def test_patch_too_small_for_a_galaxy_is_refused():
    with pytest.raises(CatalogueError, match="sampler: no rows"):
        egg.sample(1e-9, np.random.default_rng(0))
