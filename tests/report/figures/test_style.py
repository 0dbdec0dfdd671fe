import evaluated
import matplotlib.colors
import numpy as np
import pytest

from vaedeblend.exceptions import NoData
from vaedeblend.report.figures import curves, flux_errors, maps
from vaedeblend.report.figures.style import COLOURS


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
        maps.head_to_head({"blended": blind})
    with pytest.raises(NoData, match="no test stamps"):
        flux_errors.histogram({})
