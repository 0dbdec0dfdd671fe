"""What becomes of every source of a challenge's fields."""

import numpy as np
import pytest
from astropy.io import fits
from written import SPLIT, WIDE, read_all

from data_builders.emc_stamps import emc_stamps_dataset_builder as builder
from vaedeblend.euclid.emc import census, simulate
from vaedeblend.euclid.emc.census import (
    SELECTION,
    STATUSES,
    Reach,
    census_stamps,
    take_census,
    used_rows,
)
from vaedeblend.euclid.emc.layout import DATASETS, read_alone, read_field
from vaedeblend.io import dataset


@pytest.mark.parametrize("name", DATASETS)
def test_every_source_is_accounted_for(folder, name):
    fields = read_all(folder, name)
    censuses = {field.number: take_census(field) for field in fields}
    table = census.tabulate(censuses)
    assert list(table["field"]) == [0, 1, -1]
    for row, field in zip(table, fields, strict=False):
        assert sum(row[status] for status in STATUSES) == row["sources"] == len(field.id)
        assert row["star"] == field.star.sum()
        assert row["isolated"] + row["blended"] == len(used_rows(censuses[field.number])) > 0
        kept = used_rows(censuses[field.number])
        for parameter in field.truth.keys() & SELECTION.keys():
            low, high = SELECTION[parameter]
            values = field.truth[parameter][kept]
            assert (low < values).all() and (values < high).all()
    assert all(table[n][2] == table[n][:2].sum() for n in table.colnames[1:])
    assert all(table[status][2] > 0 for status in ("isolated", "magnitude", "radius", "edge"))


def test_stamps_are_cut_about_their_galaxies(folder):
    field = read_field(folder, "ssersic", 0)
    image = fits.getdata(field.files["image"])
    rows = used_rows(take_census(field, selection=WIDE))
    stamps = list(census_stamps(field, rows))
    assert {stamp.row for stamp in stamps} == set(rows)
    phase = census.phases(field)
    assert (abs(phase) <= 0.5 + 1e-9).all()
    for stamp in stamps:
        y, x = (field.position[stamp.row] - phase[stamp.row] - 31.5).round().astype(int)
        np.testing.assert_array_equal(stamp.image, image[y : y + 64, x : x + 64])
        assert (stamp.rms > 0).all()


def test_stamps_of_strips_are_those_of_the_whole(folder, monkeypatch):
    field = read_field(folder, "ssersic", 0)
    rows = used_rows(take_census(field, selection=WIDE))
    whole = {stamp.row: stamp.image for stamp in census_stamps(field, rows)}
    monkeypatch.setattr(census, "_STRIP", 50)
    for stamp in census_stamps(field, rows):
        np.testing.assert_array_equal(stamp.image, whole.pop(stamp.row))
    assert not whole


@pytest.mark.parametrize("name", ["ssersic", "dsersic"])
@pytest.mark.parametrize("reach", [Reach(), Reach(own=2.0, radii=1.0, star=5.0, fainter=1.0)])
def test_blended_is_what_brute_force_says(folder, name, reach):
    for field in read_all(folder, name):
        got = take_census(field, selection=WIDE, reach=reach)
        for i in used_rows(got):
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
        got = take_census(field, selection=WIDE)
        rows = used_rows(got)[got.n_neighbours[used_rows(got)] == 0]
        for stamp in census_stamps(field, rows):
            flux = 10 ** (0.4 * (23.9 - mag[stamp.row]))
            profile = alone[field.id[stamp.row]].astype(float) / flux
            assert 0.9 < profile.sum() < 1.001
            variance = stamp.rms.astype(float) ** 2
            total = variance + stamp.light.clip(0) / float(simulate.SURVEY.gain[0])
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
    before = take_census(field, selection=WIDE)
    row = used_rows(before)[0]
    y, x = np.round(field.position[row]).astype(int)
    for name, value in (("rms", 0.0), ("image", np.nan)):
        with fits.open(field.files[name], mode="update", memmap=False) as hdus:
            kept = hdus[0].data[y, x]
            hdus[0].data[y, x] = value
        after = take_census(read_field(copy, "ssersic", 0), selection=WIDE)
        assert STATUSES[after.status[row]] == "rms"
        changed = np.flatnonzero(after.status != before.status)
        near = abs(census.corners(field)[changed] + 31.5 - (y, x)).max(axis=1) < 33
        assert near.all() and len(changed) < len(used_rows(before))
        with fits.open(field.files[name], mode="update", memmap=False) as hdus:
            hdus[0].data[y, x] = kept
