"""PSFs that examples take by turns, some of which the dithers of a co-add have widened."""

import numpy as np
import pytest
from simulated import VIS, simulate, write_catalogue

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import PSF_SIZE
from vaedeblend.simulate.render import PsfRecipe, make_draw, psf_family, resampled_psf

PSFS = {"n_psfs": 4, "psf_default_share": 0.25}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_catalogue(tmp_path_factory.mktemp("catalogue"))


def test_half_of_a_family_is_of_co_adds(source):
    """Their PSFs are wider, their noise is correlated; the others are as without."""
    alone = simulate("galaxies", 4, source, **PSFS)
    mixed = simulate("galaxies", 4, source, coadd_share=0.5, coadd_exposures=(2, 3), **PSFS)
    for i, (one, other) in enumerate(zip(alone, mixed, strict=True)):
        covariance = other["correlation"][..., 0]
        assert covariance.sum() == pytest.approx(1, abs=1e-6)
        if i % 2:
            assert covariance[5, 5] < 0.97 and covariance.shape == (11, 11)
            assert other["psf"].max() < one["psf"].max()
        else:
            assert covariance[5, 5] == 1
            np.testing.assert_array_equal(other["stamp"], one["stamp"])


@pytest.mark.parametrize(
    "options",
    [{"coadd_share": 1.5}, {"coadd_exposures": (0, 2)}, {"coadd_interpolations": ("cubic",)}],
)
def test_bad_co_adds_are_refused(source, options):
    with pytest.raises(PsfError, match=next(iter(options)).split("_")[1]):
        simulate("galaxies", 4, source, **PSFS, **options)


def test_stars_are_the_psf_of_their_turn(source):
    examples = simulate("galaxies", 4, source, n_companions=8, star_fraction=1.0, **PSFS)
    recipe = PsfRecipe(4, (0.15, 0.25), 0.25)
    psfs = psf_family(VIS, recipe, stamp_size=64, seed=(5, 2, 0, 7)).psfs
    for i, example in enumerate(examples):
        (psf,) = psfs[i % 4]
        np.testing.assert_allclose(
            example["psf"][..., 0], resampled_psf(psf, 0.1, PSF_SIZE), atol=1e-7
        )
        assert example["psf"].sum() == pytest.approx(1, rel=1e-5)
        if example["id"] < 0:
            star = Galaxies(*(np.asarray(example[name], float) for name in Galaxies._fields))
            wanted = make_draw(psfs[i % 4], size=128, pixel_scale=0.1)(star, example["phase"])
            np.testing.assert_allclose(example["stamp"], wanted, atol=1e-3 * wanted.max())
    assert sum(example["id"] < 0 for example in examples) == 8


def test_galaxies_and_fields_have_one_family_of_psfs(source):
    galaxies = simulate("galaxies", 4, source, **PSFS)
    fields = simulate("fields", 8, source, field_magnitude=(24.0, 25.0), **PSFS)
    for i, example in enumerate(fields):
        np.testing.assert_array_equal(example["psf"], galaxies[i % 4]["psf"])
    assert (galaxies[0]["psf"] != galaxies[1]["psf"]).any()
