import numpy as np
import pytest

from vaedeblend.io import html

NUMBERS = {"blended": {"vae": {"sigma": 0.12345, "n": 7}, "rows": [{"low": 1.0}, {"low": None}]}}


def test_a_number_is_marked_with_its_place_and_its_value():
    found = html.cell(NUMBERS, "blended/vae/sigma", "%")
    assert found == '<data value="0.12345" data-at="blended/vae/sigma">12.3 %</data>'
    assert ">7<" in html.cell(NUMBERS, "blended/vae/n")
    assert html.cell(NUMBERS, "blended/vae/other") == "–"


def test_paths_go_through_mappings_and_lists():
    assert html.lookup(NUMBERS, "blended/rows/0/low") == 1.0
    assert html.lookup(NUMBERS, "blended/rows/-2/low") == 1.0
    for nowhere in ("blended/rows/2/low", "blended/rows/1/low", "blended/vae/n/3", "isolated/n"):
        assert html.lookup(NUMBERS, nowhere) is None
    assert html.lookup({"a": np.nan}, "a") is None


def test_sentences_are_filled_in_and_left_out_where_a_number_is_missing():
    said = html.say("Sigma is {./vae/sigma:%}, n {blended/vae/n}.", NUMBERS, "blended")
    assert said.startswith("Sigma is <data") and ">12.3 %<" in said and ">7<" in said
    assert html.say("Sigma is {./vae/sigma:%}, n {./none}.", NUMBERS, "blended") == ""
    assert html.say("No numbers.", {}) == "No numbers."


@pytest.mark.parametrize(
    ("form", "shown"),
    [("%", "-2.5 %"), ("%+", "-2.5 %"), ("p", "-2.5"), (".2", "-0.03"), ("", "-0.025")],
)
def test_forms_of_numbers(form, shown):
    assert f">{shown}<" in html.cell({"a": -0.025}, "a", form)


def test_texts_are_escaped():
    assert "<b>" not in html.cell({"a": "<b>"}, "a")
    assert "&lt;b&gt;" in html.document("<b>", "")
