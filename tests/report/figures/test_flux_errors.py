import evaluated
import numpy as np
from reports import line

from vaedeblend.evaluate import metrics
from vaedeblend.report.figures import flux_errors
from vaedeblend.report.figures.style import METHODS


def test_running_medians_are_those_of_the_columns(sets):
    figure = flux_errors.errors_against(sets, "magnitude", "magnitude")
    for row, column in zip((figure.axes[:2], figure.axes[2:]), sets.values(), strict=True):
        for axis, (method, name) in zip(row, METHODS.items(), strict=True):
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
        for patch, method in zip(outlines, METHODS, strict=True):
            clipped = np.clip(100 * column[f"{method}_error"], -100, 100)
            heights = patch.get_xy()[1:-1, 1][::2]
            expected, _ = np.histogram(clipped, np.linspace(-102.5, 102.5, 42))
            np.testing.assert_array_equal(heights[: len(expected)], expected)
            assert expected.sum() == 80


def test_statistics_are_those_of_the_bins(sets):
    found = {"blended": evaluated.summary("blended", evaluated.example_table("blended", 80, 1))}
    figure = flux_errors.statistics(found)
    for axis, name in zip(figure.axes, flux_errors.STATISTIC_LABELS, strict=True):
        for method, label in METHODS.items():
            rows = found["blended"]["by_magnitude"]
            expected = [100 * row[method][name] for row in rows]
            np.testing.assert_allclose(line(axis, label).get_ydata(), expected)
        shown = [int(text.get_text()) for text in axis.texts]
        assert shown == [row["vae"]["n"] for row in rows]


def test_calibration_draws_coverage_and_pit(sets):
    numbers = {
        k: evaluated.summary(k, evaluated.example_table(k, 80, i)) for i, k in enumerate(sets)
    }
    figure = flux_errors.coverage_and_pit(sets, numbers)
    drawn = line(figure.axes[0], "blended, network")
    expected = numbers["blended"]["coverage"]
    np.testing.assert_allclose(drawn.get_ydata(), 100 * np.array(expected["vae"]))
    np.testing.assert_allclose(drawn.get_xdata(), 100 * np.array(expected["nominal"]))
    counts, _ = np.histogram(sets["blended"]["vae_pit"], 20, (0, 1))
    stairs = figure.axes[1].patches[1].get_data()
    np.testing.assert_allclose(stairs.values, 20 * counts / 80)
