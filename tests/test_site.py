"""The documentation as a site: what it takes from the code, and links that lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import vaedeblend
from vaedeblend.image.catalogue.columns import CATALOGUE_COLUMNS, FLAGS

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import beside  # noqa: E402
import texts  # noqa: E402


def test_commands_are_those_of_the_parsers():
    text = texts.commands()
    for command in ("vaedeblend deblend", "vaedeblend train", "vaedeblend photometry"):
        assert f"### `{command}`" in text
    assert re.search(r"^\| `--iterations` \| `4` \| iterations of neighbour", text, re.MULTILINE)
    assert "--looks" not in text  # hidden


def test_columns_and_flags_are_those_of_the_catalogue():
    rows = [line.split(" | ") for line in texts.columns().splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == [column.name for column in CATALOGUE_COLUMNS]
    assert dict((row[0].strip("| `"), row[2]) for row in rows)["flux"] == "the image's"
    bits = [int(line.split(" | ")[0].strip("| ")) for line in texts.flags().splitlines()[2:]]
    assert bits == list(FLAGS)


def test_settings_have_their_defaults_and_what_the_source_says_of_them():
    text = texts.configs()
    assert "| `data.area` | `2.0` | deg2 of EGG's sky |" in text
    assert "| `stages.blended.optimizer.learning_rate` | `0.002` |  |" in text
    assert "| `calibration_field.seed` | `7` |  |" in text  # and not what stands behind `seed`
    own = text.split("## `shipped/mixture.py`")[1].split("\n## ")[0]
    assert "| `data.style` | `'analytic+structured'` |" in own and "`data.area`" in own
    assert "| `seed` |" not in own


def test_links_of_pages_beside_the_folder_follow_them():
    moved = beside.follow(
        "[a](docs/limits.md#noise) [b](LICENSE) [c](https://d.e) [f](#g)", "README.md"
    )
    assert moved == "[a](../limits.md#noise) [b](../../LICENSE) [c](https://d.e) [f](#g)"
    text = beside.follow("[r](../../README.md#two-commands)", "docs/tutorials/x.md")
    assert text == "[r](../_beside/README.md#two-commands)"


def test_all_public_names_are_described():
    text = (DOCS / "reference" / "python.md").read_text()
    described = re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)$", text, re.MULTILINE)
    assert sorted(described) == sorted(vaedeblend.__all__)


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_its_links_lead_somewhere(tmp_path):
    pytest.importorskip("furo", reason="wants pip install -e '.[docs]'")
    pytest.importorskip("myst_parser", reason="wants pip install -e '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    assert len(pages) > 20
    for path, text in pages.items():
        for target in re.findall(r'\b(?:href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = unquote(target).split("?")[0].partition("#")
            file = (path.parent / name).resolve() if name else path
            assert file.exists(), (path.name, target)
            assert not anchor or file not in names or anchor in names[file], (path.name, target)
