import jax.numpy as jnp
import numpy as np
import pytest
from galleries import (
    gaussians,
    marked_gallery,
    round_psfs,
)

from vaedeblend.models.vae import psf_features
from vaedeblend.training.gallery import make_gallery


def test_gallery_puts_central_galaxies_first():
    stamps, phase = np.ones((6, 4, 4, 1)), np.zeros((6, 2))
    central = np.array([False, True, False, True, True, False])
    flux = np.arange(6.0)[:, None]
    gallery, n_central = make_gallery(stamps, phase, flux, central, round_psfs(1))
    assert n_central == 3
    np.testing.assert_array_equal(gallery.flux[:, 0], [1, 3, 4, 0, 2, 5])


@pytest.mark.parametrize(
    ("n_psfs", "sheets", "message"),
    [
        (2, None, "gallery has 3 central galaxies; wanted a multiple of its 2 PSFs"),
        (3, None, "gallery has 4 companions; wanted a multiple of its 3 PSFs"),
        (1, np.zeros((2, 8, 8, 1)), None),
    ],
)
def test_gallery_wants_as_many_of_every_psf(n_psfs, sheets, message):
    arrays = np.ones((7, 4, 4, 1)), np.zeros((7, 2)), np.ones((7, 1)), np.arange(7) < 3
    if message is None:
        assert len(make_gallery(*arrays, round_psfs(n_psfs), sheets)[0].fields) == 2
    else:
        with pytest.raises(ValueError, match=message):
            make_gallery(*arrays, round_psfs(n_psfs), sheets)


def test_gallery_wants_as_many_sheets_of_every_psf():
    arrays = np.ones((4, 4, 4, 1)), np.zeros((4, 2)), np.ones((4, 1)), np.arange(4) < 2
    with pytest.raises(ValueError, match="gallery has 3 sheets; wanted a multiple of its 2 PSFs"):
        make_gallery(*arrays, round_psfs(2), np.zeros((3, 8, 8, 1)))


def test_gallery_tells_its_psfs_features():
    marked = marked_gallery()
    np.testing.assert_allclose(marked.psf, psf_features(jnp.asarray(round_psfs(3))), atol=1e-4)
    assert (np.diff(marked.psf[:, 0]) > 0.1).all()


def test_width_is_the_gaussians_own():
    gallery, width = gaussians()
    np.testing.assert_allclose(gallery.width, width, rtol=1e-3)
