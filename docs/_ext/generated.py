"""The directive `generated NAME`: a text of `texts` in a page."""

import texts
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """Puts what a function of `texts` gives in its place."""

    required_arguments = 1

    def run(self):
        """Nodes of the text."""
        text = getattr(texts, self.arguments[0])()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def short_names(app, what, name, given, options, signature, returned):
    """A signature whose arrays are called as users call them."""
    shorter = {"jaxlib._jax.Array": "Array", "numpy.ndarray": "ndarray"}
    for long, short in shorter.items():
        signature, returned = ((each or "").replace(long, short) for each in (signature, returned))
    return signature or None, returned or None


def setup(app) -> dict:
    """What Sphinx calls."""
    app.add_directive("generated", Generated)
    app.connect("autodoc-process-signature", short_names)
    return {"parallel_read_safe": True}
