import numpy as np
import pytest
from jinja2 import UndefinedError
from parsed import Parsed

from vaedeblend.io import html

PAGE = """{% extends "page.html" %}
{% block kind %}report{% endblock %}
{% block body %}<p>{{ text }}</p>{% endblock %}
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "own.html").write_text(PAGE)
    return html.templates(tmp_path).get_template("own.html")


def test_a_page_extends_the_shared_one_and_holds_the_style(page):
    parsed = Parsed(page.render(title="a", text="b"))
    assert parsed.all("h1")[0]["text"] == "a" and parsed.all("p")[0]["text"] == "b"
    style = (html.SHARED / "style.css").read_text()
    assert style.strip() in parsed.source and parsed.all("body")[0]["class"] == "report"


def test_texts_are_escaped(page):
    source = page.render(title="<b>", text="{{ a }}<i>")
    assert "<b>" not in source and "<i>" not in source
    assert "<title>&lt;b&gt;</title>" in source and "{{ a }}&lt;i&gt;" in source


def test_what_a_template_is_not_given_is_an_error(page):
    with pytest.raises(UndefinedError, match="text"):
        page.render(title="a")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3, "3"), ("a", "a"), (np.int64(12345), "12345"), (1.23456, "1.235"), (np.nan, "–")],
)
def test_forms_of_numbers(value, shown):
    assert html.number(value) == shown


def test_shares_have_three_digits():
    assert html.share(2 / 3) == "66.7 %" and html.share(float("nan")) == "–"
