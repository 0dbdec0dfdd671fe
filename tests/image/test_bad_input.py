"""What users bring: every image gives a result or an error of one line, and never half a file."""

import errno
import json
import os
import resource
import signal
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import network  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matched import gaussian

from vaedeblend.cli import main
from vaedeblend.image import measure
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.io import write

SHAPE = 100, 120
PLACES = np.array([[40.5, 50.5], [43.5, 60.5], [70.5, 90.5]])
IMAGES = "model.fits", "residual.fits", "segmentation.fits"
FILES = "stamps.fits", "catalog.fits", "sources.reg", "index.html", "summary.json"

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture
def image():
    noise = np.random.default_rng(0).normal(0, 0.3, SHAPE)
    return (noise + sum(200 * gaussian(*at, SHAPE) for at in PLACES)).astype(np.float32)


@pytest.fixture
def give(tmp_path):
    """Writes an array under a name, and gives its path."""

    def written(name, data, header=None):
        fits.writeto(tmp_path / name, data, header)
        return tmp_path / name

    return written


def result(path, out, shape=SHAPE, **options):
    """The catalogue; all files are there, whole, and nothing else is."""
    deblend_image(path, out, **options)
    for name in IMAGES:
        assert fits.getdata(out / name).shape == shape
    extra = set() if "rms" in options else {"background.fits", "rms.fits"}
    names = {each.name for each in out.iterdir()}
    light_is_left = "sky_low" in json.loads((out / "summary.json").read_text())["measured"]
    assert names == {*IMAGES, *FILES} | extra | ({"sky.fits"} if light_is_left else set())
    return Table.read(out / "catalog.fits", hdu="CATALOG")


def refused(capsys, path, out, *arguments):
    """What the command says, in one line, of input that it cannot use."""
    assert main(["deblend", str(path), "--out", str(out), *map(str, arguments)]) == 1
    said = capsys.readouterr().err.strip()
    last = said.splitlines()[-1]
    assert last.startswith("error:") and "Traceback" not in said
    assert not list(out.glob("*.partial")) and not (out / "catalog.fits").exists()
    return last


def rms_of(give, value=0.3):
    return give("rms.fits", np.full(SHAPE, value, np.float32))


def test_without_coordinates_there_are_no_ra_and_dec(give, image, tmp_path):
    table = result(give("a.fits", image), tmp_path / "out", rms=rms_of(give))
    assert len(table) == len(PLACES)
    for name in ("ra", "dec", "mag"):  # astropy reads NaN as masked
        assert np.ma.getmaskarray(table[name]).all()
    assert table["half_light_radius"].unit == "pix"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_ignored(give, image, tmp_path, value):
    image[:, 100:104], image[5:9, 5:9] = value, value
    table = result(give("a.fits", image), tmp_path / "out", rms=rms_of(give))
    assert len(table) == len(PLACES) and np.isfinite(table["flux"]).all()


def test_an_image_without_a_valid_pixel_has_no_sources(give, image, tmp_path):
    mask = give("mask.fits", np.ones(SHAPE, np.uint8))
    path = give("a.fits", image)
    assert not len(result(path, tmp_path / "one", rms=rms_of(give), mask=mask))
    assert not len(result(path, tmp_path / "two", mask=mask))
    assert not len(result(give("b.fits", np.full(SHAPE, np.nan)), tmp_path / "three"))


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_constant_image_has_no_sources(give, tmp_path, level):
    path = give("a.fits", np.full(SHAPE, level, np.float32))
    assert not len(result(path, tmp_path / "out"))


@pytest.mark.parametrize("dtype", [np.int16, ">i4", np.uint8, ">f8"])
def test_every_type_of_pixel_will_do(give, image, tmp_path, dtype):
    data = (image * 4 + 20).clip(0, 250).astype(dtype)
    assert len(result(give("a.fits", data), tmp_path / "out")) >= len(PLACES) - 1


def test_compressed_images_and_images_in_extensions_will_do(give, image, tmp_path):
    rms = rms_of(give)
    give("a.fits.gz", image)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(3 * image)]
    fits.HDUList(hdus).writeto(tmp_path / "c.fits")
    fits.CompImageHDU(np.rint(100 * image).astype(np.int32)).writeto(tmp_path / "b.fits.fz")
    flux = [
        result(tmp_path / name, tmp_path / f"out{i}", rms=rms)["flux"]
        for i, name in enumerate(("a.fits.gz", "c.fits"))
    ]
    np.testing.assert_array_equal(*flux)
    third = result(tmp_path / "c.fits", tmp_path / "out3", rms=rms, hdu=2)
    np.testing.assert_allclose(np.sort(third["flux"])[-3:], 3 * np.sort(flux[0])[-3:], rtol=0.1)
    assert len(result(tmp_path / "b.fits.fz", tmp_path / "out4")) >= len(PLACES) - 1


def test_an_image_smaller_than_a_stamp_will_do(give, image, tmp_path):
    small, rms = image[25:60, 30:80], np.full((35, 50), 0.3, np.float32)
    options = {"shape": (35, 50), "rms": give("rms.fits", rms)}
    assert len(result(give("a.fits", small), tmp_path / "out", **options)) >= 2


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_no_pixel_has_a_usable_rms(give, image, tmp_path, value):
    path = give("a.fits", image)
    assert not len(result(path, tmp_path / "out", rms=rms_of(give, value)))


def test_an_rms_of_another_shape_is_refused(give, image, tmp_path, capsys):
    rms = give("rms.fits", np.ones((100, 121)))
    said = refused(capsys, give("a.fits", image), tmp_path / "out", "--rms", rms)
    assert "rms.fits" in said and "(100, 121)" in said and "(100, 120)" in said


def test_a_psf_may_have_another_pixel_scale_and_has_to_be_one(give, image, tmp_path, capsys):
    path, rms = give("a.fits", image), rms_of(give)
    fine = give("fine.fits", gaussian(30, 30, (61, 61), 6.0), fits.Header({"PIXSCALE": 0.02}))
    assert len(result(path, tmp_path / "out", rms=rms, psf=fine)) == len(PLACES)
    for name, data in {"even": np.ones((30, 30)), "dark": np.zeros((31, 31))}.items():
        psf = give(f"{name}.fits", data)
        said = refused(capsys, path, tmp_path / name, "--rms", rms, "--psf", psf)
        assert f"{name}.fits" in said


def test_other_pixel_scales_than_the_weights_are_refused(give, image, tmp_path, capsys):
    path = give("a.fits", image, fits.Header({"PIXSCALE": 0.2}))
    said = refused(capsys, path, tmp_path / "out", "--rms", rms_of(give))
    assert "0.2 arcsec" in said and "0.1 arcsec" in said


def test_rows_without_a_place_on_the_image_are_kept_and_a_list_may_be_empty(give, image, tmp_path):
    path, rms = give("a.fits", image), rms_of(give)
    far = Table({"x": [-40.0, 50.5, 1e9, np.nan, 60.5], "y": [20.0, 40.5, 3.0, 5.0, 43.5]})
    far = Table(far, masked=True)
    far["y"].mask = [False] * 4 + [True]
    for name, table in {"far": far, "none": far[:0]}.items():
        table.write(tmp_path / f"{name}.ecsv")
        found = result(path, tmp_path / name, rms=rms, catalog=tmp_path / f"{name}.ecsv", passes=0)
        np.testing.assert_array_equal(found["input_row"], np.arange(len(table)))
        here = np.arange(len(table)) == 1
        np.testing.assert_array_equal(np.isfinite(np.ma.filled(found["flux"], np.nan)), here)
        np.testing.assert_array_equal(found["flags"] == 32, ~here)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.ecsv", ""),
        ("list.ecsv", "no table"),
        ("list.ecsv", "a b\n1 2\n"),
        ("list.csv", "x,y\n1,north\n"),
        ("list.fits", "no table"),
        ("list.csv", "ra,dec\n150.1,2.2\n"),
    ],
)
def test_a_list_without_positions_is_refused(give, image, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    arguments = "--rms", rms_of(give), "--catalog", tmp_path / name
    assert name in refused(capsys, give("a.fits", image), tmp_path / "out", *arguments)


def test_a_list_of_arrays_is_refused(give, image, tmp_path, capsys):
    Table({"x": np.ones((2, 3)), "y": np.ones(2)}).write(tmp_path / "list.fits")
    arguments = "--rms", rms_of(give), "--catalog", tmp_path / "list.fits"
    said = refused(capsys, give("a.fits", image), tmp_path / "out", *arguments)
    assert "column x of 2 axes" in said


@pytest.mark.parametrize(
    "option", ["--iterations", "--looks", "--tile", "--processes", "--psf-scale"]
)
@pytest.mark.parametrize("value", [0, -2])
def test_counts_and_scales_have_to_be_positive(give, image, tmp_path, capsys, option, value):
    psf = give("psf.fits", gaussian(15, 15, (31, 31)))
    arguments = "--rms", rms_of(give), "--psf", psf, option, value
    said = refused(capsys, give("a.fits", image), tmp_path / "out", *arguments)
    assert f"is {value}" in said


def test_results_do_not_take_the_place_of_what_they_are_made_from(give, image, tmp_path, capsys):
    path = give("model.fits", image)
    arguments = ["deblend", str(path), "--out", str(tmp_path)]
    assert main(arguments) == 1
    assert "model.fits: would be overwritten" in capsys.readouterr().err
    np.testing.assert_array_equal(fits.getdata(path), image)
    assert [each.name for each in tmp_path.iterdir()] == ["model.fits"]


def test_an_interrupted_command_says_so(give, image, tmp_path, capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure_field", interrupted)
    assert main(["deblend", str(give("a.fits", image)), "--out", str(tmp_path / "out")]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="no limits of file sizes")
@pytest.mark.parametrize("kilobytes", [1, 20, 60])
def test_files_that_cannot_grow_leave_nothing_half_written(
    give, image, tmp_path, capsys, kilobytes
):
    path, rms, out = give("a.fits", image), rms_of(give), tmp_path / "out"
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.SIGXFSZ
    before = signal.signal(handler, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000 * kilobytes, limit[1]))
        assert main(["deblend", str(path), "--rms", str(rms), "--out", str(out), "--tphot"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(handler, before)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error:") and "could not be written" in said
    assert not list(out.rglob("*.partial"))
    for each in out.glob("*.fits"):
        with fits.open(each) as hdus:
            hdus.verify("exception")
    found = result(path, out, rms=rms)  # there is place again
    assert len(found) == len(PLACES)


def test_missing_files_and_folders_that_cannot_be_written_are_named(give, image, tmp_path, capsys):
    assert "gone.fits" in refused(capsys, tmp_path / "gone.fits", tmp_path / "out")
    path = give("a.fits", image)
    assert "a.fits/out" in refused(capsys, path, path / "out", "--rms", rms_of(give))


@pytest.mark.parametrize("writer", ["write_image", "write_tables"])
def test_a_full_disk_leaves_no_half_written_file(
    give, image, tmp_path, capsys, monkeypatch, writer
):
    def full(path, *args, **options):
        with write.replacing(path) as partial:
            partial.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, writer, full)
    said = refused(capsys, give("a.fits", image), tmp_path / "out", "--rms", rms_of(give))
    assert "No space left" in said and ".fits" in said


NAMES = "CTYPE1 CTYPE2 CRVAL1 CRVAL2 CDELT1 CRPIX2 CUNIT1 CD1_1 PV1_1 A_ORDER LONPOLE RADESYS"
NAMES += " BUNIT GAIN MAGZERO PIXSCALE BSCALE BZERO EXTNAME"
WORDS = "RA---TAN", "DEC--TAN", "DEC--TAN-SIP", "GLON-CAR", "ICRS", "deg", "uJy", "adu", ""
CARDS = st.dictionaries(
    st.sampled_from(NAMES.split()),
    st.one_of(
        st.sampled_from(WORDS),
        st.floats(-1e3, 1e3),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.integers(-5, 5),
        st.booleans(),
    ),
    max_size=8,
)
VALUES = st.one_of(
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e-30, 1e30, -1e30, 7.0]), st.floats(width=32)
)
SPANS = [st.integers(0, n) for n in SHAPE]
BOXES = st.lists(st.tuples(SPANS[0], SPANS[0], SPANS[1], SPANS[1], VALUES), max_size=4)


def spoilt(array, boxes):
    array = array.copy()
    for top, bottom, left, right, value in boxes:
        array[top:bottom, left:right] = value
    return array


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # the same answer for the same code
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cards=CARDS, boxes=BOXES, rms_boxes=st.one_of(st.none(), BOXES), tphot=st.booleans())
def test_odd_headers_and_pixels_give_a_result_or_an_error(
    tmp_path_factory, image, cards, boxes, rms_boxes, tphot
):
    folder = tmp_path_factory.mktemp("fuzz")
    with warnings.catch_warnings():  # of astropy, while it writes such a file
        warnings.simplefilter("ignore")
        hdu = fits.PrimaryHDU(spoilt(image, boxes), fits.Header(cards))
        hdu.writeto(folder / "a.fits", output_verify="ignore")
    arguments = ["deblend", str(folder / "a.fits"), "--out", str(folder / "out")]
    if rms_boxes is not None:
        rms = spoilt(np.full(SHAPE, 0.3, np.float32), rms_boxes)
        fits.writeto(folder / "rms.fits", rms)
        arguments += ["--rms", str(folder / "rms.fits")]
    status = main(arguments + tphot * ["--tphot"])
    assert status in (0, 1, 3) and not list(folder.rglob("*.partial"))
    assert (folder / "out" / "index.html").exists() == (status != 1)
    if status != 1:
        table = Table.read(folder / "out" / "catalog.fits", hdu="CATALOG")
        assert np.isfinite(table["x"]).all() and np.isfinite(table["y"]).all()
        measured = np.isfinite(np.ma.filled(table["flux"], np.nan))
        assert (measured | (table["flags"] > 0)).all()
