import astropy.units as u
import numpy as np
import pytest

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.survey import (
    Band,
    Survey,
    flux_to_magnitude,
    magnitude_error,
    magnitude_to_flux,
    make_survey,
    stamp_centre,
)


def test_vis_gain_and_background_are_those_of_the_q1_stack():
    vis = Survey()
    np.testing.assert_allclose(vis.gain, 14277, rtol=1e-4)
    np.testing.assert_allclose(vis.background, 672, rtol=2e-3)
    np.testing.assert_allclose(vis.rms, 0.00182, rtol=3e-3)


def test_variance_is_background_in_flux_units():
    vis = Survey()
    np.testing.assert_allclose(vis.variance, vis.background / vis.gain**2)
    np.testing.assert_allclose(vis.rms**2, vis.variance, rtol=1e-6)


def test_quantities_are_converted():
    band = Band(exposure_time=10 * u.min, wavelength=0.8 * u.um, aperture=120 * u.cm)
    assert band.exposure_time == 600 * u.s
    assert band.wavelength.value == pytest.approx(800)
    assert band.aperture.value == pytest.approx(1.2)
    assert Survey(pixel_scale=100 * u.mas).pixel_scale.value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Survey(pixel_scale=0.0), "pixel_scale is 0.0 arcsec; wanted a number above 0"),
        (lambda: Survey(pixel_scale=np.nan), "pixel_scale is nan arcsec; wanted"),
        (lambda: Band(exposure_time=-1.0), "exposure_time is -1.0 s; wanted a number above 0"),
        (lambda: Band(n_exposures=0), "n_exposures is 0; wanted a number above 0"),
    ],
)
def test_numbers_by_which_others_are_divided_are_above_zero(make, said):
    with pytest.raises(VaedeblendError, match=said):
        make()


def test_quantity_of_another_dimension_is_refused():
    with pytest.raises(u.UnitConversionError):
        Band(exposure_time=10 * u.m)


def test_misspelt_band_key_is_a_type_error():
    with pytest.raises(TypeError, match="exposure_tme"):
        make_survey({"euclid-vis": {"exposure_tme": 560.5}}, 0.1)


def test_bands_keep_their_order_and_their_own_depth():
    survey = make_survey({"deep": {"n_exposures": 16}, "shallow": {}}, 0.2)
    assert survey.band_names == ("deep", "shallow")
    np.testing.assert_allclose(survey.gain[0] / survey.gain[1], 4, rtol=1e-6)
    assert survey.rms[0] < survey.rms[1]


def test_magnitudes_invert():
    magnitudes = np.linspace(18, 27, 10)
    np.testing.assert_allclose(flux_to_magnitude(magnitude_to_flux(magnitudes)), magnitudes)
    assert magnitude_to_flux(23.9) == pytest.approx(1)


def test_errors_of_magnitudes_are_of_positive_fluxes():
    found = magnitude_error(np.array([100.0, 100.0, 0.0, -1.0]), np.array([1.0, 0.0, 1.0, 1.0]))
    np.testing.assert_allclose(found, [1.0857e-2, 0, np.nan, np.nan], rtol=1e-4)
    brighter = flux_to_magnitude(100.0) - flux_to_magnitude(100.01)
    assert magnitude_error(100.0, 0.01) == pytest.approx(brighter, rel=1e-3)


def test_centre_of_even_and_odd_stamps():
    assert stamp_centre(64) == 31.5
    assert stamp_centre(5) == 2
