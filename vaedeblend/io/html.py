"""What the pages have in common: their look, tables, and numbers that say where they come from."""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

STYLE = """
:root{--ink:#1c2127;--soft:#5d6670;--rule:#dfe3e7;--blue:#0072b2}*{box-sizing:border-box}
h1,h3,p,figure{margin:0}b,h1,h2,text{font-weight:600}p{max-width:62rem}
body{margin:0 auto;max-width:1320px;padding:1.2rem clamp(12px,2.5vw,32px) 3rem;background:#fff;
 color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
 font-variant-numeric:tabular-nums;overflow-wrap:anywhere;print-color-adjust:exact}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2.2rem 0 .6rem;break-after:avoid}
h3,th,.soft{font-size:.84rem;color:var(--soft);text-align:left;font-weight:400}
.keys{display:flex;flex-wrap:wrap;gap:.5rem 2.4rem;margin:.6rem 0 .9rem}
.keys b{display:block;font-size:1.6em;line-height:1.3;color:var(--ink)}
table{border-collapse:collapse;width:100%;margin-bottom:.6rem}td:has(i){width:25%}
td,th{border-bottom:1px solid var(--rule);padding:.25rem 0;vertical-align:top}th{white-space:nowrap}
td+td,th+th{text-align:right;padding-left:1rem}img{width:100%;border:1px solid var(--rule)}
@media print{body{font-size:12px}.controls{display:none}figure,table{break-inside:avoid}}
"""

_FIELD = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
_FORMATS = {
    "%": lambda v: f"{100 * v:.1f} %",
    "%+": lambda v: f"{100 * v:+.1f} %",
    "%0": lambda v: f"{100 * v:.0f} %",
    "p": lambda v: f"{100 * v:.1f}",
    "p+": lambda v: f"{100 * v:+.1f}",
    ".1": lambda v: f"{v:.1f}",
    ".2": lambda v: f"{v:.2f}",
    ".3": lambda v: f"{v:.3f}",
}
"""How a number is written, by the name after the colon of its field."""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page; it loads nothing from elsewhere."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><h1>{escape(title)}</h1>
{body}</body></html>
"""


def read_json(path: str | Path) -> dict:
    """What a JSON file holds."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def picture(png: bytes) -> str:
    """An image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def number(value, digits: int = 4) -> str:
    """As HTML; integers in full, other numbers with significant digits."""
    if isinstance(value, str | int | np.integer):
        return escape(str(value))
    text = f"{value:.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"
    return text if np.isfinite(value) else "–"


def percent(share: float) -> str:
    """With three significant digits."""
    return f"{number(100 * share, 3)} %"


def table(head: Sequence[str], rows: Iterable) -> str:
    """Of HTML cells; words in the first column, numbers in the others."""
    cells = "".join(f"<tr><td>{'</td><td>'.join(map(str, row))}</td></tr>" for row in rows)
    return f"<table><tr><th>{'</th><th>'.join(head)}</th></tr>{cells}</table>"


def keys(pairs: Iterable[tuple[str, str]]) -> str:
    """A line of large numbers, each with what it is."""
    items = "".join(f"<div><b>{value}</b>{key}</div>" for key, value in pairs)
    return f'<div class="keys soft">{items}</div>'


def lookup(numbers: Mapping, path: str):
    """The value at a path such as 'blended/vae/sigma'; None where there is none."""
    value = numbers
    for key in path.split("/"):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Sequence) and key.lstrip("-").isdigit():
            value = value[int(key)] if -len(value) <= int(key) < len(value) else None
        else:
            return None
    return None if isinstance(value, float) and not np.isfinite(value) else value


def cell(numbers: Mapping, path: str, form: str = "") -> str:
    """The number at a path, marked with where it comes from; a dash where there is none."""
    value = lookup(numbers, path)
    if value is None:
        return "–"
    text = _FORMATS[form](value) if form in _FORMATS else number(value, 3)
    exact = escape(json.dumps(value))
    return f'<data value="{exact}" data-at="{escape(path)}">{text}</data>'


def say(sentence: str, numbers: Mapping, base: str = "") -> str:
    """A sentence of HTML whose fields, {path:form}, are numbers; empty where one is missing.

    Args:
        sentence: Its paths are those of `lookup`; one that begins with './' starts at `base`.
        numbers: Nested.
        base: A path.
    """
    paths = [_absolute(match[1], base) for match in _FIELD.finditer(sentence)]
    if any(lookup(numbers, path) is None for path in paths):
        return ""
    return _FIELD.sub(lambda m: cell(numbers, _absolute(m[1], base), m[2] or ""), sentence)


def _absolute(path: str, base: str) -> str:
    return f"{base}/{path[2:]}" if path.startswith("./") else path
