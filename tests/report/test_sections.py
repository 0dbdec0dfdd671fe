import evaluated
from reports import missing, written

from vaedeblend.evaluate.results import write_evaluation
from vaedeblend.report.study import read_compared


def test_no_history_is_said_where_it_is_missing(tmp_path):
    parsed, _ = written(tmp_path, histories={"isolated": [], "blended": evaluated.RECORDS})
    assert "VAE I has no training history" in parsed.section(2)
    assert (tmp_path / "figures" / "losses.png").exists()
    assert len(missing(parsed)) == 1


def test_stages_and_sets_that_are_missing_are_said(tmp_path):
    found = evaluated.evaluation(("isolated",))
    parsed, _ = written(tmp_path, found, catalog=None, notes=["Stage blended is not trained"])
    assert "VAE II is not among these weights" in parsed.section(3)
    assert "No set of test stamps has companions" in parsed.section(9)
    assert "could not be read" in parsed.section(1)
    assert "Stage blended is not trained" in missing(parsed)
    assert "–" in parsed.section(12)


def test_two_workdirs_are_compared_in_one_report(tmp_path):
    found = evaluated.evaluation()
    other = tmp_path / "narrow" / "report"
    doubled = evaluated.evaluation()
    for kind, table in doubled.examples.items():
        table["vae_error"] = 2 * table["vae_error"]
        doubled.metrics[kind] = evaluated.summary(kind, table)
    write_evaluation(doubled, other)
    compared = read_compared(tmp_path / "narrow")
    parsed, numbers = written(tmp_path, found, compared=compared)
    text = parsed.section(13)
    assert numbers["compared"]["blended"]["closer"] == 1
    sigma = doubled.metrics["blended"]["vae"]["sigma"]
    assert f"narrow of {100 * sigma:.1f} %" in text
    assert (tmp_path / "figures" / "comparison.png").exists() and not missing(parsed)
