"""What is written in the layout of the Euclid Morphology Challenge."""

from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from written import SHAPE, WIDE, WRITTEN

from vaedeblend.catalogues.galaxies import make_galaxies
from vaedeblend.cli import main
from vaedeblend.euclid.emc import census, simulate
from vaedeblend.euclid.emc.census import census_stamps, take_census, used_rows
from vaedeblend.euclid.emc.layout import (
    DATASETS,
    LISTS,
    PSF_FILE,
    read_alone,
    read_field,
    read_field_psf,
)
from vaedeblend.simulate.fields import simulate_field
from vaedeblend.simulate.galaxies import profiles


@pytest.fixture(scope="module")
def simulated():
    """Field 1 of the single Sersic galaxies, as it is before it is written."""
    options = {k: v for k, v in WRITTEN.items() if k not in ("seed", "numbers")}
    return simulate_field(seed=11, survey=simulate.SURVEY, style="sersic", **options)


def test_files_are_those_of_the_layout(folder):
    stems = [f"{name}_{f}_vis" for name in DATASETS for f in (0, 1)]
    images = {stem + end for stem in stems for end in (".fits", ".rms.fits")}
    own = {stem + end for stem in stems for end in (".light.fits", ".alone.fits")}
    lists = {LISTS[key].format(f) for key in LISTS for f in (0, 1)}
    truths = {f"challenge_5sig_overlap_{each.catalogue}.fits" for each in DATASETS.values()}
    names = {path.name for path in folder.iterdir()}
    assert names == images | own | lists | truths | {PSF_FILE}


def test_headers_tell_scale_zero_point_gain_and_place(folder):
    places = []
    for number in (0, 1):
        header = fits.getheader(folder / f"realm_{number}_vis.fits")
        assert header["MAGZERO"] == 23.9 and header["PIXSCALE"] == 0.1 and header["BUNIT"] == "uJy"
        assert header["GAIN"] == pytest.approx(float(simulate.SURVEY.gain[0]))
        places.append(WCS(header).all_pix2world(169.5, 149.5, 0))
    np.testing.assert_allclose(places[0], (150.1, 2.2))
    np.testing.assert_allclose(places[1], (150.1, 3.2))


def test_psf_is_that_of_the_challenge_and_of_the_fields(folder):
    psf = read_field_psf(folder)
    assert psf.image.shape == (51, 51) and psf.pixel_scale == 0.1
    image = galsim.Image(psf.image, scale=0.1)
    width = galsim.InterpolatedImage(image, x_interpolant="lanczos15").calculateFWHM()
    assert width == pytest.approx(0.238, abs=0.002)


def test_the_three_styles_hold_the_same_sources(folder):
    fields = [read_field(folder, name, 1) for name in DATASETS]
    for other in fields[1:]:
        for name in ("id", "position", "star", "galaxy"):
            np.testing.assert_array_equal(getattr(fields[0], name), getattr(other, name))
        np.testing.assert_allclose(fields[0].truth["mag"], other.truth["mag"])
    images = [fits.getdata(field.files["image"]) for field in fields]
    assert not np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])
    noise = [fits.getdata(f.files["image"]) - fits.getdata(f.files["light"]) for f in fields]
    assert all(each.std() == pytest.approx(noise[0].std(), rel=0.05) for each in noise)


def test_truth_is_that_of_the_simulation(folder, simulated):
    truth = simulated.truth
    single, double = (read_field(folder, name, 1) for name in ("ssersic", "dsersic"))
    position = np.stack([truth["y"].value, truth["x"].value], axis=1)
    np.testing.assert_allclose(single.position, position, atol=1e-6)
    np.testing.assert_array_equal(single.star, truth["star"])
    np.testing.assert_array_equal(single.galaxy, ~truth["star"])
    galaxy = single.galaxy
    assert np.isnan(single.truth["mag"][~galaxy]).all()
    np.testing.assert_allclose(single.truth["mag"][galaxy], truth["mag"][galaxy, 0].value)
    share = (truth["flux_bulge"] / truth["flux"])[galaxy, 0].value
    np.testing.assert_allclose(double.truth["bt"][galaxy], share)
    for name in ("bulge", "disk"):
        radius = truth[f"{name}_half_light_radius"][galaxy].value
        np.testing.assert_allclose(double.truth[f"re{name[0]}"][galaxy], radius)
    assert (single.radius[galaxy] > 0).all() and not single.radius[single.star].any()


def test_one_component_is_the_profile_that_is_drawn(folder, simulated):
    field = read_field(folder, "ssersic", 1)
    galaxies = make_galaxies(simulated.truth)
    for i in np.flatnonzero(field.galaxy)[:30]:
        drawn = profiles.sersic(galaxies.take(i))[0].original
        re, q, n = (field.truth[name][i] for name in ("re", "q", "n"))
        assert drawn.n == pytest.approx(n)
        assert drawn.half_light_radius == pytest.approx(re * np.sqrt(q), rel=1e-6)


def test_positions_are_those_of_the_light(folder):
    """FITS's first pixel is (1, 1), ours (0, 0): a shift of one would be seen at once."""
    field = read_field(folder, "ssersic", 0)
    flux = 10 ** (-0.4 * field.truth["mag"])
    inside = ((field.position > 40) & (field.position < np.subtract(SHAPE, 40))).all(axis=1)
    ranked = np.argsort(-np.where(inside & field.galaxy, flux, 0))
    alone = read_alone(field)
    for row in ranked[:5]:
        light = alone[field.id[row]].astype(float)
        axis = np.arange(64)
        corner = census.corners(field)[row]
        centre = [(light.sum(axis=1 - a) @ axis) / light.sum() + corner[a] for a in (0, 1)]
        np.testing.assert_allclose(centre, field.position[row], atol=0.05)
        y, x = np.round(field.position[row]).astype(int)
        image = fits.getdata(field.files["image"])[y - 2 : y + 3, x - 2 : x + 3]
        assert max(abs(np.subtract(np.unravel_index(image.argmax(), (5, 5)), 2))) <= 1


@pytest.mark.parametrize("name", DATASETS)
def test_light_alone_is_that_of_the_image(folder, name):
    """In all styles: where no other source is near, image and galaxy are one, structure and all."""
    field = read_field(folder, name, 0)
    alone = read_alone(field)
    light = fits.getdata(field.files["light"])
    corner, deviations = census.corners(field), []
    for stamp in census_stamps(field, used_rows(take_census(field, selection=WIDE))):
        own = alone[field.id[stamp.row]]
        y, x = corner[stamp.row]
        np.testing.assert_array_equal(stamp.light, light[y : y + 64, x : x + 64])
        assert (own - stamp.light).max() < 0.02 * stamp.light.max()  # neighbours' rings
        deviations.append(abs(own - stamp.light)[26:38, 26:38].max() / own.max())
    assert min(deviations) < 1e-3 and np.median(deviations) < 0.05


def test_command_writes_five_fields(tmp_path, capsys, monkeypatch):
    fields = []

    def one(folder, **options):
        fields.append(options)
        Path(folder).mkdir()
        return Table({"field": [0], "galaxies": [7], "stars": [3]})

    monkeypatch.setattr(simulate, "write_fields", one)
    arguments = ["simulate", "--style", "emc", "--out", str(tmp_path / "emc"), "--size", "90"]
    assert main([*arguments, "--seed", "4"]) == 0
    said = capsys.readouterr().out
    assert "galaxies" in said and "7" in said
    assert fields[0]["size"] == 90 and fields[0]["seed"] == 4
    assert fields[0]["star_fraction"] == 0.05
    source = tmp_path / "some.fits"
    source.touch()
    assert main([*arguments, "--source", str(source)]) == 1
    assert "EGG's own galaxies" in capsys.readouterr().err
