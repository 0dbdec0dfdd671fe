import shutil

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.ndimage import minimum_filter

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.euclid.mer.exposures import (
    BAD_COLUMN,
    COSMIC,
    NO_DATA,
    PAD,
    Exposure,
    background_variance,
    coadd,
    expose,
    psf_at,
)
from vaedeblend.exceptions import MerError
from vaedeblend.pixels.coadds import Dithers, noise_autocorrelation
from vaedeblend.simulate.fields import field_header
from vaedeblend.simulate.library import PlacedSources, field_psfs
from vaedeblend.survey import Band, Survey

SURVEY = Survey((Band(n_exposures=1),))
(PSF,) = field_psfs(SURVEY)
SHAPE = 120, 90
PLACE = np.array([61.0, 41.0])


@pytest.fixture(scope="module")
def tile():
    return WCS(field_header(SURVEY, SHAPE))


def star(flux):
    """A star at PLACE."""
    one, none = np.ones(1), np.zeros(1)
    values = {name: one if "ratio" in name else none for name in Galaxies._fields}
    galaxies = Galaxies(
        **values | {"flux_disk": np.array([[flux]]), "flux_bulge": np.zeros((1, 1))}
    )
    pixel = np.rint(PLACE + 0.5).astype(int)
    return PlacedSources(np.array([-1]), galaxies, pixel[None], (PLACE + 0.5 - pixel)[None])


def exposed(tile, n=3, flux=1e4, seed=5):
    return [expose(star(flux), tile, SHAPE, PSF, SURVEY, k, seed=seed) for k in range(n)]


def clean(exposure):
    """Without defects."""
    good = np.where(exposure.flags & (1 << COSMIC), 0, exposure.image)
    return exposure._replace(image=good, flags=np.zeros_like(exposure.flags))


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3"])
def test_a_star_of_a_co_add_is_the_psf_of_its_place(tile, interpolation):
    """Drawn, dithered, turned, interpolated and averaged, against the PSF's own prediction."""
    exposures = exposed(tile, flux=1e6, seed=8)
    made = coadd(exposures, tile, SHAPE, interpolation=interpolation)
    y, x = (round(each) for each in PLACE)
    pointings = [each.wcs for each in exposures]
    psf = psf_at(tile, pointings, PSF, (y, x), interpolation, 33)
    stamp = made.image[y - 16 : y + 17, x - 16 : x + 17] / 1e6
    assert made.exposures[y - 3 : y + 4, x - 3 : x + 4].min() == 3
    np.testing.assert_allclose(stamp, psf, atol=4e-3 * psf.max())
    assert stamp.sum() == pytest.approx(psf.sum(), abs=0.003)


@pytest.mark.skipif(not shutil.which("SWarp"), reason="no SWarp")
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3"])
@pytest.mark.parametrize("combine", ["weighted", "median"])
def test_ours_is_swarp_s_co_add(tile, interpolation, combine):
    options = {"interpolation": interpolation, "combine": combine}
    exposures = exposed(tile, flux=30.0)
    ours, theirs = (
        coadd(exposures, tile, SHAPE, program=program, **options)
        for program in (None, shutil.which("SWarp"))
    )
    inside = np.s_[2:-2, 2:-2]
    difference = np.abs(ours.image - theirs.image)[inside] / SURVEY.rms[0]
    # SWarp's projection is approximate, to a thousandth of a pixel.
    allowed = 0.1 + 3e-3 * ours.image[inside].clip(0) / SURVEY.rms[0]
    whole = minimum_filter(ours.exposures, 7)[inside] == len(exposures)
    assert whole.mean() > 0.05 and (difference < allowed)[whole].all()
    assert (difference < allowed).mean() > 0.99  # its weights fade towards bad pixels


def test_noise_is_white_equivalent_and_correlated_as_predicted(tile):
    """Sky alone: the scatter of pixels and of sums over boxes, of 16 co-adds."""
    pixels, boxes, predicted = [], [], []
    for k in range(16):
        exposures = [
            clean(expose(star(1e-9), tile, SHAPE, PSF, SURVEY, 7 * k + i, seed=3)) for i in range(3)
        ]
        image = coadd(exposures, tile, SHAPE).image[4:-4, 4:-4]
        pixels.append(image.var())
        tiles = image[:112, :80].reshape(7, 16, 5, 16).sum(axis=(1, 3))
        boxes.append(np.mean(tiles**2) / 256)
        shift = [
            -np.array(e.wcs.all_world2pix(*tile.all_pix2world(45, 60, 0), 0))[::-1]
            for e in exposures
        ]
        predicted.append(noise_autocorrelation(Dithers(np.array(shift), "bilinear"))[5, 5])
    white = background_variance(np.array([[3]]), SURVEY, "weighted")[0, 0]
    assert np.mean(boxes) / white == pytest.approx(1, abs=0.18)
    assert np.mean(pixels) / white == pytest.approx(np.mean(predicted), rel=0.02)


def test_bad_pixels_are_left_out_and_their_bits_kept(tile):
    exposures = exposed(tile, flux=1e-9)
    made = coadd(exposures, tile, SHAPE)
    assert all(((each.flags >> bit) & 1).any() for each in exposures for bit in (COSMIC, NO_DATA))
    wanted = {
        bit for each in exposures for bit in (COSMIC, BAD_COLUMN) if (each.flags >> bit & 1).any()
    }
    assert ((made.flags >> NO_DATA & 1 > 0) == (made.exposures == 0)).all()
    assert {bit for bit in (COSMIC, BAD_COLUMN) if (made.flags >> bit & 1).any()} == wanted
    assert set(np.unique(made.exposures)) >= {2, 3}
    sky = made.image[(made.flags >> COSMIC) & 1 > 0]
    assert np.abs(sky).max() < 20 * SURVEY.rms[0]


def test_a_pixel_without_exposure_is_dark_and_flagged(tile):
    (only,) = exposed(tile, 1)
    dead = only._replace(flags=np.full_like(only.flags, 1 << NO_DATA))
    made = coadd([dead], tile, SHAPE, combine="median")
    assert not made.image.any() and not made.exposures.any()
    assert ((made.flags >> NO_DATA) & 1).all()
    assert np.isinf(background_variance(made.exposures, SURVEY, "median")).all()


def test_an_unknown_combination_is_refused(tile):
    flat = Exposure(np.zeros((SHAPE[0] + 2 * PAD, SHAPE[1] + 2 * PAD)), np.zeros(0, int), tile)
    with pytest.raises(MerError, match="combine is 'sum'; wanted weighted or median"):
        coadd([flat], tile, SHAPE, combine="sum")


def test_a_program_that_fails_is_named(tile):
    with pytest.raises(MerError, match="wanted a co-add"):
        coadd(exposed(tile, 1), tile, SHAPE, program=shutil.which("false"))
