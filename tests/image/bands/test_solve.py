import numpy as np
import pytest
from scipy import sparse

from vaedeblend.image.bands.fitting.solve import Problem, pixel_chi2, sky_mesh, solve, source_chi2

SHAPE = 40, 60
PLACES = np.array([[10.0, 10.0], [12.0, 13.0], [30.0, 45.0]])
FLUX, NONE = np.array([100.0, 40.0, 60.0]), np.zeros(3)


def make_problem(rng=None, sky=0.0, places=PLACES, cut=10):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    square = (y - places[:, 0, None, None]) ** 2 + (x - places[:, 1, None, None]) ** 2
    light = np.where(square < cut**2, np.exp(-square / 8) / (8 * np.pi), 0)
    grown = light * (square / 4 - 2)
    matrices = [sparse.csc_array(each.reshape(len(places), -1).T) for each in (light, grown)]
    weight = np.full(SHAPE, 4.0)
    weight[:, 50:] = 0
    data = (FLUX[: len(places), None, None] * light).sum(axis=0) + sky
    if rng is not None:
        data = data + rng.standard_normal(SHAPE) / 2
    return Problem(*matrices, data.ravel(), weight.ravel(), sky_mesh(SHAPE, 30))


def test_fluxes_and_background_are_those_of_least_squares():
    problem = make_problem(np.random.default_rng(1), sky=0.3)
    found = solve(problem, NONE, NONE)
    design = np.concatenate([problem.light.toarray(), problem.sky.toarray()], axis=1)
    normal = design.T @ (problem.weight[:, None] * design)
    expected = np.linalg.solve(normal, design.T @ (problem.weight * problem.data))
    covariance = np.linalg.inv(normal)
    assert found.flux == pytest.approx(expected[:3], rel=1e-6)
    assert found.background == pytest.approx(expected[3:], rel=1e-5)
    assert found.diagonal("noise") == pytest.approx(np.diagonal(covariance)[:3], rel=1e-6)
    pair = next(block for block in found.blocks if len(block.members) == 2)
    assert pair.noise == pytest.approx(covariance[:2, :2], rel=1e-6)
    assert found.inflation[2] == pytest.approx(1.1, abs=0.05)


def test_groups_share_pixels():
    found = solve(make_problem(), NONE, NONE)
    assert sorted(len(block.members) for block in found.blocks) == [1, 2]
    assert found.flux == pytest.approx(FLUX, rel=1e-6)


def test_errors_of_sizes_move_the_fluxes_of_a_group():
    problem, error = make_problem(), np.array([0.0, 0.1, 0.05])
    found = solve(problem, error, NONE)
    alone = problem.grown @ sparse.diags_array([0.0, 1e-4, 0.0])
    larger = problem._replace(light=(problem.light + alone).tocsc())
    moved = (solve(larger, error, NONE).flux - found.flux)[1] / 1e-4
    assert found.response[1] * FLUX[1] == pytest.approx(moved, rel=0.01)
    assert 1 < found.response[2] < 1.5  # 1 without a background
    spread = np.sqrt(found.diagonal("profile"))
    assert spread[2] == pytest.approx(0.05 * FLUX[2] * found.response[2], rel=1e-6)
    assert spread[0] > 0  # by its neighbour's profile alone
    differing = solve(problem, NONE, error)
    assert np.sqrt(differing.diagonal("profile"))[2] == pytest.approx(spread[2], rel=1e-6)


def test_fluxes_are_held_above_zero_on_request():
    problem = make_problem()
    problem = problem._replace(data=problem.data - 60 * problem.light[:, [1]].toarray()[:, 0])
    assert solve(problem, NONE, NONE).flux[1] == pytest.approx(-20, rel=1e-4)
    found = solve(problem, NONE, NONE, non_negative=True).flux
    assert found[1] == 0 and found[2] == pytest.approx(FLUX[2], rel=1e-3)


def test_sources_of_one_template_are_known_by_their_errors():
    found = solve(make_problem(places=PLACES[[0, 0, 2]]), NONE, NONE)
    assert np.isfinite(found.flux).all() and found.inflation[0] > 1000
    assert found.flux[2] == pytest.approx(FLUX[2], rel=1e-3)


def test_a_source_without_valid_pixels_is_left_alone():
    found = solve(
        make_problem(places=np.array([[10.0, 10.0], [5.0, 58.0]]), cut=7), NONE[:2], NONE[:2]
    )
    assert found.diagonal("noise")[1] == 0 and found.flux[0] == pytest.approx(100, rel=1e-6)


def test_chi2_is_one_of_what_is_noise():
    problem = make_problem(np.random.default_rng(2))
    chi2 = pixel_chi2(problem, solve(problem, NONE, NONE))
    assert chi2[problem.weight > 0].mean() == pytest.approx(1, abs=0.08)
    assert not chi2[problem.weight == 0].any()
    spoilt = problem._replace(data=problem.data + 40 * problem.grown[:, [2]].toarray()[:, 0])
    per_source = source_chi2(problem, pixel_chi2(spoilt, solve(spoilt, NONE, NONE)))
    assert per_source[2] > 2 * per_source[0]


def test_tents_add_up_to_one():
    for shape in ((10, 600), (300, 300), (1, 1)):
        assert sky_mesh(shape).sum(axis=1) == pytest.approx(1)
    assert sky_mesh((100, 100)).shape == (10_000, 1)
