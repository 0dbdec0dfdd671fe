"""PSFs as users have them: of other samplings, in folders, and not what they are given for."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from fitsfolder import RMS, SHAPE, folder, header, network, run, sky  # noqa: F401
from inspected import changed, inspected, kinds, only
from matched import gaussian

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import PSF_SIZE

NOISE = RMS * np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


def psf_file(folder, image, cards=(), name="psf.fits"):
    fits.writeto(folder / name, image.astype(np.float32), fits.Header(dict(cards)))
    return folder / name


SIDES = PSF_SIZE, PSF_SIZE
NARROW = gaussian(15, 15, (31, 31), 1.0)
WCS_CARDS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -9e-6, "CDELT2": 9e-6}


@pytest.mark.parametrize(
    ("image", "cards", "options", "kind", "word"),
    [
        (0.95 * NARROW, {}, {}, "found", "sums to 0.95: the share of a point source's light"),
        (3.2 * NARROW, {}, {}, "corrected", "sums to 3.2, which is no share of light"),
        (np.roll(NARROW, 1, axis=1), {}, {}, "corrected", "1 of 1 PSFs peak beside"),
        (gaussian(15.5, 15.5, (31, 31), 1.0), {}, {}, "warned", "is 0.7 pixels off"),
        (gaussian(15, 15, (31, 31), 1.8), {}, {}, "warned", "may be off by some per cent"),
        (gaussian(30, 30, (61, 61), 3.0), {}, {}, "refused", "wanted about 0.246 arcsec"),
        (NARROW, {}, {"psf_scale": 0.02}, "refused", "Give --psf-scale"),
        (gaussian(30, 30, (61, 61), 3.0), WCS_CARDS, {}, None, ""),
        (gaussian(30, 30, (61, 61), 3.0), {"PIXELSCL": 0.0333}, {}, None, ""),
    ],
)
def test_psfs_are_compared_with_the_trainings(folder, image, cards, options, kind, word):
    path = psf_file(folder, image, cards)
    found, said = inspected(folder, psf=path, **options)
    lines = [line for line in said if line.startswith(f"{kind} psf: ") and word in line]
    assert len(lines) == (kind is not None), said
    middle = PSF_SIZE // 2
    assert np.unravel_index(found.psfs[0, 0].argmax(), SIDES) == (middle, middle)


def test_a_psf_may_be_a_plane_of_a_file(folder):
    planes = [fits.ImageHDU(NARROW, name=name) for name in ("SCI", "PSF")]
    planes[0].data = NARROW.T[:, :30]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(folder / "obs.fits")
    for path in ("obs.fits", "obs.fits[PSF]", "obs.fits[2]"):
        assert inspected(folder, psf=f"{folder}/{path}")[0].psfs.shape == (1, 1, *SIDES)
    assert len(run(folder, psf=f"{folder}/obs.fits[PSF]", passes=0))
    fits.append(folder / "obs.fits", NARROW, fits.Header({"EXTNAME": "NIR_PSF"}))
    with pytest.raises(PsfError, match=r"planes PSF, NIR_PSF; wanted one, as FILE\[NAME\]"):
        inspected(folder, psf=folder / "obs.fits")


def test_a_psf_wider_than_the_sharpest_sources_is_said(folder):
    light = sum(900 * gaussian(y, x, SHAPE, 1.0) for y in (9, 80, 170) for x in (12, 90, 160, 240))
    changed(folder, lambda image: NOISE + light)
    assert not kinds(inspected(folder, psf=psf_file(folder, NARROW))[1])
    for sigma, kind in ((1.4, "warned"), (1.65, "refused")):
        psf = psf_file(folder, gaussian(15, 15, (31, 31), sigma), name=f"{sigma}.fits")
        assert "wider than the sharpest of the image's 12" in only(
            inspected(folder, psf=psf)[1], f"{kind} psf: {psf}: the PSF is"
        )


def test_a_psf_sharper_than_stars_is_said(folder):
    """All sources of the folder are as wide as each other, as stars are."""
    psf = psf_file(folder, gaussian(15, 15, (31, 31), 0.8))
    said = inspected(folder, psf=psf)[1]
    assert any("sharper than 44 of the image's 44" in line for line in said), said


@pytest.mark.parametrize("level", [1e-4, -1e-4])
def test_a_sky_in_the_stamp_of_a_psf_is_taken_off(folder, level):
    """A constant of a thousandth of the peak is a tenth of the PSF's light."""
    wings = np.hypot(*(np.indices((31, 31)) - 15)).clip(1) ** -3.0
    psf = NARROW / NARROW.sum() + 0.02 * wings / wings.sum()
    clean, _ = inspected(folder, psf=psf_file(folder, psf))
    found, said = inspected(folder, psf=psf_file(folder, psf + level, name="sky.fits"))
    assert "stands on a constant" in only(said, "corrected psf")
    np.testing.assert_allclose(found.psfs, clean.psfs, rtol=2e-3, atol=0.2 * abs(level))
    assert found.psfs.sum() == pytest.approx(1, abs=1e-6)


def test_the_share_of_light_that_a_psf_holds_is_kept(folder):
    """Its sum, where that is a share, less what lies beyond the stamps that networks know."""
    wide = gaussian(40, 40, (81, 81), 1.0)
    wide[0, 0] = wide.sum() / 99
    for psf, wanted in ((0.96 * NARROW / NARROW.sum(), 0.96), (3 * NARROW, 1.0), (wide, 0.99)):
        psf_file(folder, psf)
        found, _ = inspected(folder, psf=folder / "psf.fits")
        assert found.psfs.sum() == pytest.approx(wanted, abs=1e-5)
        assert found.numbers["encircled_energy"] == pytest.approx(wanted, abs=1e-5)
        (folder / "psf.fits").unlink()


def images(folder, places, cards=lambda x, y: {}, step=0.0):
    """A folder of PSFs, wider towards the right by a step in 100 pixels."""
    (folder / "psfs").mkdir()
    for i, (x, y) in enumerate(places):
        psf = gaussian(10, 10, (21, 21), 1.0 + step * x / 100)
        path = folder / "psfs" / f"{i}.fits"
        fits.writeto(path, psf / psf.sum(), fits.Header(cards(x, y)))
    return folder / "psfs"


PLACES = (60.0, 100.0), (200.0, 100.0)


def places_in(form, psfs):
    """Places of the PSFs in a table of a form."""
    table = Table(
        rows=[(f"{i}.fits", *at) for i, at in enumerate(PLACES)], names=("file", "x", "y")
    )
    if form == "ra":
        wcs = WCS(header())
        table["ra"], table["dec"] = wcs.all_pix2world(table["x"], table["y"], 1)
        table.remove_columns(["x", "y"])
        form = "csv"
    path = psfs / f"places.{form}"
    table.write(path, **({"format": "ascii"} if form == "txt" else {}))


@pytest.mark.parametrize("form", ["headers", "csv", "txt", "fits", "ra", "ecsv"])
def test_psfs_of_a_folder_are_those_of_their_places(folder, form):
    cards = (lambda x, y: {"X": x, "Y": y}) if form == "headers" else lambda x, y: {}
    psfs = images(folder, PLACES, cards, step=0.2)
    if form != "headers":
        places_in(form, psfs)
    found, said = inspected(folder, psf=psfs)
    wanted = [gaussian(10, 10, (21, 21), 1 + 0.2 * x / 100) for x, _ in PLACES]
    wanted = np.pad(np.mean([psf / psf.sum() for psf in wanted], axis=0), (PSF_SIZE - 21) // 2)
    np.testing.assert_allclose(found.psfs[0, 0], wanted, atol=1e-6)
    assert found.psfs.shape == (1, 1, *SIDES) and "sampled at 0.1" in "".join(said)


def test_the_folder_is_measured_with_its_psfs(folder):
    psfs = images(folder, PLACES, lambda x, y: {"X": x, "Y": y})
    assert len(run(folder, psf=psfs, iterations=1))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda psfs: [p.unlink() for p in psfs.iterdir()], "holds no FITS image"),
        (lambda psfs: None, "0.fits: no cards X and Y, or RA and DEC, and no table"),
        (
            lambda psfs: (psfs / "a.csv").write_text("file,x,y\n0.fits,3,4\n"),
            "1.fits: has no place",
        ),
        (lambda psfs: (psfs / "a.csv").write_text("x,y\n3,4\n"), "wanted one called file"),
        (lambda psfs: (psfs / "a.csv").write_text("file,a\n0.fits,4\n"), "wanted x and y, or ra"),
        (lambda psfs: (psfs / "a.csv").write_text("file,x,y\n0.fits,a,b\n"), "hold no numbers"),
        (
            lambda psfs: [(psfs / f"{n}.csv").write_text("file,x,y\n0.fits,3,4\n") for n in "ab"],
            "holds tables a.csv, b.csv; wanted one",
        ),
    ],
)
def test_a_folder_without_psfs_or_places_is_refused(folder, spoil, words):
    psfs = images(folder, PLACES)
    spoil(psfs)
    with pytest.raises(PsfError, match=words):
        inspected(folder, psf=psfs)


def test_psfs_of_two_sizes_are_refused(folder):
    psfs = images(folder, PLACES, lambda x, y: {"X": x, "Y": y})
    small = gaussian(4, 4, (9, 9), 1.0)
    fits.writeto(psfs / "9.fits", small, fits.Header({"X": 1, "Y": 1}))
    with pytest.raises(PsfError, match="9.fits: 9 pixels of 0.1 arcsec; wanted 21 of 0.1"):
        inspected(folder, psf=psfs)


def test_single_pixels_are_said_to_be_cosmic_rays(folder):
    light = 900 * (np.indices(SHAPE) % 40 == 20).all(axis=0)
    changed(folder, lambda image: NOISE + light)
    (line,) = [e for e in inspected(folder, psf=psf_file(folder, NARROW))[1] if "sharpest" in e]
    assert "are they cosmic rays or hot pixels? Mask them" in line
