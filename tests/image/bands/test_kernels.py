import numpy as np
import pytest
from banded import BAND_SIGMA, VIS_SIGMA, gaussian
from scipy import fft
from scipy.signal import fftconvolve

from vaedeblend.exceptions import PsfError
from vaedeblend.image.bands.fitting.kernels import (
    KERNEL,
    PsfField,
    check_wider,
    make_kernels,
    matching_kernel,
    on_pixels,
)
from vaedeblend.pixels.psf import make_psf

STILL = np.eye(2)


def field(*sigmas, step=0.1, side=41):
    grid = [[make_psf(gaussian(side, sigma, step), step) for sigma in sigmas]]
    return PsfField(grid, (100, 100 * len(sigmas)), 0.1)


def test_a_kernel_brings_one_psf_to_the_other():
    vis, band = field(VIS_SIGMA), field(BAND_SIGMA)
    narrow, wide = (on_pixels(each.psfs[0], 0.1, STILL) for each in (vis, band))
    kernel = matching_kernel(narrow, wide)
    assert kernel.sum() == pytest.approx(1)
    expected = gaussian(KERNEL, np.sqrt(BAND_SIGMA**2 - VIS_SIGMA**2))
    assert np.abs(kernel - expected).max() < 0.003 * expected.max()


def test_a_kernel_of_one_psf_changes_nothing():
    psf = on_pixels(field(VIS_SIGMA).psfs[0], 0.1, STILL)
    kernel = matching_kernel(psf, psf)
    again = fftconvolve(psf, kernel, "same")
    assert np.abs(again - psf).max() < 0.01 * psf.max()


def test_a_finer_and_a_turned_psf_are_brought_to_the_pixels():
    psf = make_psf(gaussian(121, BAND_SIGMA, 0.03), 0.03)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    for matrix in (STILL, turn):
        found = on_pixels(psf, 0.1, matrix)
        assert np.abs(found - gaussian(KERNEL, BAND_SIGMA)).max() < 1e-4 * found.max()


def test_light_that_a_stamp_lacks_is_in_wings_about_it():
    psf = make_psf(0.95 * gaussian(21, BAND_SIGMA), 0.1)
    found = on_pixels(psf, 0.1, STILL)
    inner = found[KERNEL // 2 - 10 : KERNEL // 2 + 11, KERNEL // 2 - 10 : KERNEL // 2 + 11]
    assert found.sum() == pytest.approx(1) and inner.sum() == pytest.approx(0.95, rel=1e-3)
    assert found[KERNEL // 2, KERNEL // 2 + 11] > 2 * found[KERNEL // 2, -1] > 0


def test_each_part_of_the_images_has_its_kernel():
    vis, band = field(VIS_SIGMA, 1.2 * VIS_SIGMA), field(BAND_SIGMA)
    place = np.array([[50.0, 20.0], [50.0, 180.0], [10.0, 30.0]])
    kernels = make_kernels(vis, band, STILL, place, place)
    rows, size = np.arange(3), KERNEL
    one, other, same = (
        fft.irfft2(t, (size, size)) for t in kernels.transfers(rows, rows < 0, size)
    )
    assert np.array_equal(one, same) and one.max() < other.max()
    points = fft.irfft2(kernels.transfers(rows, rows >= 0, size), (size, size))
    assert np.abs(points - gaussian(KERNEL, BAND_SIGMA)).max() < 1e-6
    assert kernels.mismatch < 0.01


def test_a_psf_narrower_than_vis_is_refused():
    check_wider("h", field(VIS_SIGMA), field(BAND_SIGMA))
    with pytest.raises(PsfError, match=r"h: PSF of .* wanted one at least as wide as VIS's"):
        check_wider("h", field(BAND_SIGMA), field(VIS_SIGMA))
