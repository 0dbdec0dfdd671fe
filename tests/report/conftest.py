import pytest

from vaedeblend.report import builder


@pytest.fixture(autouse=True)
def unrendered(request, monkeypatch):
    """Figures are composed, but not drawn, where a test does not look at them."""

    def save(figure, folder, name):
        for kind in ("pdf", "png"):
            (folder / f"{name}.{kind}").write_bytes(b"drawn")
        return b"drawn"

    if "rendered" not in request.keywords:
        monkeypatch.setattr(builder, "save_figure", save)
