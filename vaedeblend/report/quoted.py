"""Numbers of a report that know where they stand in metrics.json, and how they are written.

On the page each is an element <data> with its exact value and its path, so that a reader, and a
test, can look it up.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup


class Quoted:
    """A number or text of metrics.json with its path there; None where nothing was measured."""

    def __init__(self, value: Any, path: str):
        """Keeps a value.

        Args:
            value: Number, text or None; a number that is not finite counts as None.
            path: Keys and indices that lead to it, joined by '/'.
        """
        missing = isinstance(value, float) and not np.isfinite(value)
        self.value, self.path = None if missing else value, path

    def __bool__(self) -> bool:
        return bool(self.value)

    def __html__(self) -> str:
        return written(self)


Form = Callable[[Quoted], Markup]
"""How a quoted number is written on a page."""


class TableColumn(NamedTuple):
    """A column of a table of numbers."""

    title: str
    value: Callable[[Any], Quoted | str]
    """Gives the cell of what a row is about."""
    form: Form | None = None
    """Form of the numbers; three significant digits by default."""


def quote(numbers: Any, path: str = "") -> Any:
    """The same nested mappings and lists with `Quoted` values."""
    below = f"{path}/" if path else ""
    if isinstance(numbers, dict):
        return {key: quote(each, f"{below}{key}") for key, each in numbers.items()}
    if isinstance(numbers, list | tuple):
        return [quote(each, f"{below}{i}") for i, each in enumerate(numbers)]
    return Quoted(numbers, path)


def is_measured(quoted: Quoted) -> bool:
    """Whether there is a value."""
    return quoted.value is not None


def written(quoted: Quoted) -> Markup:
    """Integers and texts in full, other numbers with three significant digits."""
    value = quoted.value
    if isinstance(value, str | int):
        return _marked(quoted, str(value))
    return _marked(quoted, "" if value is None else _significant(value))


def percent(quoted: Quoted, sign: str = "", unit: str = " %") -> Markup:
    """Fraction in per cent with one decimal; the sign '+' shows that of positive numbers too."""
    value = quoted.value
    return _marked(quoted, "" if value is None else f"{100 * value:{sign}.1f}{unit}")


def decimals(quoted: Quoted, digits: int) -> Markup:
    """Number with a fixed number of decimals."""
    value = quoted.value
    return _marked(quoted, "" if value is None else f"{value:.{digits}f}")


percent_points = partial(percent, unit="")
"""Form of a fraction in a table whose title says per cent."""
signed_percent_points = partial(percent, sign="+", unit="")
signed_percent = partial(percent, sign="+")


def _significant(value: float) -> str:
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def _marked(quoted: Quoted, text: str) -> Markup:
    """Text as an element with the value and its path; a dash where there is no value."""
    if quoted.value is None:
        return Markup("–")
    exact = json.dumps(quoted.value)
    return Markup('<data value="{}" data-at="{}">{}</data>').format(exact, quoted.path, text)
