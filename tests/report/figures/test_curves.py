import evaluated
import numpy as np
import pytest
from reports import line

from vaedeblend.catalogues import catalogue
from vaedeblend.exceptions import NoData
from vaedeblend.report.figures import curves


def test_radial_profiles_are_means_of_the_columns(sets):
    figure = curves.radial(sets, 0.1)
    for axis, column in zip(figure.axes, sets.values(), strict=False):
        for method, label in (("truth", "truth"), ("vae", "network")):
            mean = column[f"{method}_profile"].mean(axis=0)
            expected = 23.9 - 2.5 * np.log10(mean)
            np.testing.assert_allclose(line(axis, label).get_ydata(), expected)


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


def test_histograms_hold_the_catalogue_and_the_chosen():
    table = evaluated.catalog(500)
    found = curves.histograms(table, evaluated.CUTS)
    chosen = catalogue.select(table, evaluated.CUTS)
    for name in curves.QUANTITIES:
        assert found[name]["before"].sum() == 500 and found[name]["after"].sum() == len(chosen)
        assert (found[name]["after"] <= found[name]["before"]).all()


def test_histograms_as_a_table():
    found = curves.histograms(evaluated.catalog(500), evaluated.CUTS)
    table = curves.histogram_table(found)
    part = table[table["quantity"] == "magnitude"]
    np.testing.assert_array_equal(part["before"], found["magnitude"]["before"])
    np.testing.assert_allclose(part["high"][:-1], part["low"][1:])


def test_widths_of_a_gaussian_psf():
    psf = evaluated.gaussian_psf(sigma=0.1)
    table, numbers = curves.psf_table(psf.image, psf.pixel_scale)
    assert numbers["fwhm"] == pytest.approx(0.2355, rel=0.02)
    assert numbers["within"] == pytest.approx(1 - np.exp(-(5**2) / 2), abs=1e-3)
    assert table["enclosed"][-1] == pytest.approx(1, abs=1e-6)
    assert np.all(np.diff(table["profile"]) < 0)


def test_training_is_summarised_by_its_ends():
    numbers = curves.training_numbers(evaluated.RECORDS)
    assert numbers["steps"] == 1000 and numbers["first_validation"] == pytest.approx(11)
    assert numbers["last_train"] == pytest.approx(1) and numbers["gap"] == pytest.approx(0.1)
    assert numbers["least_train_step"] == 1000
    assert curves.training_numbers([]) == {}


def test_records_that_lack_a_number_leave_it_out():
    records = [*evaluated.RECORDS, {"step": 1100, "train_loss": float("nan")}]
    numbers = curves.training_numbers(records)
    assert "gap" not in numbers and numbers["least_validation"] == pytest.approx(1.1)
    table = curves.history_table(records)
    assert len(table) == 11 and np.isnan(table["validation_loss"][-1])
