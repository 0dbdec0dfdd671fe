"""Reports of a small evaluation, written and parsed."""

import evaluated
from parsed import Parsed

from vaedeblend.report import report


class Report(Parsed):
    def section(self, number):
        """All words of a section."""
        found = next(e for e in self.all("section") if e.get("id") == f"part-{number}")
        return " ".join(found["text"].split())

    def words(self):
        """All words of the page."""
        return " ".join(self.all("body")[0]["text"].split())


def written(folder, found=None, **options):
    compared = options.pop("compared", None)
    found = found or evaluated.evaluation()
    numbers = report.write_report(folder, found, evaluated.setting(**options), compared)
    parsed = Report((folder / "index.html").read_text(encoding="utf-8"))
    return parsed, numbers


def lookup(numbers, path):
    """The value at a path such as 'blended/by_purity/0/n' of nested mappings and lists."""
    for key in path.split("/"):
        numbers = numbers[int(key) if isinstance(numbers, list) else key]
    return numbers


def missing(parsed):
    return [e["text"] for e in parsed.all("p") if e.get("class") == "missing"]


def line(axis, label):
    """The line of an axis by its label."""
    return next(each for each in axis.lines if each.get_label() == label)
