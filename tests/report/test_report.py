import evaluated
import numpy as np
import pytest
from reports import missing, written

from vaedeblend.evaluate.evaluation import Evaluation
from vaedeblend.evaluate.results import write_evaluation
from vaedeblend.report import report
from vaedeblend.report.figures import stamps, style


@pytest.fixture(autouse=True)
def unrendered(request, monkeypatch):
    """Figures are composed, but not drawn, where a test does not look at them."""

    def save(figure, folder, name):
        for kind in ("pdf", "png"):
            (folder / f"{name}.{kind}").write_bytes(b"drawn")
        return b"drawn"

    if "rendered" not in request.keywords:
        monkeypatch.setattr(style, "save_figure", save)


def test_no_history_is_said_where_it_is_missing(tmp_path):
    parsed, _ = written(tmp_path, histories={"isolated": [], "blended": evaluated.RECORDS})
    assert "VAE I has no training history" in parsed.section(2)
    assert (tmp_path / "figures" / "losses.png").exists()
    assert len(missing(parsed)) == 1


def without_baseline(found):
    for kind, table in found.examples.items():
        for name in ("sextractor_flux", "sextractor_flux_err", "sextractor_error"):
            table[name] = np.nan
        table["sextractor_corrected_error"] = table["sextractor_default_error"] = np.nan
        table["found"], table["failure"] = False, "unmeasured"
        table["default_failure"], table["default_n_objects"] = "unmeasured", -1
        found.images[kind].pop("segmentation")
        found.metrics[kind] = evaluated.summary(kind, table) | {
            "program": "none",
            "sextractor_failure": "it ended with status 1",
        }
        del found.metrics[kind]["sextractor_default"]
    return found


def test_no_sextractor_is_said_and_all_else_is_there(tmp_path):
    parsed, numbers = written(tmp_path, without_baseline(evaluated.evaluation()))
    assert "no SExtractor (it ended with status 1)" in parsed.section(7)
    assert "SExtractor measured none of the sets" in parsed.section(8)
    assert "Could not" not in parsed.source and "could not" not in parsed.source
    for name in ("histogram", "error_vs_magnitude", "statistics", "calibration", "shapes"):
        assert (tmp_path / "figures" / f"{name}.png").exists()
    assert numbers["blended"]["sextractor"]["n"] == 0
    assert "nan" not in parsed.all("body")[0]["text"]


def test_empty_bins_are_named(tmp_path):
    found = evaluated.evaluation()
    table = found.examples["blended"]
    table["magnitude"] = np.clip(table["magnitude"], 24.1, 24.4)
    found.metrics["blended"] = evaluated.summary("blended", table)
    parsed, numbers = written(tmp_path, found)
    assert numbers["blended"]["by_magnitude"][0]["vae"]["n"] == 0
    assert "No blended stamps: magnitude 23-23.5, magnitude 23.5-24" in parsed.section(6)
    assert not missing(parsed)


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
    assert "nan" not in parsed.all("body")[0]["text"]


@pytest.mark.parametrize("n", [1, 3])
def test_few_stamps_are_no_error(tmp_path, n):
    parsed, _ = written(tmp_path, evaluated.evaluation(n=n))
    assert "Could not be drawn" not in parsed.source and "could not be made" not in parsed.source
    assert len(parsed.all("h2")) == 12


def test_stages_and_sets_that_are_missing_are_said(tmp_path):
    found = evaluated.evaluation(("isolated",))
    parsed, _ = written(tmp_path, found, catalog=None, notes=["Stage blended is not trained"])
    assert "VAE II is not among these weights" in parsed.section(3)
    assert "No set of test stamps has companions" in parsed.section(9)
    assert "could not be read" in parsed.section(1)
    assert "Stage blended is not trained" in missing(parsed)
    assert "–" in parsed.section(12)


def test_a_figure_that_fails_does_not_cost_the_others(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(stamps, "example_stamps", broken)
    parsed, _ = written(tmp_path)
    assert "Could not be drawn (RuntimeError: no ink)" in parsed.section(1)
    assert len(missing(parsed)) == 1 and (tmp_path / "figures" / "psf.png").exists()
    assert "no ink" in caplog.text


def test_a_part_that_fails_does_not_cost_the_others(tmp_path, caplog):
    found = evaluated.evaluation()
    del found.metrics["blended"]["maps"]
    parsed, _ = written(tmp_path, found)
    assert "This part could not be made (KeyError" in parsed.section(9)
    assert len(missing(parsed)) == 1 and len(parsed.all("h2")) == 12


def test_two_workdirs_are_compared_in_one_report(tmp_path):
    found = evaluated.evaluation()
    other = tmp_path / "narrow" / "report"
    doubled = evaluated.evaluation()
    for kind, table in doubled.examples.items():
        table["vae_error"] = 2 * table["vae_error"]
        doubled.metrics[kind] = evaluated.summary(kind, table)
    write_evaluation(doubled, other)
    compared = report.read_compared(tmp_path / "narrow")
    parsed, numbers = written(tmp_path, found, compared=compared)
    text = parsed.section(13)
    assert numbers["compared"]["blended"]["closer"] == 1
    sigma = doubled.metrics["blended"]["vae"]["sigma"]
    assert f"narrow of {100 * sigma:.1f} %" in text
    assert (tmp_path / "figures" / "comparison.png").exists() and not missing(parsed)


def test_nothing_to_compare_with_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no report to compare with"):
        report.read_compared(tmp_path)


def test_a_second_report_leaves_no_figure_of_the_first(tmp_path):
    written(tmp_path)
    assert (tmp_path / "figures" / "closer.pdf").exists()
    written(tmp_path, without_baseline(evaluated.evaluation()))
    assert not (tmp_path / "figures" / "closer.pdf").exists()


def test_empty_evaluation_is_a_page(tmp_path):
    parsed, _ = written(tmp_path, Evaluation({}, {}, {}, {}))
    assert len(parsed.all("h2")) == 12 and "Could not be drawn" not in parsed.source
