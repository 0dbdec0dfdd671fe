"""The documentation as a site: `sphinx-build -W --keep-going docs docs/_build`.

The pages are the Markdown files of this folder, as GitHub shows them. What the code knows
(commands, columns, flags, configurations, the Python API) is taken from it when the site is built.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from vaedeblend import __version__ as release  # noqa: E402

project, author = "vaedeblend", "The vaedeblend developers"
project_copyright = f"2026, {author}"
version = release
html_title = f"vaedeblend {release}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "beside",
    "generated",
]
exclude_patterns = ["_build", "_ext", "**/.ipynb_checkpoints"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
smartquotes = False

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring, napoleon_use_ivar = False, True
python_use_unqualified_type_names = True

html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
templates_path, html_static_path = [], []
