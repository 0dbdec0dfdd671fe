import numpy as np
from astropy.io import fits
from fitsfolder import folder, network, sky  # noqa: F401

from vaedeblend.cli import commands, main
from vaedeblend.cli.reading.line import make_parsers
from vaedeblend.image.options import ImageOptions, command_line
from vaedeblend.io.folders.digest import digest_file


def test_a_command_line_stands_for_the_call():
    words = [
        "deblend",
        "a b.fits",
        "--out",
        "o",
        "--rms",
        "r.fits",
        "--mask-bits",
        "0",
        "3",
        "--no-add",
        "--tphot",
    ]
    words += ["--catalog", "list.csv", "--iterations", "2", "--gain", "0.0"]
    options = vars(make_parsers(commands.COMMANDS)[0].parse_args(words))
    image, out = options.pop("image"), options.pop("out")
    assert options.pop("command") == "deblend"
    line = command_line(image, out, ImageOptions(**options))
    assert line == (
        "vaedeblend deblend 'a b.fits' --out o --rms r.fits --mask-bits 0 3 --catalog list.csv "
        "--gain 0.0 --iterations 2 --no-add --tphot"
    )
    assert "'(ndarray)'" in command_line(np.zeros(3), out, ImageOptions())


def test_a_catalogue_says_how_and_from_what_it_was_made(folder):
    words = ["deblend", str(folder / "image.fits"), "--rms", str(folder / "rms.fits")]
    assert main([*words, "--out", str(folder / "out")]) == 0
    header = fits.getheader(folder / "out" / "catalog.fits", "CATALOG")
    assert header["COMMAND"].split()[:3] == ["vaedeblend", *words[:2]]
    assert header["WEIGHTS"] == "euclid_vis" and header["DATE"].startswith("20")
    made = dict(header[f"INPUT{i}"].split() for i in range(1, 5))
    assert made["image.fits"] == digest_file(folder / "image.fits")
    assert made["rms.fits"] == digest_file(folder / "rms.fits")
    assert "calibration.json" in made or "config.json" in made
