"""Inputs that are not what they are given for: what their pixels give away, and what is said."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import GAIN, RMS, SHAPE, folder, network, run, sky  # noqa: F401
from inspected import changed, inspected, kinds, noise_of, only
from matched import gaussian

from vaedeblend.cli import main
from vaedeblend.exceptions import InspectionError, MosaicError
from vaedeblend.io.mosaic import open_mosaic

NOISE = RMS * np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
ROWS, COLUMNS = np.indices(SHAPE)

pytestmark = pytest.mark.usefixtures("optimised")


def test_a_healthy_image_is_not_complained_of(folder):
    found, said = inspected(folder)
    assert not kinds(said), said
    assert found.corrections == {"gain": GAIN, "scale": 1.0, "empty": None, "limits": None}


FAINT = 0.01 * RMS


@pytest.mark.parametrize(
    ("value", "form", "cause"),
    [
        (FAINT**-2, "rms", "probably inverse variances, wanted as --weight"),
        (FAINT**2, "rms", "probably a variance, wanted as --variance"),
        (FAINT, "weight", "probably an rms, wanted as --rms"),
        (FAINT**2, "weight", "probably a variance, wanted as --variance"),
        (FAINT**-2, "variance", "probably inverse variances, wanted as --weight"),
        (10 * FAINT, "rms", "about 10 times the right one"),
        (1e-4 * FAINT, "rms", "about 0.0001 times the right one"),
        (5 * FAINT, "rms", "another plane"),
    ],
)
def test_noise_of_another_form_is_named(folder, value, form, cause):
    noise_of(changed(folder, lambda image: 0.01 * image), value)
    line = only(inspected(folder, form)[1], f"refused {form}")
    assert "rms.fits: as " in line and "within a factor of 3" in line and cause in line


def test_noise_in_the_unit_of_its_own_zero_point_is_named(folder):
    noise_of(folder, RMS * 40)
    changed(folder, cards={"MAGZERO": 23.9})
    changed(folder, cards={"MAGZERO": 23.9 + 2.5 * np.log10(40)}, name="rms.fits")
    assert "its zero point is 27.9" in only(inspected(folder)[1], "refused rms")


def test_noise_that_is_0_nearly_everywhere_is_said(folder):
    flags = np.where((ROWS % 9 == 0) & (COLUMNS % 7 == 0), 4.0, 0.0)
    fits.writeto(folder / "rms.fits", flags, overwrite=True)
    said = inspected(folder)[1]
    assert "98.3 % of its pixels are not above 0" in only(said, "warned rms")


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 7)])
def test_a_few_pixels_are_not_judged(folder, shape):
    part = slice(shape[0]), slice(shape[1])
    for name in ("image.fits", "rms.fits"):
        pixels = fits.getdata(folder / name)[part]
        fits.writeto(folder / name, pixels, fits.getheader(folder / name), overwrite=True)
    assert not kinds(inspected(folder)[1])


def test_image_and_noise_that_are_swapped_are_refused(folder):
    for one, other in (("image", "rms"), ("rms", "other")):
        (folder / f"{one}.fits").rename(folder / f"{other}_.fits")
    (folder / "rms_.fits").rename(folder / "rms.fits")
    (folder / "other_.fits").rename(folder / "image.fits")
    assert "swapped" in only(inspected(folder)[1], "refused rms")


@pytest.mark.parametrize("level", [-1.0, -0.4, 0.4, 1.0])
def test_a_little_sky_is_said(folder, level):
    changed(folder, lambda image: image + level * RMS)
    line = only(inspected(folder)[1], "found sky")
    said = float(line.split("image / rms is ")[1].split()[0])
    assert said == pytest.approx(level, abs=0.1) and "a sky is left" in line


@pytest.mark.parametrize("level", [-4.0, 3.0, 30.0])
def test_a_sky_that_is_left_is_refused(folder, level):
    changed(folder, lambda image: image + level * RMS)
    line = only(inspected(folder)[1], "refused sky")
    assert "wanted about 0: subtract the background" in line
    assert not [each for each in inspected(folder, noise=None)[1] if "sky" in each.split(":")[0]]


def test_a_galaxy_that_fills_the_image_is_no_sky(folder):
    radius = np.hypot(ROWS - 80, COLUMNS - 120)
    changed(folder, lambda image: image + 300 * RMS * np.exp(-radius / 30))
    assert kinds(inspected(folder)[1]) == {"found sky"}


@pytest.mark.parametrize("crowd", [100, 1000])
def test_a_crowded_field_is_not_taken_for_a_wrong_rms(folder, crowd):
    rng, light = np.random.default_rng(4), np.zeros(SHAPE)
    for y, x in zip(*rng.uniform(0, SHAPE, (crowd, 2)).T, strict=True):
        light += 30 * RMS * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / 4)
    changed(folder, lambda image: image + light)
    assert not [line for line in inspected(folder)[1] if line.startswith("refused rms")]


def test_correlated_noise_is_not_taken_for_a_wrong_rms(folder):
    smooth = sum(np.roll(NOISE, (i, j), (0, 1)) for i in range(3) for j in range(3)) / 9
    fits.writeto(folder / "image.fits", smooth, overwrite=True)
    lines = inspected(folder)[1]
    assert "scatter by 0.34 of the rms" in only(lines, "found rms")
    assert "is correlated by 0.6" in only(lines, "found correlation")
    noise_of(folder, 30 * RMS)
    assert only(inspected(folder)[1], "refused rms")


def test_photon_noise_in_the_rms_is_said(folder):
    image = fits.getdata(folder / "image.fits")
    total = np.sqrt(RMS**2 + image.clip(0) / 5000)
    fits.writeto(folder / "rms.fits", total, overwrite=True)
    assert not kinds(inspected(folder)[1])  # too few bright pixels to matter
    bright = image + 3000 * gaussian(100, 130, SHAPE, 4.0)
    changed(folder, lambda _: bright)
    fits.writeto(folder / "rms.fits", np.sqrt(RMS**2 + bright.clip(0) / 5), overwrite=True)
    found = inspected(folder)[1]
    assert "the sources' photon noise" in only(found, "corrected photons")
    assert "where the photon noise in the map is that of " in only(found, "warned gain")
    assert "warned gain" not in kinds(inspected(folder, gain=5.0)[1])


@pytest.mark.parametrize(
    ("cards", "gain"),
    [
        ({"BUNIT": "electron/s", "GAIN": 3.1, "EXPTIME": 300.0}, 300.0),
        ({"BUNIT": "ELECTRONS/S", "GAIN": 3.1, "TEXPTIME": 300.0}, 300.0),
        ({"BUNIT": "adu/s", "GAIN": 3.1, "EXPTIME": 300.0}, 930.0),
        ({"BUNIT": "DN s-1", "GAIN": 3.1, "EXPTIME": 300.0}, 930.0),
    ],
)
def test_a_detectors_gain_is_that_of_the_exposure_in_an_image_per_second(folder, cards, gain):
    found, said = inspected(changed(folder, cards=cards))
    assert "GAIN 3.1 makes" in only(said, "corrected gain")
    assert found.corrections["gain"] == pytest.approx(gain)


def test_the_gain_of_electrons_per_second_is_the_exposure_time(folder):
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["GAIN"]
    found, said = inspected(changed(folder, cards={"BUNIT": "e-/s", "EXPTIME": 300.0}))
    assert "gain 300 electrons" in only(said, "assumed gain")
    assert found.corrections["gain"] == 300


@pytest.mark.parametrize("unit", ["electron", "ELECTRONS", "e-"])
def test_the_gain_of_electrons_is_one(folder, unit):
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["GAIN"]
    noise_of(changed(folder, lambda image: 50 * image, {"BUNIT": unit}), 50 * RMS)
    found, said = inspected(folder)
    assert f"gain 1 electrons per image unit (unit {unit})" in only(said, "assumed gain")
    assert found.corrections["gain"] == 1
    noise_of(changed(folder, lambda image: image / 50), RMS)
    assert not inspected(folder)[0].corrections["gain"]


@pytest.mark.parametrize(
    ("cards", "options"),
    [
        ({"GAIN": 3.1}, {}),
        ({"GAIN": 3.1, "EXPTIME": 300.0}, {}),
        ({"GAIN": 3.1, "EXPTIME": 1.0, "BUNIT": "electron/s"}, {}),
        ({}, {"gain": 3.1}),
    ],
)
def test_a_gain_that_no_sky_has_is_refused(folder, cards, options):
    line = only(inspected(changed(folder, cards=cards), **options)[1], "refused gain")
    assert "3.1 makes the background's rms 0.93 electrons; wanted 5" in line
    found, said = inspected(folder, gain=0.0)
    assert not kinds(said) - {"given gain"} and not found.corrections["gain"]


@pytest.mark.parametrize("level", [0.0, 5.0])
@pytest.mark.parametrize("noise", [None, "rms.fits"])
def test_a_border_of_one_value_has_no_data(folder, level, noise):
    empty = COLUMNS + 0.3 * ROWS < 70
    changed(folder, lambda image: np.where(empty, 0, image + level * (noise is None)))
    found, said = inspected(folder, noise=noise)
    assert "exactly 0 in one piece: no data" in only(said, "corrected image")
    assert found.corrections["empty"] == 0
    with open_mosaic(folder / "image.fits", empty=0.0) as mosaic:
        bad = mosaic.read(slice(0, 200), slice(0, 260)).bad
        parts = [mosaic.read(slice(n, n + 7), slice(3, 90)).bad for n in range(0, 196, 7)]
    assert np.mean(bad == empty) > 0.999 and not bad[~empty].any()
    np.testing.assert_array_equal(np.concatenate(parts), bad[:196, 3:90])  # whatever the window


@pytest.mark.parametrize(
    "change",
    [
        lambda image: np.rint(image),  # whole numbers, many of them equal
        lambda image: sum(f * gaussian(60 + 2 * f, 9 * f, SHAPE) for f in (5, 20)) * (image > -99),
    ],
)
def test_equal_pixels_of_whole_numbers_and_of_noise_free_light_are_data(folder, change):
    assert inspected(changed(folder, change))[0].corrections["empty"] is None


@pytest.mark.parametrize(
    ("mask", "options", "word"),
    [
        (lambda image: image < 1e9, {}, "100 % of the pixels are masked; wanted 0"),
        (lambda image: ROWS % 7 > 0, {}, "85.5 % of the pixels"),
        (lambda image: image > 5 * RMS, {}, "of the bright pixels are masked: does it mark"),
        (lambda image: image > 5 * RMS, {"mask_bits": [3]}, None),
        (lambda image: ROWS % 3 == 0, {}, None),
    ],
)
def test_masks_that_leave_out_what_is_to_be_measured_are_said(folder, mask, options, word):
    flags = mask(fits.getdata(folder / "image.fits")).astype(np.int16)
    fits.writeto(folder / "mask.fits", flags)
    said = inspected(folder, mask=folder / "mask.fits", **options)[1]
    assert (word in only(said, "warned mask")) if word else not kinds(said)


def test_headers_that_are_no_numbers_are_named(folder):
    changed(folder, cards={"GAIN": "14276,3", "MAGZERO": "nan"})
    lines = [line for line in inspected(folder)[1] if line.startswith("warned header")]
    assert "GAIN '14276,3' is no number" in lines[1] + lines[0]
    assert "MAGZERO 'nan' is no number" in lines[0] + lines[1]


@pytest.mark.parametrize(
    ("cards", "zero_point", "word"),
    [
        ({"BUNIT": "mJy"}, 16.4, None),
        ({"BUNIT": "MJy"}, -6.1, None),
        ({"BUNIT": "MJY"}, None, "may be mJy or MJy"),
        ({"BUNIT": "nJy"}, 31.4, None),
        ({"BUNIT": "erg / (s cm2 Hz)"}, -48.6, None),
        ({"BUNIT": "MJy/sr"}, 25.4721, None),
        ({"BUNIT": "uJy", "MAGZERO": 24.6}, 24.6, "its unit uJy means 23.9"),
        ({"BUNIT": "counts"}, None, None),
    ],
)
def test_units_are_those_of_astropy(folder, cards, zero_point, word):
    changed(folder, cards=cards)
    said = [line for line in inspected(folder)[1] if line.startswith("warned header")]
    with open_mosaic(folder / "image.fits") as mosaic:
        assert mosaic.zero_point == (zero_point and pytest.approx(zero_point, abs=1e-4))
    assert len(said) == (word is not None) and all(word in line for line in said)


def test_a_wcs_that_cannot_be_used_is_said(folder):
    changed(folder, cards={"CTYPE2": "nonsense"})
    assert "its WCS cannot be used" in only(inspected(folder)[1], "warned header")


def test_a_planes_coordinates_are_those_of_its_cube(folder):
    cards = {"WCSAXES": 3, "CTYPE3": "WAVE", "CRVAL3": 7e-7, "CRPIX3": 1.0, "CDELT3": 1e-8}
    with open_mosaic(folder / "image.fits") as mosaic:
        before = mosaic.wcs.all_pix2world(30, 40, 0)
    with open_mosaic(changed(folder, cards=cards) / "image.fits") as mosaic:
        np.testing.assert_allclose(mosaic.wcs.all_pix2world(30, 40, 0), before)
        assert mosaic.pixel_scale == pytest.approx(0.1)


def test_what_is_refused_is_one_line_and_may_be_forced(folder, capsys):
    noise_of(folder, 5 * RMS)
    command = ["deblend", str(folder / "image.fits"), "--rms", str(folder / "rms.fits")]
    command += ["--out", str(folder / "out")]
    assert main(command) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error:") and "rms.fits" in last and "--force" in last
    assert not list((folder / "out").iterdir())
    with pytest.raises(InspectionError, match="rms.fits"):
        run(folder)
    assert main([*command, "--force"]) == 0
    said = capsys.readouterr().err
    assert "warned: " in said and "within a factor of 3" in said


def test_what_was_assumed_is_in_every_product(folder, capsys):
    out = folder / "out"
    changed(folder, lambda image: image + 0.5 * RMS)
    table = run(folder)
    text = "image / rms is 0.5"
    about = json.loads((out / "summary.json").read_text())
    assert about["sources"] == len(table) and about["measured"]["sky_over_rms"] > 0.4
    assert any(text in each["text"] for each in about["findings"])
    assert any(text in str(value) for value in table.meta.values())
    assert table.meta["GAIN"] == GAIN and table.meta["MAGZERO"] == 23.9
    assert table.meta["WEIGHTS"] == "euclid_vis" and table.meta["VERSION"] == about["version"]
    page = (out / "index.html").read_text()
    assert text in page and "What was assumed" in page


def test_units_far_from_one_do_not_matter(folder):
    """The variance of such an image is no number in single precision."""
    plain, factor = run(folder, "plain", gain=GAIN), 2.0**-100
    for name in ("image.fits", "rms.fits"):
        changed(folder, lambda image: image * factor, name=name)
    tiny = run(folder, "tiny", gain=GAIN / factor)
    for name in plain.colnames:
        unit = factor if name.startswith("flux") else 1.0
        if name != "mag" and "ujy" not in name:
            np.testing.assert_array_equal(tiny[name], np.asarray(plain[name]) * unit, name)
    for name in ("model", "residual", "stamps"):
        one, other = (fits.getdata(folder / n / f"{name}.fits") for n in ("plain", "tiny"))
        np.testing.assert_allclose(other, one * factor, rtol=1e-6, atol=1e-38)  # then denormal
    pairs = [
        Table.read(folder / n / "catalog.fits", hdu=2)["covariance"] for n in ("plain", "tiny")
    ]
    np.testing.assert_allclose(pairs[1], pairs[0] * factor**2)


def test_weights_give_what_the_rms_gives(folder):
    fits.writeto(folder / "weight.fits", np.full(SHAPE, RMS**-2, np.float32))
    fits.writeto(folder / "variance.fits", np.full(SHAPE, RMS**2, np.float32))
    plain = run(folder)
    for form in ("weight", "variance"):
        same = run(folder, form, rms=None, **{form: folder / f"{form}.fits"})
        np.testing.assert_allclose(same["flux"], plain["flux"], rtol=1e-4)
    with pytest.raises(MosaicError, match="rms and weight are given"):
        run(folder, "both", weight=folder / "weight.fits")
