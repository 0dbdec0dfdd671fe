"""Folders of others in the challenge's layout, and damaged ones."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from written import GALAXIES, LIST, SPLIT, STARS, edit, read_all

from data_builders.emc_stamps import emc_stamps_dataset_builder as builder
from vaedeblend.euclid.emc.census import STATUSES, take_census
from vaedeblend.euclid.emc.layout import (
    PSF_FILE,
    field_numbers,
    read_alone,
    read_field,
    read_field_psf,
)
from vaedeblend.exceptions import EmcError
from vaedeblend.io import dataset


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
        np.testing.assert_array_equal(take_census(one).status, take_census(other).status)
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
    counts = np.bincount(take_census(field).status, minlength=len(STATUSES))
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
    status = take_census(field).status
    assert [STATUSES[s] for s in status[:3]] == ["no truth"] * 3
    assert (status != STATUSES.index("no truth"))[3:].all()
