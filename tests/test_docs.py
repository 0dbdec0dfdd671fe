"""The library of pages: links that resolve, numbers beside their commands, terms defined."""

import re
import tomllib
from pathlib import Path

import pytest

import vaedeblend

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMES = (
    *(
        "index",
        "install",
        "howto",
        "images",
        "bands",
        "training",
        "simulation",
        "faq",
        "results",
        "speed",
        "scale",
    ),
    *("method", "limits", "glossary", "architecture"),
    *(f"tutorials/{name}" for name in ("first_field", "own_image", "euclid_tile")),
    *("tutorials/fine_tuning", "tutorials/other_bands"),
    *(f"reference/{name}" for name in ("commands", "catalogue", "files", "configs", "python")),
)
PAGES = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in NAMES)]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
TERMS = (
    *("NMAD", "coverage", "purity", "Fisher bound", "latent", "PIT", "EGG", "EMC"),
    *("T-PHOT", "MER", "SExtractor", "scarlet2", "AUC", "workdir", "standard scenes"),
)
"""Those that a page links to the glossary where it first uses them."""
PLAIN = re.compile(r"\b(told|looks?|worth)\b|others'|\bTailed\b", re.IGNORECASE)
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


def prose(path):
    """A page without its blocks of code."""
    return BLOCK.sub("", path.read_text())


def anchors(path):
    """Of the headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def sections(path):
    """Each heading's text, up to the next heading of its rank or above; its own sections within."""
    text = BLOCK.sub(lambda block: block[0].replace("\n#", "\n "), path.read_text())
    starts = [(m.start(), len(m[1])) for m in re.finditer(r"^(#+) ", text, re.MULTILINE)]
    for start, rank in starts:
        later = (at for at, other in starts if at > start and other <= rank)
        yield text[start : next(later, len(text))]


def has_numbers(text):
    """Whether a table has a row with two measured numbers, as 4.9 or 82.0."""
    rows = (line.split("|") for line in text.splitlines() if line.startswith("|"))
    return any(sum(bool(re.search(r"\d\.\d", cell)) for cell in row) >= 2 for row in rows)


def test_the_library_is_complete():
    others = ("CITATION.cff", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md")
    assert all(path.is_file() for path in (*PAGES, *(ROOT / name for name in others)))
    found = (path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
    found = {path.with_suffix("").as_posix() for path in found if path.parts[0][0] != "_"}
    assert found == set(NAMES)
    index = (DOCS / "index.md").read_text()
    rows, site = index.split("```{toctree}", 1)
    assert all(f"({name}.md)" in rows for name in NAMES if name != "index")
    assert set(NAMES) - {"index"} <= set(site.splitlines())  # or the site's build fails


def test_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 8192


@each(LINKED)
def test_links_lead_to_files_and_headings(path):
    for _, target in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.is_relative_to(ROOT) and file.exists(), target
        assert not anchor or anchor in anchors(file), target


@each(PAGES)
def test_tables_of_numbers_stand_beside_their_commands(path):
    for text in sections(path):
        if has_numbers(text):
            assert "```bash" in text or "results.md#" in text, text.splitlines()[0]


def test_numbers_of_the_readme_are_those_of_the_results():
    rows = re.findall(r"^\| (analytic|structured) \|(.+)\|$", prose(PAGES[0]), re.MULTILINE)
    results = dict(zip(("analytic", "structured"), _results(), strict=True))
    assert len(rows) == 4
    for style, row in rows:
        kind, *found = (cell.strip(" *") for cell in row.split("|"))
        network, best = (results[style][kind, method] for method in ("network", "SExtractor"))
        sigma, bound, nmad = network[1:4]
        assert found == [sigma, nmad, bound, best[1], best[3], best[-1]]


def _results():
    """Cells of the first table below each style's heading, by set and method."""
    text = (DOCS / "results.md").read_text()
    for style in ("Analytic", "Structured"):
        part = text.split(f"## {style} galaxies\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| (isolated|blended) \|(.+)\|$", part, re.MULTILINE)
        cells = [(kind, *(cell.strip(" *") for cell in row.split("|"))) for kind, row in rows]
        known = {"network": "network", "SExtractor, best settings": "SExtractor"}
        yield {(kind, known[name]): rest for kind, name, *rest in cells if name in known}


@each([path for path in PAGES if path.stem not in ("glossary", "index")])
def test_terms_are_linked_where_they_are_first_used(path):
    text = re.sub(r"`[^`\n]*`|^#.*$", "", prose(path), flags=re.MULTILINE)
    for term in TERMS:
        first = re.search(rf"(?<![\w-]){re.escape(term)}(?![\w-])", text, re.IGNORECASE)
        if first:
            links = (m for m in LINK.finditer(text) if m.start() <= first.start() < m.end())
            assert any("glossary.md#" in m[2] or "#" in m[2] for m in links), term


@each(PAGES)
def test_prose_is_plain(path):
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    assert not [line for line in text.splitlines() if PLAIN.search(line)]


@each(PAGES)
def test_files_and_modules_that_are_named_exist(path):
    code = re.findall(r"`([^`\n]+)`", prose(path))
    for name in (name for each in code for name in re.findall(r"^[\w/]+/\w+\.\w+$", each)):
        if name.split("/")[0] in (*_rooms(), "vaedeblend", "tests", "data_builders"):
            assert (ROOT / name).exists() or (ROOT / "vaedeblend" / name).exists(), name
    for name in re.findall(r"\bvaedeblend((?:\.\w+)+)", path.read_text()):
        parts = name.removeprefix(".").split(".")
        module = ROOT.joinpath("vaedeblend", *parts)
        known = module.is_dir() or module.with_suffix(".py").exists()
        defined = rf"^(def|class) {parts[-1]}\b"
        above = module.parent.with_suffix(".py")
        known |= above.exists() and bool(re.search(defined, above.read_text(), re.MULTILINE))
        assert known or parts[0] in vaedeblend.__all__, name


def _rooms():
    """Each room's modules."""
    rooms = (each for each in (ROOT / "vaedeblend").iterdir() if (each / "__init__.py").exists())
    return {room.name: {f.stem for f in room.glob("[!_]*.py")} for room in rooms}


def test_the_tree_of_the_rooms_is_the_package():
    block = (DOCS / "architecture.md").read_text().split("```text\n")[1].split("```")[0]
    found = {}
    for line in block.splitlines()[1:]:
        if room := re.match(r"  (\w+)/ ", line):
            found[room[1]] = set()
        elif line.startswith("     ") and "/: " not in line:  # rooms within rooms
            found[list(found)[-1]] |= {name for name in line.split() if not name.endswith("/")}
    rooms = _rooms()
    assert {name: found[name] for name in rooms if name != "configs"} == {
        name: modules for name, modules in rooms.items() if name != "configs"
    }


def test_the_layers_are_those_of_the_contract():
    blocks = (DOCS / "architecture.md").read_text().split("```text\n")
    shown = [line.split() for line in blocks[2].split("```")[0].splitlines()]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert shown == [layer.split() for layer in contract["contracts"][0]["layers"]]
