"""Reports of a small evaluation, written and parsed."""

from html.parser import HTMLParser

import evaluated

from vaedeblend import report

VOID = {"img", "link", "meta", "br"}


class Parsed(HTMLParser):
    """Elements of a page in order, each with its text; `at`: the path of a number."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.open, self.source = [], [], source
        self.feed(source)
        assert not self.open, "elements left open"

    def handle_starttag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", "plain": "", **dict(attrs)})
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        within = any(element["tag"] == "data" for element in self.open)
        for element in self.open:
            element["text"] += data
            element["plain"] += "" if within else data

    def all(self, tag):
        return [each for each in self.elements if each["tag"] == tag]

    def section(self, number):
        return next(e for e in self.all("section") if e.get("id") == f"part-{number}")["text"]


def written(folder, found=None, **options):
    compared = options.pop("compared", None)
    found = found or evaluated.evaluation()
    numbers = report.write_report(folder, found, evaluated.setting(**options), compared)
    parsed = Parsed((folder / "index.html").read_text(encoding="utf-8"))
    return parsed, numbers


def missing(parsed):
    return [e["text"] for e in parsed.all("p") if e.get("class") == "missing"]
