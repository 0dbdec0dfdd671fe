"""Options of a command from a TOML file, and what ran as such a file."""

import tomllib
from pathlib import Path

import pytest

from vaedeblend.cli import commands, main
from vaedeblend.cli.reading.settings import SETTINGS


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The options that a command's work was given; it does nothing else."""
    given = {}

    def work(**options):
        given.clear()
        given.update(options)
        Path("out").mkdir(exist_ok=True)
        return 3

    for name in ("deblend", "inject", "simulate"):
        command = commands.COMMANDS[name]._replace(run=work)
        monkeypatch.setitem(commands.COMMANDS, name, command)
    for name in ("image.fits", "rms.fits", "weight.fits", "psf.fits"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return given


def settings(text, name="given.toml"):
    with open(name, "w") as file:
        file.write(text)
    return ["--config", name]


GIVEN = """
image = "image.fits"
rms = "rms.fits"
out = "out"
mask-bits = [0, 3]
no-add = true
tphot = true
gain = 2
band = [["NIR-H", "image.fits", "rms.fits", "psf.fits"]]
"""


def test_a_file_gives_options_and_the_command_line_comes_before_it(ran):
    assert main(["deblend", *settings(GIVEN), "--iterations", "2", "--gain", "3"]) == 3
    assert ran["image"] == "image.fits" and ran["mask_bits"] == [0, 3] and ran["passes"] == 0
    assert ran["bands"] == [["NIR-H", "image.fits", "rms.fits", "psf.fits"]]
    assert ran["tphot"] is True and ran["iterations"] == 2 and ran["gain"] == 3.0
    assert ran["tile"] == 4096 and "settings" not in ran
    assert main(["deblend", "rms.fits", *settings(GIVEN)]) == 3 and ran["image"] == "rms.fits"
    assert main(["deblend", *settings(GIVEN), "--weight", "weight.fits"]) == 3
    assert ran["rms"] is None and ran["weight"] == "weight.fits"


def test_options_are_not_shortened(ran, capsys):
    with pytest.raises(SystemExit):
        main(["deblend", "image.fits", "--out", "out", "--conf", settings("iterations = 2")[1]])
    assert "--conf given.toml; nearest is --config" in capsys.readouterr().err and not ran


def test_what_ran_is_written_and_runs_again_from_anywhere(ran, tmp_path, monkeypatch):
    assert main(["deblend", *settings(GIVEN)]) == 3
    first, written = dict(ran), tomllib.loads((tmp_path / "out" / SETTINGS).read_text())
    assert written["image"] == str(tmp_path / "image.fits") and written["mask-bits"] == [0, 3]
    assert written["no-add"] is True and written["weights"] == "euclid_vis"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["deblend", "--config", str(tmp_path / "out" / SETTINGS)]) == 3
    here = {name: str(tmp_path / first[name]) for name in ("image", "rms", "out")}
    here["bands"] = [["NIR-H", *(str(tmp_path / f"{n}.fits") for n in ("image", "rms", "psf"))]]
    assert ran == first | here


def test_what_ran_is_found_again_among_brackets_and_names_that_are_folders(
    ran, tmp_path, monkeypatch
):
    folder = tmp_path / "run[1] of 2"
    for name in ("euclid_vis", "NIR-H"):
        (folder / name).mkdir(parents=True)
    for name in ("image.fits", "psf.fits"):
        (folder / name).touch()
    given = GIVEN.replace('rms = "rms.fits"', f'rms = "{folder}/image.fits[RMS]"')
    monkeypatch.chdir(folder)
    assert main(["deblend", *settings(given.replace('"rms.fits"', '"image.fits[2]"'))]) == 3
    written = tomllib.loads((folder / "out" / SETTINGS).read_text())
    assert written["weights"] == "euclid_vis" and written["image"] == f"{folder}/image.fits"
    assert written["rms"] == f"{folder}/image.fits[RMS]"
    paths = [f"{folder}/{name}" for name in ("image.fits", "image.fits[2]", "psf.fits")]
    assert written["band"] == [["NIR-H", *paths]]


def test_a_band_s_files_have_to_be_there(ran, capsys):
    words = ["deblend", "image.fits", "--out", "out", "--band", "NIR-H", "image.fits", "no.fits"]
    assert main([*words, "rms.fits"]) == 1 and not ran
    assert "no.fits: no such file or folder; wanted one as bands" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["inject", "simulate"])
def test_every_command_that_measures_or_draws_takes_a_file(ran, tmp_path, name):
    text = "seed = 4\nout = 'out'\n" + ("image = 'image.fits'\n" if name == "inject" else "")
    assert main([name, *settings(text)]) == 3
    assert ran["seed"] == 4
    again = dict(ran)
    assert main([name, "--config", str(tmp_path / "out" / SETTINGS)]) == 3
    assert ran["seed"] == 4 and ran.keys() == again.keys()
    assert ran.get("magnitude") == again.get("magnitude")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iteratoins = 3", "given.toml: no option 'iteratoins'; nearest is 'iterations'"),
        ("verbose = true", "no option 'verbose'"),
        ("iterations = 'four'", "given.toml: iterations is 'four'; wanted a whole number"),
        ("iterations = true", "iterations is True; wanted a whole number"),
        ("gain = [1]", "gain is [1]; wanted a number"),
        ("tphot = 1", "tphot is 1; wanted true or false"),
        ("mask-bits = 3", "mask-bits is 3; wanted a list of some numbers"),
        ("band = 3", "band is 3; wanted a list of lists"),
        ("band = [['NIR-H']]", "band is ['NIR-H']; wanted a list of 4 texts"),
        ("rms-kind = 'sky'", "rms-kind is 'sky'; wanted one of auto, background, total"),
        ("weight = 'weight.fits'", "rms and weight are given; wanted one of them"),
        ("rms = ", "given.toml: not TOML"),
    ],
)
def test_what_a_file_says_wrong_is_one_sentence(ran, capsys, text, said):
    start = "image = 'image.fits'\nout = 'out'\n" + ("rms = 'rms.fits'\n" * ("weight" in text))
    assert main(["deblend", *settings(start + text)]) == 1
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1 and not ran


def test_settings_of_others_stay(ran, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SETTINGS).write_text("mine = true")
    assert main(["deblend", *settings(GIVEN)]) == 1 and not ran
    assert "settings.toml: would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "out" / SETTINGS).read_text() == "mine = true"
