import evaluated
import numpy as np
import pytest

from vaedeblend.catalogues import catalogue
from vaedeblend.report.figures import inputs


def test_histograms_hold_the_catalogue_and_the_chosen():
    table = evaluated.catalog(500)
    found = inputs.histograms(table, evaluated.CUTS)
    chosen = catalogue.select(table, evaluated.CUTS)
    for name in inputs.QUANTITIES:
        assert found[name]["before"].sum() == 500 and found[name]["after"].sum() == len(chosen)
        assert (found[name]["after"] <= found[name]["before"]).all()


def test_histograms_as_a_table():
    found = inputs.histograms(evaluated.catalog(500), evaluated.CUTS)
    table = inputs.as_table(found)
    part = table[table["quantity"] == "magnitude"]
    np.testing.assert_array_equal(part["before"], found["magnitude"]["before"])
    np.testing.assert_allclose(part["high"][:-1], part["low"][1:])


def test_widths_of_a_gaussian_psf():
    table, numbers = inputs.psf_table(*evaluated.gaussian_psf(sigma=0.1))
    assert numbers["fwhm"] == pytest.approx(0.2355, rel=0.02)
    assert numbers["within"] == pytest.approx(1 - np.exp(-(5**2) / 2), abs=1e-3)
    assert table["enclosed"][-1] == pytest.approx(1, abs=1e-6)
    assert np.all(np.diff(table["profile"]) < 0)


def test_training_is_summarised_by_its_ends():
    numbers = inputs.training_numbers(evaluated.RECORDS)
    assert numbers["steps"] == 1000 and numbers["first_validation"] == pytest.approx(11)
    assert numbers["last_train"] == pytest.approx(1) and numbers["gap"] == pytest.approx(0.1)
    assert numbers["least_train_step"] == 1000
    assert inputs.training_numbers([]) == {}


def test_records_that_lack_a_number_leave_it_out():
    records = [*evaluated.RECORDS, {"step": 1100, "train_loss": float("nan")}]
    numbers = inputs.training_numbers(records)
    assert "gap" not in numbers and numbers["least_validation"] == pytest.approx(1.1)
    table = inputs.history_table(records)
    assert len(table) == 11 and np.isnan(table["validation_loss"][-1])
