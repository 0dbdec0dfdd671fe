"""What the command line answers, and where: versions, errors, quiet and verbose runs, and paths."""

import subprocess
import sys

import pytest

from vaedeblend import __version__
from vaedeblend.cli import commands, main
from vaedeblend.cli.console import console, progress_bars, say
from vaedeblend.cli.reading.line import make_parsers


@pytest.fixture
def work(monkeypatch):
    """Puts a function in the place of a command's work."""

    def put(name, run):
        monkeypatch.setitem(commands.COMMANDS, name, commands.COMMANDS[name]._replace(run=run))

    return put


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.fits"
    path.touch()
    return path


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"vaedeblend {__version__}\n"


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "vaedeblend", "deblend", "nothere.fits", "--out", "nowhere"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and not done.stdout
    wanted = "error: nothere.fits: no such file or folder; wanted one as image"
    assert done.stderr.strip() == wanted


def test_a_path_that_leads_nowhere_is_answered_before_anything_slow_is_imported():
    code = "import sys; from vaedeblend.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    words = ["deblend", __file__, "--rms", "nothere.fits[RMS]", "--out", "nowhere"]
    words = [sys.executable, "-c", code, *words]
    done = subprocess.run(words, capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "nothere.fits[RMS]: no such file" in done.stderr and "vaedeblend" in loaded
    assert not loaded & {"jax", "scipy", "sep", "galsim", "matplotlib", "flax"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--psf", "lost.fits"], "lost.fits: no such file or folder; wanted one as psf"),
        (["--weights", "lost"], "lost/config.json: not found; wanted the workdir"),
        (["--config", "lost.toml"], "lost.toml: could not be read (No such file or directory)"),
    ],
)
def test_errors_are_on_stderr(capsys, image, tmp_path, words, said):
    assert main(["deblend", str(image), "--out", str(tmp_path / "out"), *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and said in captured.err and not captured.out
    assert not (tmp_path / "out").exists()


def test_a_misspelt_option_has_its_own_commands_usage_and_a_hint(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["deblend", "a.fits", "--rsm", "b.fits", "--out", "out"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("usage: vaedeblend deblend")
    assert "unrecognized arguments: --rsm b.fits; nearest is --rms" in said


@pytest.mark.parametrize("word", ["--variance", "--mask-bits", "--nothing"])
def test_an_option_that_is_near_no_other_has_no_hint(capsys, word):
    with pytest.raises(SystemExit):
        main(["photometry", "out", "--image", "a.fits", word, "0"])
    said = capsys.readouterr().err
    assert f"unrecognized arguments: {word} 0" in said and "nearest" not in said


def test_help_has_defaults_and_an_example():
    texts = {name: each.format_help() for name, each in make_parsers(commands.COMMANDS)[1].items()}
    for name, command in commands.COMMANDS.items():
        assert f"example:\n  {command.example}" in texts[name]
        assert command.example.startswith(f"vaedeblend {name}")
    flat = " ".join(texts["inject"].split())
    for default in ("4096", "euclid_vis", "22.0 26.0", "auto"):
        assert f"(default: {default})" in flat
    assert "None" not in flat and "False" not in flat


@pytest.mark.parametrize("words", [[], ["-q"]])
def test_what_is_warned_of_is_on_stderr(work, capsys, words):
    work("weights", lambda **_: say(["assumed: no gain", "warned: pixels are lost"]))
    assert main([*words, "weights", "list"]) == 0
    said = capsys.readouterr()
    assert said.err == "warned: pixels are lost\n"
    assert said.out == ("" if words else "assumed: no gain\n")


def test_a_quiet_command_shows_warnings_and_errors_alone(work, capsys):
    def run(**options):
        console.print("a result")
        raise ValueError("a mistake")

    work("weights", run)
    assert main(["weights", "list"]) == 1
    assert capsys.readouterr().out == "a result\n"
    for words in (["-q", "weights", "list"], ["weights", "--quiet", "list"]):
        assert main(words) == 1
        captured = capsys.readouterr()
        assert not captured.out and captured.err == "error: a mistake\n"


def test_a_verbose_command_shows_seconds_and_where_an_error_comes_from(work, capsys):
    def run(**options):
        with progress_bars() as report:
            report("measuring", 0, 2)
            report("measuring", 2, 2)
        raise ValueError("a mistake")

    work("weights", run)
    assert main(["-v", "weights", "list"]) == 1
    captured = capsys.readouterr()
    assert "measuring: 0.0 s" in captured.out
    assert "Traceback" in captured.err and captured.err.endswith("error: a mistake\n")
    assert main(["weights", "list"]) == 1
    captured = capsys.readouterr()
    assert "0.0 s" not in captured.out and "Traceback" not in captured.err


def test_ctrl_c_ends_any_command_in_a_line(work, capsys):
    def interrupted(**options):
        raise KeyboardInterrupt

    for name, words in {"train": ["--workdir", "w"], "weights": ["list"]}.items():
        work(name, interrupted)
        assert main([name, *words]) == 130
        assert capsys.readouterr().err == "interrupted: the same command goes on\n"


def test_ctrl_c_is_answered_while_the_command_is_imported(monkeypatch, capsys):
    class Interrupted:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setattr("vaedeblend.cli.commands", Interrupted())
    assert main(["weights", "list"]) == 130
    assert capsys.readouterr().err == "interrupted: nothing had begun\n"


def test_shipped_weights_are_listed_and_described(capsys):
    assert main(["weights", "list"]) == 0
    assert "euclid_vis" in capsys.readouterr().out
    assert main(["weights", "info", "euclid_vis"]) == 0
    said = capsys.readouterr().out
    assert "bands:    euclid-vis, pixels of 0.1 arcsec" in said
    assert "of 15000 test stamps" in said and "What it was trained on" in said
    assert main(["weights", "info", "lost"]) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of ml_collections
def test_a_folder_for_weights_is_asked_before_anything_is_trained(tmp_path, capsys):
    (tmp_path / "data.txt").write_text("mine")
    words = ["train", "--workdir", str(tmp_path / "run"), "--export", str(tmp_path)]
    assert main(words) == 1
    assert "wanted a folder for weights alone" in capsys.readouterr().err
    assert not (tmp_path / "run" / "data").exists()


def test_weights_are_exported_by_the_code_of_train(monkeypatch, capsys):
    given = []
    monkeypatch.setattr("vaedeblend.io.workdir.export", lambda *paths: given.append(paths))
    assert main(["weights", "export", "runs/mine", "mine"]) == 0
    assert given == [("runs/mine", "mine")] and "--weights mine" in capsys.readouterr().out


@pytest.mark.parametrize("style", ["analytic", "emc"])
@pytest.mark.parametrize(
    "words", [("--interpolation", "lanczos3"), ("--tiles", "2x2"), ("--reach", "10")]
)
def test_options_of_tiles_alone_are_refused_elsewhere(tmp_path, capsys, words, style):
    assert main(["simulate", "--out", str(tmp_path / "out"), "--style", style, *words]) == 1
    wanted = f"error: {words[0]}: of --style mer alone; wanted it, not --style {style}"
    assert " ".join(capsys.readouterr().err.split()) == wanted
    assert not (tmp_path / "out").exists()
