"""The ends of an image's range: saturated pixels, holes, a sky that was cut."""

import numpy as np
import pytest
from astropy.io import fits
from fitsfolder import RMS, SHAPE, folder, network, run, sky  # noqa: F401
from inspected import changed, inspected, kinds, only
from matched import gaussian

from vaedeblend.io.mosaic import open_mosaic

ROWS, COLUMNS = np.indices(SHAPE)
HOLE = (ROWS >= 96) & (ROWS < 104) & (COLUMNS >= 60) & (COLUMNS < 70)
NOISE = RMS * np.random.default_rng(3).normal(size=SHAPE)
WHOLE = slice(0, SHAPE[0]), slice(0, SHAPE[1])


def bad(folder, limits):  # noqa: F811
    with open_mosaic(folder / "image.fits", limits=limits) as mosaic:
        return mosaic.read(*WHOLE).bad


@pytest.mark.parametrize("noise", [None, "rms.fits"])
@pytest.mark.parametrize("value", [-50 * RMS, -32768.0])
def test_pixels_darker_than_any_sky_are_ignored_and_said(folder, noise, value):  # noqa: F811
    changed(folder, lambda image: np.where(HOLE, value + NOISE, image))
    found, said = inspected(folder, noise=noise)
    line = [e for e in said if e.startswith("corrected image") and "80 pixels are below" in e]
    assert len(line) == 1 and "no light; they are ignored" in line[0]
    np.testing.assert_array_equal(bad(folder, found.corrections["limits"]), HOLE)


@pytest.mark.parametrize("full", [30.0, 29.0])  # a sky was subtracted from the latter
def test_saturated_pixels_are_ignored_and_the_source_is_flagged(folder, sky, full):  # noqa: F811
    place = sky[0][12]
    star = 40000 * gaussian(*place, SHAPE)
    changed(folder, lambda image: np.minimum(image + star, full), {"SATURATE": 30.0})
    saturated = fits.getdata(folder / "image.fits") >= 28.5
    found, said = inspected(folder)
    n = saturated.sum()
    assert f"{n} pixels reach 95 % of SATURATE 30: saturated" in only(said, "corrected image")
    np.testing.assert_array_equal(bad(folder, found.corrections["limits"]), saturated)
    if full == 30:
        return
    table = run(folder, passes=0)
    near = np.hypot(table["y"] - place[0], table["x"] - place[1]) < 8
    assert near.any() and (table["flags"][near] & (2 | 32) > 0).all()


@pytest.mark.parametrize("card", [60000.0, 0.3, "none"])
def test_a_saturation_that_is_not_the_images_own_is_not_used(folder, card):  # noqa: F811
    found, said = inspected(changed(folder, cards={"SATURATE": card}))
    assert found.corrections["limits"] is None
    line = "SATURATE 0.3 is no level of this image"
    assert (line in only(said, "warned image")) if card == 0.3 else not kinds(said)


@pytest.mark.parametrize(
    "cut",
    [
        lambda image: image.clip(0),
        np.abs,
        lambda image: np.where(image < 0, np.nan, image),
        lambda image: image.clip(-RMS),
    ],
)
@pytest.mark.parametrize("noise", [None, "rms.fits"])
def test_a_sky_that_was_cut_is_refused(folder, cut, noise):  # noqa: F811
    line = only(inspected(changed(folder, cut), noise=noise)[1], "refused image")
    assert "as if the noise had been cut there" in line


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image + 40 * RMS,
        lambda image: np.where(ROWS < 90, np.nan, image),
        lambda image: np.rint(image),
        lambda image: np.rint(image / (2 * RMS) + 0.37) * 2 * RMS,
        lambda image: image - 5 * RMS * (COLUMNS > 130),
        lambda image: image + 0.2 * RMS * COLUMNS,
    ],
)
def test_skies_that_are_whole_are_not_taken_for_cut_ones(folder, change):  # noqa: F811
    found, said = inspected(changed(folder, change), noise=None)
    assert not [line for line in said if "cut there" in line]
    assert found.corrections["limits"] is None
