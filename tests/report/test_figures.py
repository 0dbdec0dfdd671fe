"""What figures draw is what the table's columns hold."""

import evaluated
import matplotlib as mpl
import matplotlib.colors
import numpy as np
import pytest

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.evaluation import QUANTILES
from vaedeblend.evaluate.summary import with_estimates
from vaedeblend.exceptions import NoData
from vaedeblend.report.figures import curves, flux_errors, maps, stamps
from vaedeblend.report.figures import style as charts
from vaedeblend.report.figures.style import COLOURS


@pytest.fixture(scope="module")
def sets():
    tables = {k: evaluated.example_table(k, 80, i) for i, k in enumerate(("isolated", "blended"))}
    return {kind: with_estimates(table) for kind, table in tables.items()}


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(charts.STYLE):
        yield


def line(axis, label):
    return next(each for each in axis.lines if each.get_label() == label)


def test_running_medians_are_those_of_the_columns(sets):
    figure = flux_errors.errors_against(sets, "magnitude", "magnitude")
    for row, column in zip((figure.axes[:2], figure.axes[2:]), sets.values(), strict=True):
        for axis, (method, name) in zip(row, charts.METHODS.items(), strict=True):
            parts = metrics.equal_bins(column["magnitude"], 8)
            drawn = line(axis, name)
            expected = [100 * np.median(column[f"{method}_error"][part]) for part in parts]
            np.testing.assert_allclose(drawn.get_ydata(), expected)
            expected = [np.median(column["magnitude"][part]) for part in parts]
            np.testing.assert_allclose(drawn.get_xdata(), expected)
            bound = line(axis, "Fisher bound, rms")
            np.testing.assert_allclose(bound.get_ydata(), 8.0)


def test_histogram_counts_every_stamp(sets):
    figure = flux_errors.histogram(sets)
    for axis, column in zip(figure.axes, sets.values(), strict=True):
        outlines = [patch for patch in axis.patches if not patch.get_fill()]
        for patch, method in zip(outlines, charts.METHODS, strict=True):
            clipped = np.clip(100 * column[f"{method}_error"], -100, 100)
            heights = patch.get_xy()[1:-1, 1][::2]
            expected, _ = np.histogram(clipped, np.linspace(-102.5, 102.5, 42))
            np.testing.assert_array_equal(heights[: len(expected)], expected)
            assert expected.sum() == 80


def test_statistics_are_those_of_the_bins(sets):
    found = {"blended": evaluated.summary("blended", evaluated.example_table("blended", 80, 1))}
    figure = flux_errors.statistics(found)
    for axis, name in zip(figure.axes, flux_errors.STATISTICS, strict=True):
        for method, label in charts.METHODS.items():
            rows = found["blended"]["by_magnitude"]
            expected = [100 * row[method][name] for row in rows]
            np.testing.assert_allclose(line(axis, label).get_ydata(), expected)
        shown = [int(text.get_text()) for text in axis.texts]
        assert shown == [row["vae"]["n"] for row in rows]


def test_tsne_is_the_tables_and_its_colours_the_parameters(sets):
    column = sets["blended"]
    figure = maps.embedding(column, "vae_ii")
    panels = [axis for axis in figure.axes if axis.collections and axis.get_title("left")]
    assert len(panels) == len(maps.PARAMETERS)
    for axis, name in zip(panels, maps.PARAMETERS, strict=True):
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
    table = maps.as_table(cells, ("purity", "separation"))
    assert table["purity_low"].tolist() == [0, 0, 0.5, 0.5] and table["n"].sum() == 80


def test_profiles_go_from_good_to_bad_and_show_the_stamps(sets):
    column, images = sets["blended"], evaluated.pictures("blended")
    figure = stamps.profiles(column, images, 0.1)
    order = np.argsort(column["cosine_distance"])
    for k, quantile in enumerate(QUANTILES):
        i = order[int(quantile * 79)]
        row = figure.axes[5 * k : 5 * k + 5]
        rms = charts.background_rms(images["input"][i, ..., 0])
        names = ("input", "truth", "reconstruction")
        for axis, name in zip(row, names, strict=False):
            np.testing.assert_allclose(axis.images[0].get_array(), images[name][i, ..., 0] / rms)
        residual = (images["reconstruction"] - images["truth"])[i, ..., 0]
        np.testing.assert_allclose(row[3].images[0].get_array(), residual / rms)
        assert f"{100 * column['vae_error'][i]:+.0f} %" in row[0].get_ylabel()


def test_failures_show_stamps_of_their_class_with_true_positions(sets):
    column, images = sets["blended"], evaluated.pictures("blended")
    figure = stamps.failures(column, images, 0.1)
    classes = [name for name in stamps.CLASSES if (column["default_failure"] == name).any()]
    for k, name in enumerate(classes):
        rows = np.flatnonzero(column["default_failure"] == name)
        axis = figure.axes[6 * k]
        assert axis.get_title(loc="left") == f"{stamps.CLASSES[name]}: {len(rows)} stamps"
        y, x = column["position"][rows[0], 0] + (evaluated.SIZE - 1) / 2
        assert axis.patches[0].center == pytest.approx((x, y))
        assert len(axis.patches) == 2  # the central galaxy and one companion


def test_radial_profiles_are_means_of_the_columns(sets):
    figure = curves.radial(sets, 0.1)
    for axis, column in zip(figure.axes, sets.values(), strict=False):
        for method, label in (("truth", "truth"), ("vae", "VAE")):
            mean = column[f"{method}_profile"].mean(axis=0)
            expected = 23.9 - 2.5 * np.log10(mean)
            np.testing.assert_allclose(line(axis, label).get_ydata(), expected)


def test_calibration_draws_coverage_and_pit(sets):
    numbers = {
        k: evaluated.summary(k, evaluated.example_table(k, 80, i)) for i, k in enumerate(sets)
    }
    figure = flux_errors.calibration(sets, numbers)
    drawn = line(figure.axes[0], "blended, VAE")
    expected = numbers["blended"]["coverage"]
    np.testing.assert_allclose(drawn.get_ydata(), 100 * np.array(expected["vae"]))
    np.testing.assert_allclose(drawn.get_xdata(), 100 * np.array(expected["nominal"]))
    counts, _ = np.histogram(sets["blended"]["vae_pit"], 20, (0, 1))
    stairs = figure.axes[1].patches[1].get_data()
    np.testing.assert_allclose(stairs.values, 20 * counts / 80)


def test_losses_are_the_records(sets):
    records = evaluated.RECORDS + [{"step": 1100, "train_loss": float("nan"), "train_kl": None}]
    figure = curves.losses({"isolated": records, "blended": []})
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["loss", "reconstruction", "kl"]
    drawn = line(figure.axes[0], "validation")
    np.testing.assert_allclose(drawn.get_xdata(), [r["step"] for r in evaluated.RECORDS])
    expected = [r["validation_loss"] for r in evaluated.RECORDS]
    np.testing.assert_allclose(drawn.get_ydata(), expected)
    with pytest.raises(NoData, match="no training"):
        curves.losses({"isolated": [], "blended": []})


def test_recovered_shapes_are_the_columns(sets):
    figure = maps.shapes({"blended": sets["blended"]})
    for axis, name in zip(figure.axes, ("half_light_radius", "axis_ratio"), strict=False):
        true, found = (sets["blended"][f"{m}_{name}"] for m in ("truth", "vae"))
        parts = metrics.equal_bins(true, 8)
        drawn = line(axis, "median, 16-84 %")
        np.testing.assert_allclose(drawn.get_ydata(), [np.median(found[p]) for p in parts])


def test_each_method_has_one_colour_everywhere(sets):
    found = {"blended": evaluated.summary("blended", evaluated.example_table("blended", 80, 1))}
    figures = (
        flux_errors.errors_against(sets, "magnitude", "magnitude"),
        flux_errors.histogram(sets),
        flux_errors.statistics(found),
        flux_errors.by_purity(sets["blended"]),
        curves.radial(sets, 0.1),
    )
    named = 0
    for figure in figures:
        for axis in figure.axes:
            handles, labels = axis.get_legend_handles_labels()
            for handle, label in zip(handles, labels, strict=True):
                if label in COLOURS:
                    colour = getattr(handle, "get_edgecolor", lambda h=handle: h.get_color())()
                    assert matplotlib.colors.same_color(colour, COLOURS[label])
                    named += 1
    assert named > 15


def test_what_is_not_there_is_named(sets):
    with pytest.raises(NoData, match="no set of stamps in which the purity varies"):
        flux_errors.errors_against({"isolated": sets["isolated"]}, "purity", "purity")
    blind = dict(sets["blended"]) | {"sextractor_error": np.full(80, np.nan)}
    with pytest.raises(NoData, match="SExtractor measured none"):
        maps.closer({"blended": blind})
    with pytest.raises(NoData, match="no test stamps"):
        flux_errors.histogram({})


def test_classes_have_names():
    assert set(stamps.CLASSES) == set(metrics.FAILURES)
