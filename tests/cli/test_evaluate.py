"""What an evaluation of few stamps says of itself."""

import json

import pytest

from vaedeblend.cli.evaluate import evaluate_weights
from vaedeblend.evaluate.evaluation import Evaluation
from vaedeblend.io.workdir import find_workdir
from vaedeblend.report import report, subject

WHOLE = 45000
"""Test stamps of the shipped weights' three sets."""


@pytest.fixture
def notes(monkeypatch, tmp_path):
    """Puts nothing in the place of what takes time; what the page is told of what it lacks."""
    told = []
    monkeypatch.setattr("data_builders.build_datasets", lambda *args, **options: {})
    monkeypatch.setattr(subject, "load_networks", lambda *args: (None, []))
    monkeypatch.setattr(subject, "load_scenes", lambda *args: ({}, {}, []))
    result = Evaluation({}, {}, {}, {})
    monkeypatch.setattr("vaedeblend.evaluate.evaluation.evaluate", lambda *args, **options: result)

    def write(folder, found, setting, compared):
        told.append([note for note in setting.notes if "--limit" in note])
        return {"timing": {}}

    monkeypatch.setattr(report, "write_report", write)
    return told


def test_a_limit_that_leaves_nothing_out_is_not_spoken_of(notes, tmp_path, capsys):
    assert evaluate_weights(tmp_path, find_workdir("euclid_vis"), limit=10**6)
    assert notes == [[]] and "limit:" not in capsys.readouterr().out


def test_a_limited_report_says_what_it_lacks_and_what_it_replaces(notes, tmp_path, capsys):
    for before, said in ((None, ""), (WHOLE, f", and replaces one of {WHOLE}"), (1, "")):
        if before:
            text = json.dumps({"isolated": {"n": before}})
            (tmp_path / "report" / "metrics.json").write_text(text)
        assert evaluate_weights(tmp_path, find_workdir("euclid_vis"), limit=1)
        out = capsys.readouterr().out
        assert f"limit: the report is of 3 of {WHOLE} test stamps{said}\n" in out
    assert notes == 3 * [["Each set has 1 stamps at most, as --limit asked for."]]
