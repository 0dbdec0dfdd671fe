import tracemalloc

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import NDData
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.exceptions import MosaicError
from vaedeblend.io.mosaic import image_header, open_mosaic, write_given

SHAPE = 30, 40
ALL = slice(0, 30), slice(0, 40)


def sky_header(sip=False):
    wcs = WCS(naxis=2)
    ends = ("-SIP", "-SIP") if sip else ("", "")
    wcs.wcs.ctype = [f"RA---TAN{ends[0]}", f"DEC--TAN{ends[1]}"]
    wcs.wcs.crpix, wcs.wcs.crval = (20, 15), (150, 2)
    wcs.wcs.cdelt = np.array([-1, 1]) * 0.1 / 3600
    header = wcs.to_header(relax=True)
    if sip:
        header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5, "B_0_2": 2e-5})
    return header


@pytest.fixture
def image(rng):
    return rng.normal(size=SHAPE).astype(np.float32)


def written(path, data, header=None, **options):
    fits.writeto(path, data, header, **options)
    return path


def read(path, **options):
    with open_mosaic(path, **options) as mosaic:
        return mosaic.read(*ALL)


def test_window_is_the_images(tmp_path, image):
    with open_mosaic(written(tmp_path / "a.fits", image)) as mosaic:
        assert mosaic.shape == SHAPE and mosaic.path == tmp_path / "a.fits"
        found = mosaic.read(slice(3, 9), slice(5, 40))
    np.testing.assert_array_equal(found.image, image[3:9, 5:])
    assert found.rms is None and not found.bad.any()
    assert found.image.dtype == np.float32 and found.image.dtype.isnative


@pytest.mark.parametrize("dtype", [">f8", ">i2", "u2", "<i4", "u1"])
def test_every_type_of_pixel_becomes_single_precision(tmp_path, rng, dtype):
    data = rng.integers(0, 200, SHAPE).astype(dtype)
    np.testing.assert_array_equal(read(written(tmp_path / "a.fits", data)).image, data)


def test_compressed_files_are_read(tmp_path, rng):
    data = rng.integers(-50, 50, SHAPE).astype(np.int32)
    written(tmp_path / "a.fits.gz", data)
    fits.CompImageHDU(data).writeto(tmp_path / "a.fits.fz")
    for name in ("a.fits.gz", "a.fits.fz"):
        np.testing.assert_array_equal(read(tmp_path / name).image, data)


def test_first_image_of_two_axes_is_taken_unless_another_is_named(tmp_path, image):
    cube, table = fits.ImageHDU(np.zeros((2, 3, 4))), fits.table_to_hdu(Table({"a": [1]}))
    hdus = [fits.PrimaryHDU(), cube, table, fits.ImageHDU(image), fits.ImageHDU(2 * image)]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read(tmp_path / "a.fits").image, image)
    np.testing.assert_array_equal(read(tmp_path / "a.fits", hdu=4).image, 2 * image)
    for number in (1, 2, 7, -1):
        with pytest.raises(MosaicError, match=f"HDU {number} holds no image.*IMAGE"):
            read(tmp_path / "a.fits", hdu=number)


def test_pixels_that_are_of_no_use_are_told(tmp_path, image):
    rms, mask = np.full(SHAPE, 2.0), np.zeros(SHAPE, np.int64)
    image[0, 0], image[0, 1] = np.nan, np.inf
    rms[1, 0], rms[1, 1], rms[1, 2], rms[1, 3] = 0, -1, np.nan, np.inf
    mask[2, 0] = 1 << 40
    paths = {n: written(tmp_path / n, a) for n, a in {"rms": rms, "mask": mask}.items()}
    found = read(written(tmp_path / "a.fits", image), **paths)
    expected = np.zeros(SHAPE, bool)
    expected[0, :2] = expected[1, :4] = expected[2, 0] = True
    np.testing.assert_array_equal(found.bad, expected)
    assert (found.image[expected] == 0).all() and np.isposinf(found.rms[expected]).all()
    assert (found.rms[~expected] == 2).all()


def test_range_is_that_of_the_scaled_unit(tmp_path, image):
    scale, expected = 2.0**100, np.zeros(SHAPE, bool)
    image, rms = image / np.float32(scale), np.full(SHAPE, 1 / scale, np.float32)
    image[0, 0], rms[1, 0], rms[1, 1] = 1e10, 1e10, 0  # the first two overflow when scaled
    expected[0, 0] = expected[1, :2] = True
    path = written(tmp_path / "a.fits", image)
    found = read(path, rms=written(tmp_path / "rms", rms), scale=scale)
    np.testing.assert_array_equal(found.bad, expected)
    assert read(path, rms=tmp_path / "rms").bad.mean() > 0.99


def test_bits_of_a_map_of_flags_may_be_chosen(tmp_path, image):
    flags = np.zeros(SHAPE, np.int32)
    flags[0, :3] = 1, 1 << 24, (1 << 24) + 2
    given = {"mask": written(tmp_path / "mask.fits", flags)}
    path = written(tmp_path / "a.fits", image)
    for bits, expected in ((None, [1, 1, 1]), ([0, 1], [1, 0, 1]), ([24], [0, 1, 1])):
        bad = read(path, mask_bits=bits, **given).bad
        assert bad.sum() == sum(expected) and bad[0, :3].tolist() == expected
    for bit in (-1, 63):
        with pytest.raises(MosaicError, match=f"bit {bit} of the mask; wanted"):
            read(path, mask_bits=[bit], **given)


@pytest.mark.parametrize("name", ["rms", "mask"])
def test_shapes_have_to_agree(tmp_path, image, name):
    other = written(tmp_path / "other.fits", np.ones((30, 41)))
    with pytest.raises(MosaicError, match=r"other.fits: \(30, 41\).*\(30, 40\)"):
        read(written(tmp_path / "a.fits", image), **{name: other})


@pytest.mark.parametrize("content", [None, b"", b"no FITS file", "cut"])
def test_what_is_no_fits_file_is_named(tmp_path, image, content):
    path = tmp_path / "a.fits"
    if content == "cut":
        written(path, np.ones((300, 300)))
        content = path.read_bytes()[:5000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MosaicError, match="a.fits"), open_mosaic(path) as mosaic:
        mosaic.read(slice(290, 300), slice(0, 300))


def test_a_file_without_an_image_is_named(tmp_path):
    fits.table_to_hdu(Table({"a": [1]})).writeto(tmp_path / "a.fits")
    with pytest.raises(MosaicError, match="a.fits.*no image of two axes.*PRIMARY"):
        read(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({}, None),
        ({"MAGZERO": 24.5}, 24.5),
        ({"ZP": 25, "BUNIT": "uJy"}, 25.0),
        ({"MAGZERO": "unknown", "BUNIT": "nJy / pix"}, 31.4),
        ({"BUNIT": "microJy"}, 23.9),
        ({"BUNIT": "Jy"}, 8.9),
        ({"BUNIT": "adu"}, None),
    ],
)
def test_zero_point_is_the_headers_or_the_units(tmp_path, image, cards, expected):
    written(tmp_path / "a.fits", image, fits.Header(cards))
    with open_mosaic(tmp_path / "a.fits") as mosaic:
        assert mosaic.zero_point == expected
    with open_mosaic(tmp_path / "a.fits", zero_point=20.0) as mosaic:
        assert mosaic.zero_point == 20


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("uJy/pixel", u.uJy),
        ("adu", u.adu),
        ("electron", u.electron),
        ("furlongs", None),
        ("week", None),
        ("-1", None),
        ("0", None),
        ("", None),
    ],
)
def test_unit_is_the_headers_where_it_is_one(tmp_path, image, unit, expected):
    written(tmp_path / "a.fits", image, fits.Header({"BUNIT": unit}))
    with open_mosaic(tmp_path / "a.fits") as mosaic:
        assert mosaic.unit == expected


@pytest.mark.parametrize(
    ("cards", "expected"), [({}, None), ({"GAIN": 3.5}, 3.5), ({"GAIN": 0.0, "EGAIN": 2}, 2.0)]
)
def test_gain_is_the_headers(tmp_path, image, cards, expected):
    written(tmp_path / "a.fits", image, fits.Header(cards))
    with open_mosaic(tmp_path / "a.fits") as mosaic:
        assert mosaic.gain == expected
    with open_mosaic(tmp_path / "a.fits", gain=9.0) as mosaic:
        assert mosaic.gain == 9


@pytest.mark.parametrize("given", [{"gain": -1.0}, {"gain": np.nan}, {"zero_point": np.inf}])
def test_numbers_that_cannot_be_are_refused(tmp_path, image, given):
    with pytest.raises(MosaicError, match=f"is {next(iter(given.values()))}; wanted a finite"):
        read(written(tmp_path / "a.fits", image), **given)


@pytest.mark.parametrize("bits", [None, [1]])
def test_flags_that_are_no_number_mask(tmp_path, image, bits):
    flags = np.zeros(SHAPE, np.float32)
    flags[0, :4] = np.nan, np.inf, 2, 4
    given = {"mask": written(tmp_path / "mask.fits", flags), "mask_bits": bits}
    bad = read(written(tmp_path / "a.fits", image), **given).bad
    assert bad[0, :4].tolist() == [True, True, True, bits is None] and not bad[1:].any()


def test_coordinates_and_scale_are_the_headers(tmp_path, image):
    with open_mosaic(written(tmp_path / "a.fits", image, sky_header())) as mosaic:
        assert mosaic.pixel_scale == pytest.approx(0.1)
        np.testing.assert_allclose(mosaic.wcs.all_pix2world(19, 14, 0), (150, 2))
    with open_mosaic(written(tmp_path / "b.fits", image)) as mosaic:
        assert mosaic.wcs is None and mosaic.pixel_scale is None
    broken = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "nonsense", "PIXSCALE": 0.3})
    with open_mosaic(written(tmp_path / "c.fits", image, broken)) as mosaic:
        assert mosaic.wcs is None and mosaic.pixel_scale == 0.3


@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_cards_of_the_primary_header_are_those_of_its_image(tmp_path, image, kind):
    primary = fits.PrimaryHDU(header=fits.Header({"MAGZERO": "25.5", "GAIN": 3.0, "EXPTIME": 9.0}))
    science = kind(image, fits.Header({"BUNIT": "electron/s"}), name="SCI")
    fits.HDUList([primary, science]).writeto(tmp_path / "a.fits")
    with open_mosaic(tmp_path / "a.fits") as mosaic:
        assert (mosaic.zero_point, mosaic.gain, mosaic.header["EXPTIME"]) == (25.5, 3.0, 9.0)
        assert mosaic.facts.origins["gain"] == "GAIN of the primary header"
        assert image_header(mosaic)["GAIN"] == 3.0
        np.testing.assert_array_equal(mosaic.read(*ALL).image.shape, SHAPE)


def test_header_of_results_keeps_distortions_unit_zero_point_and_gain(tmp_path, image):
    header = sky_header(sip=True)
    header.update({"BUNIT": "uJy", "GAIN": 4.0, "OBSERVER": "left behind"})
    with open_mosaic(written(tmp_path / "a.fits", image, header)) as mosaic:
        found, expected = image_header(mosaic), mosaic.wcs.all_pix2world(35, 3, 0)
    np.testing.assert_allclose(WCS(found).all_pix2world(35, 3, 0), expected, rtol=1e-12)
    assert (found["BUNIT"], found["MAGZERO"], found["GAIN"]) == ("uJy", 23.9, 4.0)
    assert "OBSERVER" not in found


def test_a_window_of_a_large_file_costs_no_more_than_itself(tmp_path):
    path = tmp_path / "large.fits"
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32)).header
    header["NAXIS1"] = header["NAXIS2"] = 12_000
    with open(path, "wb") as file:
        file.write(header.tostring().encode())
        file.truncate(2880 * (1 + -(-4 * 12_000**2 // 2880)))
    with open_mosaic(path) as mosaic:
        tracemalloc.start()
        mosaic.read(slice(6000, 6100), slice(6000, 6100))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    ("unit", "noise", "factor"),
    [
        ("MJy/sr", u.Unit("MJy/sr"), 1),
        ("MJy/sr", u.Unit("kJy/sr"), 1e-3),
        ("uJy/pix", u.Unit("uJy/pix"), 1),
        ("uJy", u.Unit("nJy/pix"), 1e-3),
        ("uJy pix-1", u.nJy, 1e-3),
        ("nanomaggies", u.uJy, 1 / 3.631),
        ("counts", u.uJy, 1),
    ],
)
def test_noise_is_brought_to_the_unit_of_a_header(tmp_path, image, in_memory, unit, noise, factor):
    """That of pixels, which need not be one of fluxes; what is not known is taken as it is."""
    header = fits.Header({"BUNIT": unit})
    path = written(tmp_path / "a.fits", image, header)
    given = {"image": fits.PrimaryHDU(image, header) if in_memory else path}
    for form, power in (("rms", 1), ("variance", 2), ("weight", -2)):
        files = write_given(given | {form: np.full(SHAPE, 2.0**power) * noise**power}, tmp_path)
        rms = read(files["image"], **{form: files[form]}).rms
        np.testing.assert_allclose(rms, 2 * factor)


def test_noise_of_another_kind_than_the_image_is_refused(tmp_path, image):
    path = written(tmp_path / "a.fits", image, fits.Header({"BUNIT": "MJy/sr"}))
    with pytest.raises(MosaicError, match="variance: in uJy; wanted MJy2 / sr2, as the image has"):
        write_given({"image": path, "variance": np.ones(SHAPE) * u.uJy}, tmp_path)


def test_an_uncertainty_of_no_kind_is_refused(tmp_path, image):
    with pytest.raises(MosaicError, match="UnknownUncertainty; wanted StdDevUncertainty, Variance"):
        write_given({"image": NDData(image, uncertainty=image)}, tmp_path)
