import evaluated
import numpy as np
import pytest

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.evaluation import QUANTILES
from vaedeblend.report.figures import stamps
from vaedeblend.report.figures.style import robust_rms


def test_profiles_go_from_good_to_bad_and_show_the_stamps(sets):
    column, images = sets["blended"], evaluated.pictures("blended")
    figure = stamps.profiles(column, images, 0.1)
    order = np.argsort(column["cosine_distance"])
    for k, quantile in enumerate(QUANTILES):
        i = order[int(quantile * 79)]
        row = figure.axes[5 * k : 5 * k + 5]
        rms = robust_rms(images["input"][i, ..., 0])
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


def test_classes_have_names():
    assert set(stamps.CLASSES) == set(metrics.FAILURES)
