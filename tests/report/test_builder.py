from operator import itemgetter

import evaluated
import numpy as np
import pytest
from astropy.table import Table
from jinja2 import UndefinedError
from reports import missing, written

from vaedeblend.report.builder import Builder, Drawn
from vaedeblend.report.figures import stamps
from vaedeblend.report.quoted import Quoted, TableColumn, percent, quote
from vaedeblend.report.study import gather

DRAWN = Drawn("any", b"drawn", 10, 10)


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


def test_a_second_report_leaves_no_figure_of_the_first(tmp_path):
    written(tmp_path)
    assert (tmp_path / "figures" / "closer.pdf").exists()
    written(tmp_path, evaluated.without_baseline(evaluated.evaluation()))
    assert not (tmp_path / "figures" / "closer.pdf").exists()


def renamed(numbers, key):
    """Nested metrics with a key under another name, wherever it occurs."""
    if isinstance(numbers, dict):
        return {f"{k}_" if k == key else k: renamed(each, key) for k, each in numbers.items()}
    return [renamed(each, key) for each in numbers] if isinstance(numbers, list) else numbers


def keys_of(numbers):
    if isinstance(numbers, dict):
        yield from numbers
    if isinstance(numbers, dict | list):
        for each in numbers.values() if isinstance(numbers, dict) else numbers:
            yield from keys_of(each)


OPTIONAL = {"sextractor_default", "traversals"}
"""Keys of methods and networks that an evaluation may lack; a report leaves them out."""


@pytest.mark.slow
def test_a_key_of_the_metrics_by_another_name_is_missed_on_the_page(tmp_path, monkeypatch):
    """Figures are not drawn; their sentences are there."""
    monkeypatch.setattr(Builder, "figure", lambda self, name, _: self.figures.update({name: DRAWN}))
    monkeypatch.setattr(Builder, "save", lambda *_: None)
    found = evaluated.evaluation()
    parsed, _ = written(tmp_path, found)
    assert not missing(parsed)
    places = {key for each in parsed.all("data") for key in each["data-at"].split("/")}
    shown = places & set(keys_of(found.metrics)) - OPTIONAL - set(found.metrics)
    assert len(shown) > 60
    silent = []
    for key in sorted(shown):
        changed = found._replace(metrics={k: renamed(v, key) for k, v in found.metrics.items()})
        try:
            parsed, _ = written(tmp_path, changed)
        except KeyError:
            continue
        if not missing(parsed):
            silent.append(key)
    assert not silent


def test_a_template_that_names_what_is_not_given_is_an_error(tmp_path):
    study = gather(evaluated.evaluation(), evaluated.setting(), None)
    with pytest.raises(UndefinedError, match="stages"):
        Builder(tmp_path, study, evaluated.evaluation().metrics).render("training.html")


def test_rows_of_a_table_without_a_value_are_left_out(tmp_path):
    study = gather(evaluated.evaluation(), evaluated.setting(), None)
    builder = Builder(tmp_path, study, {"isolated": {}, "blended": {}})
    rows = quote({"a": {"n": 1, "sigma": 0.25}, "b": {"n": None, "sigma": float("nan")}})
    rows["c"] = {"n": Quoted(None, "c/n"), "sigma": Quoted(0.5, "c/sigma")}
    columns = (
        TableColumn("n", itemgetter("n")),
        TableColumn("sigma", itemgetter("sigma"), percent),
    )
    builder.table("small", "row", columns, rows.items())
    table = Table.read(tmp_path / "tables" / "small.ecsv")
    assert table["row"].tolist() == ["a", "c"] and table["sigma"].tolist() == [0.25, 0.5]
    assert table["n"][0] == 1 and np.isnan(table["n"][1])
    shown = builder.tables["small"].rows
    assert shown[0][2] == '<data value="0.25" data-at="a/sigma">25.0 %</data>'
    assert shown[1] == ["c", "–", '<data value="0.5" data-at="c/sigma">50.0 %</data>']
    builder.table("none", "row", columns, [("b", rows["b"])])
    assert not builder.tables["none"].rows and not (tmp_path / "tables" / "none.csv").exists()
