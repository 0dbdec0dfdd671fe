"""Morphology of shapes whose statistics are known, and comparisons of sets of them."""

import json
import sys

import galsim
import numpy as np
import pytest

pytest.importorskip("statmorph")

from vaedeblend.evaluate.realism import (  # noqa: E402
    Morphology,
    central_segment,
    difference,
    measure_morphology,
    morphology_features,
    nearness,
    power_spectra,
    separability,
)

SIDE = 96
RMS = 0.02
"""Of noise, in units of the mean surface brightness within the half-light radius."""
BLUR = galsim.Gaussian(sigma=1)
PSF = BLUR.drawImage(nx=11, ny=11, scale=1, method="no_pixel", dtype=float).array


def sersic(index, radius=6.0, ratio=0.6, angle=30.0):
    """A profile [pixel], of unit mean surface brightness within the ellipse of half its light."""
    round_ = galsim.Sersic(index, half_light_radius=radius * ratio**0.5)
    light = galsim.Convolve(round_.shear(q=ratio, beta=angle * galsim.degrees), BLUR)
    image = light.drawImage(nx=SIDE, ny=SIDE, scale=1, method="no_pixel", dtype=float).array
    return image * 2 * np.pi * radius**2 * ratio


def noise(seed=0, rms=RMS):
    return rms * np.random.default_rng(seed).standard_normal((SIDE, SIDE))


def gaussian(sigma):
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    return np.exp(-0.5 * (x**2 + y**2) / sigma**2)


@pytest.fixture(scope="module")
def shapes():
    clumps = sersic(1.0)
    clumps[40:43, 56:59] += 3.0
    clumps[55:58, 50:53] += 3.0
    square = np.pad(np.ones((32, 32)), 32)
    all_ = {
        "gaussian": gaussian(6.0),
        "exponential": sersic(1.0),
        "bulge": sersic(4.0),
        "clumps": clumps,
        "square": square,
    }
    found = measure_morphology(np.stack([each + noise() for each in all_.values()]), RMS, PSF)
    return {n: Morphology(*(field[i] for field in found)) for i, n in enumerate(all_)}


def test_symmetric_galaxies_have_no_asymmetry(shapes):
    for name in ("gaussian", "exponential", "bulge"):
        assert abs(shapes[name].asymmetry) < 0.02
    assert shapes["clumps"].asymmetry > 0.1


def test_gaussian_has_the_concentration_of_its_formula(shapes):
    """5 log r80/r20, within 1.5 Petrosian radii, which hold all of it."""
    wanted = 2.5 * np.log10(np.log(0.2) / np.log(0.8))
    assert shapes["gaussian"].concentration == pytest.approx(wanted, abs=0.03)


def test_concentrated_light_is_more_unequal(shapes):
    order = [shapes[name] for name in ("square", "gaussian", "exponential", "bulge")]
    for name, sign in (("concentration", 1), ("gini", 1), ("m20", -1)):
        values = [sign * getattr(each, name) for each in order]
        assert values == sorted(values)
    # Not 0: what statmorph takes for the galaxy includes a rim without light.
    assert shapes["square"].gini < 0.3


def test_clumps_are_unsmooth_and_spread_the_brightest_light(shapes):
    assert shapes["clumps"].smoothness > shapes["exponential"].smoothness + 0.02
    assert shapes["clumps"].m20 > shapes["exponential"].m20 + 0.1


def test_sersic_fit_finds_the_parameters_asked_for(shapes):
    found = shapes["exponential"]
    assert found.fitted
    assert found.sersic_index == pytest.approx(1.0, abs=0.05)
    assert found.half_light_radius == pytest.approx(6.0, rel=0.03)
    assert found.axis_ratio == pytest.approx(0.6, abs=0.02)
    assert found.position_angle == pytest.approx(30.0, abs=2)


def test_statistics_do_not_depend_on_flux_scale_or_a_quarter_turn():
    stamp = sersic(1.5) + noise()
    first, brighter = (measure_morphology(k * stamp[None], k * RMS) for k in (1.0, 1e3))
    turned = measure_morphology(np.rot90(stamp)[None], RMS)
    assert first.measured.all()
    np.testing.assert_allclose(morphology_features(brighter), morphology_features(first), rtol=1e-6)
    # Smoothness depends on how pixels lie on its aperture: by as much as 0.02.
    change = abs(morphology_features(turned) - morphology_features(first))[0]
    assert (change < [2e-3, 2e-3, 0.03, 2e-3, 2e-3]).all()


@pytest.mark.parametrize("stamp", [np.zeros((SIDE, SIDE)), -gaussian(5.0)])
def test_stamps_without_light_are_left_out(stamp):
    found = measure_morphology(np.stack([stamp, sersic(1.0) + noise()]), RMS)
    assert found.measured.tolist() == found.fitted.tolist() == [False, True]
    assert np.isnan(found.gini[0]) and morphology_features(found).shape == (1, 5)


@pytest.mark.parametrize("stamp", [noise(), noise() + np.eye(SIDE)[::-1]])
def test_stamps_that_hold_anything_else_do_no_harm(stamp):
    found = measure_morphology(stamp[None], RMS)
    assert (
        np.isfinite(morphology_features(found)).all()
        and len(morphology_features(found)) == found.measured.sum()
    )


def test_segment_is_the_galaxy_in_the_middle():
    both = np.roll(gaussian(4.0), 30, axis=1) + gaussian(4.0)
    segment = central_segment(both / RMS)
    assert segment[SIDE // 2, SIDE // 2] and not segment[SIDE // 2, SIDE // 2 + 30]
    assert not central_segment(np.zeros((9, 9))).any()


def test_power_of_a_gaussian_is_a_gaussian():
    frequency, power = power_spectra(np.stack([gaussian(2.5), 9 * gaussian(2.5)]))
    wanted = np.exp(-((2 * np.pi * frequency * 2.5) ** 2))
    near = frequency < 0.15
    np.testing.assert_allclose(power[0, near], wanted[near], rtol=0.08)
    np.testing.assert_allclose(power[0], power[1], atol=1e-12)
    assert frequency[0] == pytest.approx(1 / SIDE) and frequency[-1] < 0.5


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(3)
    return [rng.standard_normal((n, 5)) for n in (150, 150, 150)]


def test_sets_of_one_population_cannot_be_separated(sets):
    found = separability(*sets[:2], seed=1)
    assert abs(found.auc - 0.5) < 3 * found.error and 0.02 < found.error < 0.06
    assert difference(sets[0][:, 0], sets[1][:, 0]).p_value > 0.01


def test_different_sets_are_separated(sets):
    shifted = sets[1] + [3, 0, 0, 0, 0]
    assert separability(sets[0], shifted, seed=1).auc > 0.95
    found = difference(sets[0][:, 0], shifted[:, 0])
    assert found.distance > 0.8 and found.p_value < 1e-9
    # By what no single number shows, too.
    bent = np.column_stack([sets[1][:, 0], sets[1][:, 0], sets[1][:, 2:]])
    bent = np.insert(bent, 4, sets[2][:, 0], axis=1)[:, :5]
    assert separability(sets[0], bent, seed=1).auc > 0.65


def test_small_sets_are_refused(sets):
    with pytest.raises(ValueError, match="sets of 4 and 150; wanted five"):
        separability(sets[0][:4], sets[1], seed=0)


def test_memorised_sets_are_found_and_new_ones_are_not(sets, rng):
    learned, held_out, new = sets
    fresh = nearness(new, learned, held_out)
    assert abs(fresh.nearer - 0.5) < 0.12 and fresh.p_value > 1e-3 and fresh.copies < 0.1
    copied = nearness(learned + 0.02 * rng.standard_normal(learned.shape), learned, held_out)
    assert copied.nearer > 0.99 and copied.p_value < 1e-9 and copied.copies > 0.9
    # A third of them copies.
    part = nearness(np.concatenate([learned[:50], new[:100]]), learned, held_out)
    assert part.copies > 0.3 and part.p_value < 1e-2
    assert nearness(5 + new, learned, held_out).nearer < 0.1


@pytest.mark.slow
def test_benchmark_writes_table_figure_and_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend("tests/benchmarks")
    import realism

    command = [
        "realism.py",
        "--styles",
        "structured",
        "sersic",
        "--n",
        "6",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", command)
    realism.main()
    numbers = json.loads((tmp_path / "realism.json").read_text())
    assert numbers["styles"] == ["structured", "sersic"]
    assert 0 <= numbers["separability"]["auc"] <= 1
    assert (tmp_path / "realism.png").stat().st_size > 20_000
    assert (tmp_path / "first.ecsv").is_file() and "AUC" in capsys.readouterr().out


@pytest.mark.slow
def test_benchmark_compares_a_style_with_real_galaxies(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend("tests/benchmarks")
    import hubble
    import realism

    hubble.write(tmp_path / "cosmos", 8)
    words = ["--real", tmp_path / "cosmos", "--styles", "structured", "--twins", 1]
    monkeypatch.setattr(sys, "argv", list(map(str, ["realism.py", *words, "--out", tmp_path])))
    realism.main()
    numbers = json.loads((tmp_path / "realism.json").read_text())["structured"]
    assert numbers["styles"] == ["structured", "real"] and numbers["n"][1] >= 5
    assert 0 <= numbers["separability"]["auc"] <= 1 and "AUC" in capsys.readouterr().out
