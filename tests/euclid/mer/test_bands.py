import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.cli import main
from vaedeblend.euclid.mer.bands import TELESCOPES, band_psfs, expose_band
from vaedeblend.euclid.mer.layout import find_tile, product_name, tile_bands
from vaedeblend.euclid.mer.simulate import simulate_tile
from vaedeblend.exceptions import MerError, VaedeblendError
from vaedeblend.image.bands.inputs import tile_images
from vaedeblend.pixels.psf import effective_fwhm
from vaedeblend.pixels.psfs.product import read_psf_product
from vaedeblend.simulate.library import PlacedSources
from vaedeblend.survey import magnitude_to_flux

H = TELESCOPES["NIR-H"]


def star(flux, shape):
    """One star near the middle, of fluxes in two bands."""
    light, none = np.array([[1.0, flux]]), np.zeros((1, 2))
    point, round_, angle = np.zeros(1), np.ones(1), np.zeros(1)
    galaxies = Galaxies(none, light, point, point, round_, round_, angle, angle)
    pixel = np.array([[shape[0] // 2, shape[1] // 2]])
    return PlacedSources(np.array([-1]), galaxies, pixel, np.array([[0.2, -0.3]], np.float32))


@pytest.mark.parametrize(("name", "fwhm"), [("NIR-H", 0.5), ("EXT-G", 0.8)])
def test_psfs_are_as_wide_as_those_of_the_surveys(name, fwhm):
    _, stamp = band_psfs(TELESCOPES[name], 0.1)
    assert 0.93 < stamp.sum() < 1
    assert 0.1 * effective_fwhm(stamp[None])[0] == pytest.approx(fwhm, rel=0.15)


@pytest.mark.slow
def test_a_star_has_its_flux_and_place_and_the_noise_its_depth():
    shape, quiet = (96, 90), H._replace(rms=1e-6, gain=1e12)
    sources, drawing = star(300.0, shape), {"pixel_scale": 0.1, "seed": 3}
    made = expose_band(sources, shape, quiet, 1, **drawing)
    assert made.image.sum() == pytest.approx(300, rel=0.02)
    y, x = np.indices(shape)
    place = [(made.image * axis).sum() / made.image.sum() for axis in (y, x)]
    assert place == pytest.approx(sources.position[0], abs=0.03)
    assert made.image.max() / 300 == pytest.approx(made.psf.max(), rel=0.05)
    noisy = expose_band(star(1e-9, shape), shape, H, 1, **drawing)
    boxes = noisy.image[:90, :90].reshape(3, 30, 3, 30).sum(axis=(1, 3))
    assert boxes.std() == pytest.approx(30 * H.rms, rel=0.6)
    assert noisy.image.std() < 0.7 * H.rms  # of neighbouring pixels, correlated
    assert (noisy.rms >= H.rms).all() and made.rms.shape == shape


def test_bands_of_a_tile_are_found_by_their_names(tmp_path):
    for band in ("VIS", "NIR-H", "DES-G"):
        for kind in ("image", "rms", "grid_psf"):
            (tmp_path / product_name(kind, 102_000_001, "20260101T000000.0", band=band)).touch()
    assert tile_bands(tmp_path) == ["DES-G", "NIR-H", "VIS"]
    g, h = tile_images(tmp_path)
    assert (g.name, h.name) == ("DES-G", "NIR-H") and "GRID-PSF-NIR-H" in h.psf.name
    assert tile_images(tmp_path, ["NIR-H"]) == [h] and h.mask is None
    with pytest.raises(MerError, match="MOSAIC-NIR-Y"):
        tile_images(tmp_path, ["NIR-Y"])


@pytest.mark.slow
def test_a_tile_has_products_of_all_bands(tmp_path):
    words = "simulate --style mer --size 128 --seed 4 --bands VIS,NIR-H,EXT-G --processes 1"
    assert main([*words.split(), "--out", str(tmp_path)]) == 0
    assert tile_bands(tmp_path) == ["EXT-G", "NIR-H", "VIS"]
    truth = Table.read(find_tile(tmp_path).image.parent / "truth.fits")
    assert truth["flux"].shape[1:] == (3,)
    images = tile_images(tmp_path)
    assert [each.name for each in images] == ["EXT-G", "NIR-H"]
    assert tile_images(tmp_path, ["NIR-H"]) == [images[1]]
    tile = find_tile(tmp_path, band="NIR-H")
    header = fits.getheader(tile.image)
    assert header["MAGZERO"] == H.zero_point and header["FILTER"] == "NIR_H"
    assert read_psf_product(tile.psf, fits.getdata(tile.image).shape).stamps.shape == (1, 33, 33)
    unit = magnitude_to_flux(H.zero_point)
    assert unit * np.median(fits.getdata(tile.rms)) == pytest.approx(H.rms, rel=0.2)


@pytest.mark.slow
def test_vis_is_the_same_with_and_without_other_bands(tmp_path):
    words = ["simulate", "--style", "mer", "--size", "128", "--seed", "4", "--processes", "1"]
    main([*words, "--out", str(tmp_path / "one")])
    main([*words, "--out", str(tmp_path / "two"), "--bands", "VIS,NIR-H"])
    one, two = (find_tile(tmp_path / name) for name in ("one", "two"))
    for a, b in ((one.image, two.image), (one.rms, two.rms), (one.psf, two.psf)):
        assert a.read_bytes() == b.read_bytes()


def test_bands_that_there_are_not_are_refused(tmp_path, capsys):
    with pytest.raises(MerError, match=r"band 'NIR-K'; wanted some of VIS, NIR-Y"):
        simulate_tile(tmp_path, bands=["NIR-K"])
    assert main(["simulate", "--out", str(tmp_path), "--bands", "VIS,NIR-H"]) == 1
    assert "has VIS alone" in "".join(capsys.readouterr())
    with pytest.raises(VaedeblendError, match="holds no band of MER beside VIS"):
        tile_images(tmp_path)
