from pathlib import Path

import numpy as np
from astropy.io import fits
from fitsfolder import folder, network, sky  # noqa: F401

from vaedeblend.cli import commands, main
from vaedeblend.cli.reading.line import make_parsers
from vaedeblend.image.options import ImageOptions, command_line, psf_record, weights_files
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


def test_a_psf_is_recorded_so_that_it_is_found_from_anywhere(folder, monkeypatch):
    monkeypatch.chdir(folder)
    out, options = Path("out"), ImageOptions(psf="psf.fits", psf_scale=0.05)
    assert psf_record(options, out) == {"PSF": str(folder / "psf.fits"), "PSFSCALE": "0.05"}
    given = ImageOptions(psf=folder / "out" / "given" / "psf.fits")
    assert psf_record(given, out) == {"PSF": "given/psf.fits"}
    assert psf_record(ImageOptions(), out) == {}


def test_weights_are_all_files_that_a_deblender_is_made_of():
    names = {
        "/".join(p.parts[p.parts.index("euclid_vis") + 1 :]) for p in weights_files("euclid_vis")
    }
    assert names == {
        *("config.json", "psf.fits", "blended/calibration.json"),
        *("blended/checkpoints", "companions/checkpoints"),
    }
