"""The Euclid Morphology Challenge's fields: written, read back, and every source accounted for."""

import shutil

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from data_builders.emc_stamps import __main__ as command
from data_builders.emc_stamps import emc_stamps_dataset_builder as builder
from vaedeblend import accounting, dataset, emcfile, profiles
from vaedeblend.accounting import SELECTION, STATUSES, Reach, account, cut_stamps, used
from vaedeblend.cli import main
from vaedeblend.emc import PSF_FILE, field_numbers, read_alone, read_field, read_field_psf
from vaedeblend.emctruth import DATASETS, LISTS, EmcError
from vaedeblend.sampling import make_galaxies
from vaedeblend.sky import simulate_field

SHAPE = 300, 340
WRITTEN = {"size": SHAPE, "seed": 2, "numbers": (0, 1), "density": 3.0, "star_fraction": 0.1}
WRITTEN |= {"magnitude_limit": 26.0}
WIDE = {"mag": (20.0, 26.0)}
LIST, GALAXIES, STARS = (LISTS[key].format(0) for key in ("all", "gals", "stars"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emc")
    emcfile.write_fields(folder, **WRITTEN)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def simulated():
    """Field 1 of the single Sersic galaxies, as it is before it is written."""
    options = {k: v for k, v in WRITTEN.items() if k not in ("seed", "numbers")}
    return simulate_field(seed=11, survey=emcfile.SURVEY, style="sersic", **options)


def read_all(folder, name="ssersic"):
    return [read_field(folder, name, number) for number in field_numbers(folder, name)]


def edit(path, change):
    """Lets a function change the lines of a list."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


# --- what is written ---------------------------------------------------------------------------


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
        assert header["GAIN"] == pytest.approx(float(emcfile.SURVEY.gain[0]))
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
        corner = accounting.corners(field)[row]
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
    corner, deviations = accounting.corners(field), []
    for stamp in cut_stamps(field, used(account(field, selection=WIDE))):
        own = alone[field.id[stamp.row]]
        y, x = corner[stamp.row]
        np.testing.assert_array_equal(stamp.light, light[y : y + 64, x : x + 64])
        assert (own - stamp.light).max() < 0.02 * stamp.light.max()  # neighbours' rings
        deviations.append(abs(own - stamp.light)[26:38, 26:38].max() / own.max())
    assert min(deviations) < 1e-3 and np.median(deviations) < 0.05


# --- what becomes of every source ----------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
def test_every_source_is_accounted_for(folder, name):
    fields = read_all(folder, name)
    accounts = {field.number: account(field) for field in fields}
    table = accounting.tabulate(accounts)
    assert list(table["field"]) == [0, 1, -1]
    for row, field in zip(table, fields, strict=False):
        assert sum(row[status] for status in STATUSES) == row["sources"] == len(field.id)
        assert row["star"] == field.star.sum()
        assert row["isolated"] + row["blended"] == len(used(accounts[field.number])) > 0
        kept = used(accounts[field.number])
        for parameter in field.truth.keys() & SELECTION.keys():
            low, high = SELECTION[parameter]
            values = field.truth[parameter][kept]
            assert (low < values).all() and (values < high).all()
    assert all(table[n][2] == table[n][:2].sum() for n in table.colnames[1:])
    assert all(table[status][2] > 0 for status in ("isolated", "magnitude", "radius", "edge"))


def test_stamps_are_cut_about_their_galaxies(folder):
    field = read_field(folder, "ssersic", 0)
    image = fits.getdata(field.files["image"])
    rows = used(account(field, selection=WIDE))
    stamps = list(cut_stamps(field, rows))
    assert {stamp.row for stamp in stamps} == set(rows)
    phase = accounting.phases(field)
    assert (abs(phase) <= 0.5 + 1e-9).all()
    for stamp in stamps:
        y, x = (field.position[stamp.row] - phase[stamp.row] - 31.5).round().astype(int)
        np.testing.assert_array_equal(stamp.image, image[y : y + 64, x : x + 64])
        assert (stamp.rms > 0).all()


def test_stamps_of_strips_are_those_of_the_whole(folder, monkeypatch):
    field = read_field(folder, "ssersic", 0)
    rows = used(account(field, selection=WIDE))
    whole = {stamp.row: stamp.image for stamp in cut_stamps(field, rows)}
    monkeypatch.setattr(accounting, "_STRIP", 50)
    for stamp in cut_stamps(field, rows):
        np.testing.assert_array_equal(stamp.image, whole.pop(stamp.row))
    assert not whole


@pytest.mark.parametrize("name", ["ssersic", "dsersic"])
@pytest.mark.parametrize("reach", [Reach(), Reach(own=2.0, radii=1.0, star=5.0, fainter=1.0)])
def test_blended_is_what_brute_force_says(folder, name, reach):
    for field in read_all(folder, name):
        got = account(field, selection=WIDE, reach=reach)
        for i in used(got):
            n = 0
            for j in range(len(field.id)):
                separation = 0.1 * np.hypot(*(field.position[i] - field.position[j]))
                radii = [field.truth[key][j] for key in ("re", "reb", "red") if key in field.truth]
                far = reach.star if field.star[j] else reach.own + reach.radii * max(radii)
                faint = field.truth["mag"][j] > field.truth["mag"][i] + reach.fainter
                n += j != i and separation <= far and not faint
            assert got.n_neighbours[i] == n
            assert STATUSES[got.status[i]] == ("blended" if n else "isolated")


def test_isolated_galaxies_are_purer(folder):
    directory = builder.build(folder, "ssersic", data_dir=folder.parent, **SPLIT)
    stamps = dataset.load(directory, "train")
    purity, blended = stamps["purity"][:, 0], stamps["blended"]
    assert np.median(purity[~blended]) > 0.995 > np.median(purity[blended])


def test_fluxes_of_isolated_stamps_agree_with_the_truth(folder):
    """By the filter that matches the light alone, what others leave on the stamp taken off."""
    errors = []
    for field in read_all(folder):
        alone, mag = read_alone(field), field.truth["mag"]
        got = account(field, selection=WIDE)
        rows = used(got)[got.n_neighbours[used(got)] == 0]
        for stamp in cut_stamps(field, rows):
            flux = 10 ** (0.4 * (23.9 - mag[stamp.row]))
            profile = alone[field.id[stamp.row]].astype(float) / flux
            assert 0.9 < profile.sum() < 1.001
            variance = stamp.rms.astype(float) ** 2
            total = variance + stamp.light.clip(0) / float(emcfile.SURVEY.gain[0])
            weight = profile / variance
            others = stamp.light - profile * flux
            found = (weight * (stamp.image - others)).sum() / (weight * profile).sum()
            sigma = np.sqrt((weight**2 * total).sum()) / (weight * profile).sum()
            errors.append((found - flux) / sigma)
    n = len(errors)
    assert n > 30
    assert abs(np.mean(errors)) < 4 / np.sqrt(n)
    assert abs(np.square(errors).sum() - n) < 4 * np.sqrt(2 * n)


def test_pixels_without_an_rms_cost_their_stamps(copy):
    field = read_field(copy, "ssersic", 0)
    before = account(field, selection=WIDE)
    row = used(before)[0]
    y, x = np.round(field.position[row]).astype(int)
    for name, value in (("rms", 0.0), ("image", np.nan)):
        with fits.open(field.files[name], mode="update", memmap=False) as hdus:
            kept = hdus[0].data[y, x]
            hdus[0].data[y, x] = value
        after = account(read_field(copy, "ssersic", 0), selection=WIDE)
        assert STATUSES[after.status[row]] == "rms"
        changed = np.flatnonzero(after.status != before.status)
        near = abs(accounting.corners(field)[changed] + 31.5 - (y, x)).max(axis=1) < 33
        assert near.all() and len(changed) < len(used(before))
        with fits.open(field.files[name], mode="update", memmap=False) as hdus:
            hdus[0].data[y, x] = kept


# --- folders of others, and damaged ones ---------------------------------------------------------


def strip(folder):
    """As a folder of the challenge is: files in folders, nothing of our own, plain headers."""
    for path in [*folder.glob("*.light.fits"), *folder.glob("*.alone.fits")]:
        path.unlink()
    for path in [*folder.glob("*_vis.fits"), *folder.glob("*.rms.fits"), folder / PSF_FILE]:
        fits.writeto(path, fits.getdata(path), overwrite=True)
    for path in folder.glob("vis_*_gals_subset.list"):
        edit(path, lambda lines: ["# ID RA X Y VIS", *(_wider(line) for line in lines[1:])])
    places = {"truth/input_positions_allfields": "input*", "truth/catalogues": "challenge*"}
    places |= {"FIELD0/Single Sersic": "ssersic_0*", "FIELD1/Single Sersic": "ssersic_1*"}
    for place, names in places.items():
        (folder / place).mkdir(parents=True)
        for path in folder.glob(names):
            path.rename(folder / place / path.name)


def _wider(line):
    i, x, y = line.split()
    return f"{i} 150.1 {x} {y} 23.5"


def test_a_folder_without_our_own_files_is_read_as_well(folder, copy, tmp_path):
    strip(copy)
    for one, other in zip(read_all(folder), read_all(copy), strict=True):
        for name in ("id", "position", "star", "galaxy"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(account(one).status, account(other).status)
        assert read_alone(other) == {}
    stamps = dataset.load(builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT), "train")
    ours = dataset.load(builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT), "train")
    assert ours.keys() - stamps.keys() == {"light", "alone", "purity"}
    for name, values in stamps.items():
        np.testing.assert_array_equal(values, ours[name])


def test_without_lists_of_some_the_truth_says_who_is_a_galaxy(copy):
    for path in (copy / GALAXIES, copy / STARS):
        path.unlink()
    field = read_field(copy, "ssersic", 0)
    np.testing.assert_array_equal(field.galaxy, ~np.isnan(field.truth["mag"]))
    counts = np.bincount(account(field).status, minlength=len(STATUSES))
    assert counts[STATUSES.index("unlisted")] == (~field.galaxy).sum() > 0


def test_radii_are_taken_in_their_unit(copy, folder):
    change_truth(copy, lambda table: table.replace_column("Truere", table["Truere"].to("arcmin")))
    one, other = (read_field(each, "ssersic", 0) for each in (folder, copy))
    np.testing.assert_allclose(one.truth["re"], other.truth["re"])


def change_truth(folder, change, name="single_sersic"):
    path = folder / f"challenge_5sig_overlap_{name}.fits"
    table = Table.read(path)
    table = change(table) or table
    table.write(path, overwrite=True)


def rewrite(folder, name, *, cut=None, **cards):
    data, header = fits.getdata(folder / name, header=True)
    header.update(cards)
    fits.writeto(folder / name, data[:cut], header, overwrite=True)


def drop(folder, name):
    (folder / name).unlink()


BAD = {
    "no field": (
        lambda f: [p.unlink() for p in f.glob("ssersic_*_vis.fits")],
        "no field; wanted files ssersic_0_vis.fits",
    ),
    "no rms": (
        lambda f: drop(f, "ssersic_0_vis.rms.fits"),
        "none there; wanted one file ssersic_0_vis.rms.fits",
    ),
    "two lists": (
        lambda f: (f / "more").mkdir() or shutil.copy(f / LIST, f / "more"),
        f"wanted one file {LIST}",
    ),
    "shape of rms": (
        lambda f: rewrite(f, "ssersic_0_vis.rms.fits", cut=-10),
        r"field 0: .*rms.fits: \(290, 340\) pixels; wanted those of .*\(300, 340\)",
    ),
    "shape of light": (
        lambda f: rewrite(f, "ssersic_0_vis.light.fits", cut=-10),
        r"light.fits: \(290, 340\) pixels",
    ),
    "zero point": (
        lambda f: rewrite(f, "ssersic_0_vis.fits", MAGZERO=25.0),
        "zero point 25; wanted 23.9",
    ),
    "scale": (
        lambda f: rewrite(f, "ssersic_0_vis.fits", CDELT1=-0.2 / 3600, CDELT2=0.2 / 3600),
        "pixel scale 0.2 arcsec; wanted 0.1 arcsec",
    ),
    "no list": (lambda f: drop(f, LIST), f"wanted one file {LIST}"),
    "empty list": (lambda f: (f / LIST).write_text("# ID X Y\n"), "field 0, no source"),
    "repeated ID": (
        lambda f: edit(f / LIST, lambda lines: [*lines, lines[3]]),
        "ID 4; wanted an ID that no earlier line has",
    ),
    "fraction of an ID": (
        lambda f: edit(f / LIST, lambda lines: ["1.5 30 30", *lines[1:]]),
        "line 1: ID 1.5; wanted a whole number",
    ),
    "off the field": (
        lambda f: edit(f / LIST, lambda lines: [*lines, "9999 341 300.6"]),
        r"field 0, ID 9999 at X = 341, Y = 300.6; wanted it on the image of 340 x 300 pixels",
    ),
    "two columns": (
        lambda f: edit(f / LIST, lambda lines: [*lines, "9999 30"]),
        "2 columns; wanted 3",
    ),
    "four columns": (
        lambda f: edit(f / LIST, lambda lines: ["1 30 30 20.5", *lines[1:]]),
        "line 1: 4 columns; wanted 3",
    ),
    "word": (
        lambda f: edit(f / LIST, lambda lines: ["1 thirty 30", *lines[1:]]),
        "line 1: 'thirty'; wanted a number",
    ),
    "nan": (
        lambda f: edit(f / LIST, lambda lines: ["1 30 nan", *lines[1:]]),
        "line 1: 'nan'; wanted a number",
    ),
    "strange galaxy": (
        lambda f: edit(f / GALAXIES, lambda lines: [*lines, "9999 30 30"]),
        f"{GALAXIES}: field 0, ID 9999; wanted those of .*{LIST}",
    ),
    "galaxy and star": (
        lambda f: edit(f / STARS, lambda lines: [*lines, "1 30 30"]),
        "field 0, ID 1 is a star and a galaxy",
    ),
    "no truth": (
        lambda f: drop(f, "challenge_5sig_overlap_single_sersic.fits"),
        "wanted one file challenge_5sig_overlap_single_sersic",
    ),
    "damaged truth": (
        lambda f: (f / "challenge_5sig_overlap_single_sersic.fits").write_bytes(b"SIMPLE"),
        "no table could be read",
    ),
    "no column": (
        lambda f: change_truth(f, lambda table: table.remove_column("Truere")),
        "no column Truere; wanted .*, found ",
    ),
    "no row": (
        lambda f: change_truth(f, lambda table: table[3:]),
        "field 0, no rows for 3 galaxies of the list, ID 1 the first; wanted one for each",
    ),
    "two rows": (
        lambda f: change_truth(f, lambda table: table.insert_row(0, table[5])),
        "field 0, ID 6 in more than one row",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused(copy, case):
    damage, wanted = BAD[case]
    damage(copy)
    with pytest.raises(EmcError, match=wanted):
        read_field(copy, "ssersic", 0)


def test_no_such_field_and_no_such_dataset_are_refused(folder):
    with pytest.raises(EmcError, match=r"no field 4 of realm; there are \[0, 1\]"):
        read_field(folder, "realm", 4)
    with pytest.raises(EmcError, match="dataset 'sersic'; wanted one of"):
        field_numbers(folder, "sersic")


def test_a_psf_of_another_scale_is_refused(copy):
    rewrite(copy, PSF_FILE, PIXSCALE=0.05)
    with pytest.raises(EmcError, match=f"{PSF_FILE}: pixel scale 0.05 arcsec; wanted 0.1 arcsec"):
        read_field_psf(copy)
    rewrite(copy, PSF_FILE, cut=40)
    with pytest.raises(EmcError, match="wanted a square image"):
        read_field_psf(copy)


def test_galaxies_without_truth_can_be_left_out(copy):
    change_truth(copy, lambda table: table[3:])
    field = read_field(copy, "ssersic", 0, missing_truth=True)
    status = account(field).status
    assert [STATUSES[s] for s in status[:3]] == ["no truth"] * 3
    assert (status != STATUSES.index("no truth"))[3:].all()


# --- stamps as a dataset -------------------------------------------------------------------------

SPLIT = {"splits": {"train": (0,), "test": (1,)}}


def test_stamps_are_built_and_accounted_for(folder, tmp_path):
    directory = builder.build(folder, "realm", data_dir=tmp_path, **SPLIT)
    table = builder.read_accounting(directory)
    assert table.colnames == ["field", "sources", *STATUSES]
    for number, split in enumerate(("train", "test")):
        stamps = dataset.load(directory, split)
        n = table["isolated"][number] + table["blended"][number]
        assert stamps["image"].shape == stamps["alone"].shape == (n, 64, 64, 1)
        assert stamps["blended"].sum() == table["blended"][number]
        np.testing.assert_array_equal(stamps["blended"], stamps["n_neighbours"] > 0)
        assert (stamps["field"] == number).all() and len(set(stamps["id"])) == n
        flux = 10 ** (0.4 * (23.9 - stamps["truth/mag"]))
        np.testing.assert_allclose(stamps["flux"][:, 0], flux, rtol=1e-5)
        np.testing.assert_allclose(stamps["background_rms"], emcfile.SURVEY.rms[0], rtol=1e-5)
        assert stamps["psf"].shape == (n, 31, 31, 1)
        np.testing.assert_allclose(stamps["psf"].sum(axis=(1, 2)), 1, rtol=1e-4)
        assert np.isfinite(stamps["purity"]).all() and (stamps["purity"] < 1.01).all()


def test_what_is_built_is_named_by_all_that_changes_it(copy, tmp_path):
    first = builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT)
    written = first.stat().st_mtime_ns
    again = builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT)
    assert again == first and first.stat().st_mtime_ns == written
    wide = builder.build(copy, "ssersic", data_dir=tmp_path, reach=Reach(own=2.0), **SPLIT)
    edit(copy / GALAXIES, lambda lines: [*lines, ""])
    other = builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT)
    assert len({first, wide, other}) == 3


def test_galaxies_too_faint_for_light_alone_have_none(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder.emc, "read_alone", lambda field: {})
    directory = builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT)
    stamps = dataset.load(directory, "train")
    assert np.isnan(stamps["alone"]).all() and np.isnan(stamps["purity"]).all()
    assert np.isfinite(stamps["light"]).all()


def test_a_build_cut_off_leaves_nothing_under_its_name(folder, tmp_path, monkeypatch):
    stamps = accounting.cut_stamps

    def dies(field, rows):
        yield from list(stamps(field, rows))[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(builder.accounting, "cut_stamps", dies)
        builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT)
    assert not list(tmp_path.glob("emc_stamps/*/1.0.0"))
    directory = builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT)
    assert len(dataset.load(directory, "test")["image"])


def test_a_field_in_two_splits_is_refused(folder, tmp_path):
    with pytest.raises(EmcError, match=r"fields \[0\] are in splits twice"):
        builder.build(folder, "ssersic", data_dir=tmp_path, splits={"a": (0, 1), "b": (0,)})


def test_a_split_without_galaxies_is_refused(folder, tmp_path):
    with pytest.raises(EmcError, match=r"no galaxy of fields \(1,\) is selected; split 'a' wanted"):
        builder.build(
            folder, "ssersic", data_dir=tmp_path, splits={"a": (1,)}, selection={"mag": (1.0, 2.0)}
        )


# --- commands ------------------------------------------------------------------------------------


def test_command_writes_five_fields(tmp_path, capsys, monkeypatch):
    fields = []

    def one(folder, **options):
        fields.append(options)
        return Table({"field": [0], "galaxies": [7], "stars": [3]})

    monkeypatch.setattr(emcfile, "write_fields", one)
    arguments = ["simulate", "--style", "emc", "--out", str(tmp_path / "emc"), "--size", "90"]
    assert main([*arguments, "--seed", "4"]) == 0
    said = capsys.readouterr().out
    assert "galaxies" in said and "7" in said
    assert fields[0]["size"] == 90 and fields[0]["seed"] == 4
    assert fields[0]["star_fraction"] == 0.05
    assert main([*arguments, "--source", "some.fits"]) == 1
    assert "EGG's own galaxies" in capsys.readouterr().out


def test_command_cuts_stamps_and_prints_what_became_of_every_source(
    folder, tmp_path, capsys, monkeypatch
):
    words = ["emc_stamps", str(folder), "--dataset", "ssersic", "--data-dir", str(tmp_path)]
    splits = ["--train", "0", "--validation", "--test", "1"]
    monkeypatch.setattr("sys.argv", [*words, *splits])
    command.main()
    said = capsys.readouterr().out
    assert all(name in said for name in STATUSES) and str(tmp_path) in said
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="1"):
        command.main()
    assert "no field 2 of ssersic" in capsys.readouterr().out
