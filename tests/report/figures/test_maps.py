import numpy as np
from reports import line

from vaedeblend.evaluate import metrics
from vaedeblend.report.figures import maps


def test_tsne_is_the_tables_and_its_colours_the_parameters(sets):
    column = sets["blended"]
    figure = maps.embedding(column, "vae_ii")
    panels = [axis for axis in figure.axes if axis.collections and axis.get_title("left")]
    assert len(panels) == len(maps.PARAMETER_LABELS)
    for axis, name in zip(panels, maps.PARAMETER_LABELS, strict=True):
        points = axis.collections[0]
        np.testing.assert_allclose(points.get_offsets(), column["vae_ii_tsne"])
        np.testing.assert_allclose(points.get_array(), column[name])
    alone = maps.embedding(sets["isolated"], "vae_i")
    assert len([axis for axis in alone.axes if axis.get_title("left")]) == 4


def test_maps_show_scatter_ratio_and_counts_of_their_cells(sets):
    edges = (np.array([0.0, 0.5, 0.95]), np.array([0.3, 1.5, 3.0]))
    cells = metrics.cells(sets["blended"], ("purity", "separation"), edges)
    figure = maps.complexity(cells, ("purity", "separation"))
    for axis, key, factor in zip(
        figure.axes, ("vae", "sextractor", "ratio"), (100, 100, 1), strict=False
    ):
        drawn = axis.collections[0].get_array().reshape(2, 2)
        expected = np.reshape([factor * cell[key] for cell in cells], (2, 2)).T
        np.testing.assert_allclose(drawn, expected)
        counts = [int(text.get_text()) for text in axis.texts[1::2]]
        assert counts == [cell["n"] for cell in cells]
    table = maps.cell_table(cells, ("purity", "separation"))
    assert table["purity_low"].tolist() == [0, 0, 0.5, 0.5] and table["n"].sum() == 80


def test_recovered_shapes_are_the_columns(sets):
    figure = maps.shapes({"blended": sets["blended"]})
    for axis, name in zip(figure.axes, ("half_light_radius", "axis_ratio"), strict=False):
        true, found = (sets["blended"][f"{m}_{name}"] for m in ("truth", "vae"))
        parts = metrics.equal_bins(true, 8)
        drawn = line(axis, "median, 16-84 %")
        np.testing.assert_allclose(drawn.get_ydata(), [np.median(found[p]) for p in parts])
