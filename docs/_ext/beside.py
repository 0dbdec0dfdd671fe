"""Pages that stand beside this folder (README, changelog, ...) are pages of the site, too.

They are copied to `_beside/` before the site is built, and links to and from them follow.
"""

import os
import re
import shutil
from pathlib import Path, PurePosixPath

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
COPIES = "_beside"
"""Folder of the copies, which git does not see."""
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") + tuple(
    str(card.relative_to(ROOT)) for card in sorted(ROOT.glob("vaedeblend/weights/*/MODEL_CARD.md"))
)
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def site_path(page: str) -> str:
    """Where a file of the repository stands, as the site's pages have it: relative to `docs`."""
    if page in PAGES:
        return f"{COPIES}/{page.replace('/', '_')}"
    return os.path.relpath(page, "docs")


def follow(text: str, page: str) -> str:
    """Text of a page of the repository, with its links as the site has them.

    Args:
        text: Markdown.
        page: Path of the page in the repository.
    """
    here, there = PurePosixPath(page).parent, PurePosixPath(site_path(page)).parent

    def moved(link: re.Match) -> str:
        target = os.path.normpath(here / link[2])
        return link[1] + os.path.relpath(site_path(target), there)

    return _LINK.sub(moved, text)


def copy_pages(app) -> None:
    """Writes the copies."""
    folder = Path(app.srcdir) / COPIES
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        (folder.parent / site_path(page)).write_text(follow(text, page), encoding="utf-8")


def follow_links(app, name: str, source: list[str]) -> None:
    """A page of `docs` as the site reads it."""
    if not name.startswith(COPIES):
        source[0] = follow(source[0], f"docs/{name}.md")


def setup(app) -> dict:
    """What Sphinx calls."""
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", follow_links)
    return {"parallel_read_safe": True}
