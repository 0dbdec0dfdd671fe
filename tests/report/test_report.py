import json
import re
import shutil

import evaluated
import matplotlib.image
import numpy as np
import pytest
from astropy.table import Table
from browser import look, needs_chromium
from reports import lookup, missing, written

from vaedeblend.evaluate.evaluation import Evaluation
from vaedeblend.evaluate.results import write_evaluation
from vaedeblend.evaluate.table import read_examples
from vaedeblend.report.study import read_compared

TITLES = (
    "Data",
    "Training",
    "Latent space",
    "Light profiles",
    "Image similarity",
    "Flux",
    "SExtractor's failures",
    "The network against SExtractor",
    "Complexity of a blend",
    "Calibration",
    "Shape",
    "The talk and this project",
)
FIGURES = {
    1: ("stamps", "selection", "psf"),
    2: ("losses",),
    3: ("tsne_vae_i", "tsne_vae_ii", "traversals_vae_i", "traversals_vae_ii", "dimensions"),
    4: ("profiles_isolated", "profiles_blended", "radial"),
    5: ("likeness",),
    6: ("histogram", "error_vs_magnitude", "error_vs_purity", "statistics"),
    7: ("failures_isolated", "failures_blended"),
    8: ("closer",),
    9: ("complexity_bm_1_flux_ratio", "complexity_purity_separation"),
    10: ("calibration",),
    11: ("shapes",),
    12: (),
}
FIRST = ("first_blends", "first_errors", "first_purity")
DEFINITIONS = {"1", "2", "5", "10", "15", "16", "50", "75", "68", "95", "84", "100", "18", "80"}
DEFINITIONS |= {"17", "20", "94", "31", "000", "0"}
"""Numbers of words, not of measurements: quantiles, the talk's, names such as BM_1."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    found = evaluated.evaluation()
    write_evaluation(found, folder)
    parsed, _ = written(folder, found)
    return folder, parsed


def test_twelve_parts_are_there_and_lack_nothing(whole):
    _, parsed = whole
    titles = [each["text"] for each in parsed.all("h2")]
    assert titles == [f"{k}. {title}" for k, title in enumerate(TITLES, 1)]
    assert not missing(parsed)
    assert "Too few stamps" not in parsed.words()


@pytest.mark.parametrize("number", FIGURES)
def test_each_part_has_its_figures_as_files_and_none_is_blank(whole, number):
    folder, parsed = whole
    shown = {each["id"] for each in parsed.all("figure")}
    for name in FIGURES[number]:
        assert name in shown
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        image = matplotlib.image.imread(folder / "figures" / f"{name}.png")[..., :3]
        assert image.std() > 0.03 and min(image.shape[:2]) > 200, f"{name} is blank"
    assert len(parsed.section(number)) > 100


def test_first_screen_has_the_table_and_three_pictures(whole):
    folder, parsed = whole
    order = [e.get("id") for e in parsed.elements if e["tag"] in ("figure", "section", "nav")]
    assert tuple(order[:3]) == FIRST and order[3] is None
    table = parsed.all("table")[0]["text"]
    words = " ".join(parsed.words().split())
    assert "In short, blended: the network's sigma is 9" in words
    assert "% of stamps, two thirds if errors are honest." in words
    assert "blended: network" in table and "isolated: SExtractor" in table
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        *FIRST,
        *(name for names in FIGURES.values() for name in names),
    }


def test_every_number_on_the_page_is_that_of_metrics_json(whole):
    folder, parsed = whole
    numbers = json.loads((folder / "metrics.json").read_text())
    cells = parsed.all("data")
    assert len(cells) > 300
    for each in cells:
        value = lookup(numbers, each["data-at"])
        assert value is not None and json.loads(each["value"]) == value, each
        shown = re.sub("[ %]", "", each["text"])
        if isinstance(value, float):
            factor = min((1, 100), key=lambda f: abs(float(shown) - f * value))
            assert float(shown) == pytest.approx(factor * value, rel=0.06, abs=0.051)
        else:
            assert shown == str(value).replace(" ", "")


def test_no_sentence_holds_a_number_that_is_not_looked_up(whole):
    _, parsed = whole
    for each in parsed.all("p"):
        words = re.sub(r"\b(z|R²|e-|network )\S*", "", each["plain"])
        loose = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", words)) - DEFINITIONS
        assert not loose, each["plain"]


def test_tables_hold_the_pages_numbers(whole):
    folder, parsed = whole
    numbers = json.loads((folder / "metrics.json").read_text())
    table = Table.read(folder / "tables" / "results.ecsv")
    row = next(r for r in table if r["set: method"] == "blended: network")
    assert row["sigma"] == numbers["blended"]["vae"]["sigma"]
    bins = Table.read(folder / "tables" / "blended_by_magnitude.csv")
    ours = [r for r in bins if str(r["blended [%]"]).endswith("network")]
    for row, each in zip(ours, numbers["blended"]["by_magnitude"], strict=True):
        assert row["NMAD"] == each["vae"]["nmad"] and row["n"] == each["vae"]["n"]
    talk = Table.read(folder / "tables" / "talk.ecsv")
    assert numbers["isolated"]["vae"]["sigma"] in list(talk["this project"])
    assert {p.suffix for p in (folder / "tables").iterdir()} == {".ecsv", ".csv"}


def test_per_example_table_is_that_of_the_evaluation(whole):
    folder, _ = whole
    table, found = read_examples(folder / "examples.fits"), evaluated.evaluation()
    for kind, each in found.examples.items():
        part = table[table["set"] == kind]
        for name in ("vae_error", "vae_profile", "position", "failure", "default_n_objects"):
            np.testing.assert_array_equal(np.asarray(part[name]), np.asarray(each[name]))
    assert table["vae_flux"].unit == "uJy" and table["separation"].unit == "arcsec"


def test_nothing_is_loaded_from_elsewhere(whole):
    folder, parsed = whole
    assert all(each["src"].startswith("data:") for each in parsed.all("img"))
    links = [each["href"] for each in parsed.all("a")]
    assert all(each.startswith("#") or (folder / each).exists() for each in links)
    assert not re.search(r"https?:|url\(|@import|<script", parsed.source)


def test_time_of_sextractor_and_tsne_is_told_apart(whole):
    folder, parsed = whole
    timing = json.loads((folder / "metrics.json").read_text())["timing"]
    assert timing["sextractor"] == 6.0 and timing["t_sne"] == 4.0
    assert timing["total"] == pytest.approx(timing["rest"] + 10.0)
    assert "SExtractor 6.0 s, t-SNE 4.0 s" in parsed.words()


WRAPPER = """<body><iframe src="index.html" width="{width}" height="900" style="border:0"></iframe>
<pre></pre><script>onload = () => {{
  const page = frames[0].document, root = page.documentElement, images = [...page.images];
  document.querySelector("pre").textContent = JSON.stringify({{
    scroll: root.scrollWidth, client: root.clientWidth, images: images.length,
    broken: images.filter(each => !each.naturalWidth || each.offsetWidth < 100).length,
    lefts: [...page.querySelectorAll(".first figure")].map(e => e.getBoundingClientRect().left)}});
}};</script></body>"""


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_the_page_without_errors_or_sideways_scrolling(whole, tmp_path, width):
    shutil.copy(whole[0] / "index.html", tmp_path)
    found = look(tmp_path, WRAPPER, width)
    assert found["images"] > 25


@pytest.mark.parametrize(
    "kind", ["composed", pytest.param("drawn", marks=[pytest.mark.rendered, pytest.mark.slow])]
)
def test_numbers_that_are_none_do_not_spoil_the_others(tmp_path, kind):
    found = evaluated.evaluation()
    table = found.examples["blended"]
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name][:5] = np.nan
    table["vae_error"][:5] = -1.0
    table["sextractor_error"][:5] = -1.0
    found.metrics["blended"] = evaluated.summary("blended", table)
    parsed, _ = written(tmp_path, found)
    assert not missing(parsed)
    assert "nan" not in parsed.words()


@pytest.mark.parametrize("n", [1, 3])
def test_few_stamps_are_no_error(tmp_path, n):
    parsed, _ = written(tmp_path, evaluated.evaluation(n=n))
    assert "Could not be drawn" not in parsed.source and "could not be made" not in parsed.source
    assert len(parsed.all("h2")) == 12


def test_nothing_to_compare_with_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no report to compare with"):
        read_compared(tmp_path)


def test_empty_evaluation_is_a_page(tmp_path):
    parsed, _ = written(tmp_path, Evaluation({}, {}, {}, {}))
    assert len(parsed.all("h2")) == 12 and "Could not be drawn" not in parsed.source


def test_names_of_folders_are_text_on_the_page(tmp_path):
    name = "a<b>{c}"
    write_evaluation(evaluated.evaluation(), tmp_path / name / "report")
    compared = read_compared(tmp_path / name)
    parsed, _ = written(tmp_path, title=name, compared=compared)
    assert parsed.all("h1")[0]["text"] == f"Deblending with {name}"
    assert f"{name} has a sigma of" in parsed.section(13)
    assert "a<b>" not in parsed.source and not missing(parsed)
    labels = Table.read(tmp_path / "tables" / "comparison.ecsv")["set: network"]
    assert labels[0] == f"isolated: {name}"
