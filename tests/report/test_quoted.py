import numpy as np
import pytest
from jinja2 import Environment

from vaedeblend.report.quoted import (
    Quoted,
    decimals,
    is_measured,
    percent,
    percent_points,
    quote,
    signed_percent,
    signed_percent_points,
    written,
)

NUMBERS = {"blended": {"vae": {"sigma": 0.12345, "n": 7}, "rows": [{"low": 1.0}, {"low": None}]}}


def test_a_number_is_marked_with_its_place_and_its_value():
    found = quote(NUMBERS)["blended"]["vae"]
    expected = '<data value="0.12345" data-at="blended/vae/sigma">12.3 %</data>'
    assert percent(found["sigma"]) == expected
    assert ">7<" in written(found["n"])
    with pytest.raises(KeyError):
        found["other"]


def test_paths_go_through_mappings_and_lists():
    rows = quote(NUMBERS)["blended"]["rows"]
    assert rows[0]["low"].value == 1.0 and rows[-2]["low"].path == "blended/rows/0/low"
    assert not is_measured(rows[1]["low"]) and written(rows[1]["low"]) == "–"
    assert not is_measured(quote({"a": np.nan})["a"])


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        (percent, "-2.5 %"),
        (signed_percent, "-2.5 %"),
        (percent_points, "-2.5"),
        (signed_percent_points, "-2.5"),
        (lambda quoted: decimals(quoted, 2), "-0.03"),
        (written, "-0.025"),
    ],
)
def test_forms_of_numbers(form, shown):
    assert f">{shown}<" in form(Quoted(-0.025, "a"))


def test_signs_and_large_numbers():
    assert ">+2.5 %<" in signed_percent(Quoted(0.025, "a"))
    assert ">12346<" in written(Quoted(12345.6, "a")) and ">1.23e+09<" in written(
        Quoted(1.23e9, "a")
    )
    assert bool(Quoted(0, "a")) is False and bool(Quoted(None, "a")) is False


def test_texts_are_escaped():
    assert "<b>" not in written(Quoted("<b>", "a<i>")) and "<i>" not in written(Quoted(1, "a<i>"))


def test_a_template_shows_a_number_without_being_told_its_form():
    template = Environment(autoescape=True).from_string("{{ sigma }}")
    assert template.render(sigma=Quoted(0.12345, "a")) == written(Quoted(0.12345, "a"))
