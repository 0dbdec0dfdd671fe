import jax
import numpy as np
import pytest

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.evaluate.fisher import (
    _precision,
    derivatives,
    fisher,
    flux_bound,
    make_optics,
    source_parameters,
)
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate.render import make_draw, survey_psfs
from vaedeblend.survey import Band, Survey

SIZE, SCALE = 64, 0.1
SURVEY = Survey()
CENTRAL = {
    "position": (0.3, -0.2),
    "flux_bulge": (0.2,),
    "flux_disk": (0.5,),
    "bulge_half_light_radius": 0.12,
    "disk_half_light_radius": 0.3,
    "bulge_axis_ratio": 0.6,
    "disk_axis_ratio": 0.6,
    "bulge_position_angle": 35.0,
    "disk_position_angle": 35.0,
}
COMPANION = CENTRAL | {
    "position": (6.0, 5.0),
    "flux_disk": (1.0,),
    "disk_half_light_radius": 0.5,
    "disk_axis_ratio": 0.3,
    "bulge_position_angle": -60.0,
    "disk_position_angle": -60.0,
}
BULGELESS = CENTRAL | {"flux_bulge": (0.0,)}
ROUND = CENTRAL | {"bulge_axis_ratio": 1.0, "disk_axis_ratio": 1.0}
STAR = COMPANION | dict.fromkeys(("bulge_half_light_radius", "disk_half_light_radius"), 0.0)
EDGE = COMPANION | {"position": (-25.4, 28.1), "disk_half_light_radius": 1.0}
CASES = {
    "galaxy": CENTRAL,
    "flat": COMPANION,
    "bulge": CENTRAL | {"flux_disk": (0.0,), "bulge_half_light_radius": 0.02},
    "star": STAR | {"bulge_axis_ratio": 1.0, "disk_axis_ratio": 1.0},
    "at the edge": EDGE,
}
NOTHING = {name: np.zeros_like(value) for name, value in CENTRAL.items()}


def stack(*scenes):
    """What `dataset.load` would return of these scenes, lists of sources of equal lengths."""
    return {
        f"sources/{name}": np.array([[s[name] for s in scene] for scene in scenes], np.float32)
        for name in CENTRAL
    }


@pytest.fixture(scope="module")
def psfs():
    return survey_psfs(SURVEY, SIZE)


@pytest.fixture(scope="module")
def draw(psfs):
    reference = make_draw(psfs, size=SIZE, pixel_scale=SCALE)

    def draw(source):
        fields = {name: np.float64(source[name]) for name in Galaxies._fields}
        return reference(Galaxies(**fields), source["position"])[..., 0].astype(float)

    return draw


@pytest.fixture(scope="module")
def bound(psfs):
    return lambda *scenes: flux_bound(stack(*scenes), SURVEY, psfs)


@pytest.fixture(scope="module")
def images(psfs):
    optics = make_optics(psfs[0], SCALE, SIZE)

    def images(source):
        sources = source_parameters(stack([source]), SCALE)
        return np.asarray(derivatives(jax.tree.map(lambda a: a[0, 0], sources), optics, SIZE))

    return images


def many(rng, n, k):
    """Scenes of k sources of random fluxes, places and shapes."""

    def source(i):
        angle = rng.uniform(-90, 90)
        return {
            "position": rng.uniform(-0.5, 0.5, 2) if i == 0 else rng.uniform(-12, 12, 2),
            "flux_bulge": rng.uniform(0.05, 0.2, 1),
            "flux_disk": rng.uniform(0.3, 1.0, 1),
            "bulge_half_light_radius": rng.uniform(0.01, 0.1),
            "disk_half_light_radius": rng.uniform(0.1, 0.4),
            "bulge_axis_ratio": rng.uniform(0.3, 1.0),
            "disk_axis_ratio": rng.uniform(0.3, 1.0),
            "bulge_position_angle": angle,
            "disk_position_angle": angle,
        }

    return [[source(i) for i in range(k)] for _ in range(n)]


def changed(source, parameter, step):
    """The source with one parameter in the units of the catalogue changed, for both components."""
    new = {name: np.array(value, float) for name, value in source.items()}
    if parameter in ("y", "x"):
        new["position"]["yx".index(parameter)] += step
    else:
        for name in new:
            if name.endswith(parameter):
                new[name] = new[name] + step
    return new


def information(derivative, variance):
    flat = np.reshape(derivative, (len(derivative), -1))
    return flat / variance.ravel() @ flat.T


@pytest.mark.parametrize("case", CASES)
def test_light_is_the_renderer_s(images, draw, case):
    source = CASES[case]
    bulge, disk = images(source)[:2]
    wanted = draw(source)
    light = source["flux_bulge"][0] * bulge + source["flux_disk"][0] * disk
    np.testing.assert_allclose(light, wanted, rtol=0, atol=3e-4 * wanted.max())


def test_light_is_the_renderer_s_with_a_psf_at_the_survey_s_pixels():
    axis = np.exp(-0.5 * (np.arange(-15, 16) * SCALE / 0.1) ** 2)
    psf = make_psf(np.outer(axis, axis), SCALE)
    sources = source_parameters(stack([COMPANION]), SCALE)
    optics = make_optics(psf, SCALE, SIZE)
    disk = derivatives(jax.tree.map(lambda a: a[0, 0], sources), optics, SIZE)[1]
    galaxy = Galaxies(**{name: np.float64(COMPANION[name]) for name in Galaxies._fields})
    galaxy = galaxy._replace(flux_bulge=np.zeros(1))
    wanted = make_draw((psf,), size=SIZE, pixel_scale=SCALE)(galaxy, COMPANION["position"])[..., 0]
    np.testing.assert_allclose(disk, wanted, rtol=0, atol=2e-3 * wanted.max())


def test_bound_is_that_of_differences_between_the_renderer_s_images(bound, draw):
    steps = {"flux_bulge": 0.1, "flux_disk": 0.1, "y": 0.03, "x": 0.03}
    steps |= {"bulge_half_light_radius": 0.005, "disk_half_light_radius": 0.01}
    steps |= {"axis_ratio": 0.02, "position_angle": 2.0}
    derivative = np.array(
        [(draw(changed(CENTRAL, p, h)) - draw(changed(CENTRAL, p, -h))) / (2 * h)
         for p, h in steps.items()]
    )  # fmt: skip
    variance = SURVEY.variance[0] + draw(CENTRAL) / SURVEY.gain[0]
    covariance = np.linalg.inv(information(derivative, variance))
    wanted = np.sqrt(covariance[:2, :2].sum()) / 0.7
    assert bound([CENTRAL]).free[0] == pytest.approx(wanted, rel=0.01)


def test_two_disks_of_known_shape(draw, psfs):
    """sigma = sigma_isolated / sqrt(1 - rho^2), rho the noise-weighted cosine of the templates."""
    close = COMPANION | {"position": (2.5, 1.0), "flux_bulge": (0.0,)}
    optics = make_optics(psfs[0], SCALE, SIZE)
    variance, gain = SURVEY.variance[0], SURVEY.gain[0]
    sources = source_parameters(stack([BULGELESS, close]), SCALE)
    found = fisher(sources, optics, variance, gain, size=SIZE, batch_size=1)
    found = np.asarray(found, np.float64)[0]
    sigma = np.sqrt(np.linalg.inv(found[np.ix_([1, 9], [1, 9])])[0, 0])
    noise = variance + (draw(BULGELESS) + draw(close)) / gain
    central, other = draw(BULGELESS) / 0.5, draw(close)
    square = np.sum(central**2 / noise)
    cosine = np.sum(central * other / noise) / np.sqrt(square * np.sum(other**2 / noise))
    assert cosine > 0.4
    assert sigma == pytest.approx(1 / np.sqrt(square * (1 - cosine**2)), rel=1e-3)


def test_companions_never_lower_the_bound(bound, rng):
    scenes = many(rng, 20, 3)
    isolated = bound(*([s[0], NOTHING, NOTHING] for s in scenes)).free
    pairs = bound(*([*s[:2], NOTHING] for s in scenes)).free
    blended = bound(*scenes).free
    assert (pairs > isolated * (1 - 1e-5)).all() and (blended > pairs * (1 - 1e-5)).all()
    assert blended.max() > 1.1 * isolated.max()


def test_prior_lowers_the_bound(bound, rng):
    result = bound(*many(rng, 20, 2))
    assert (result.prior < result.free).all()


def test_central_galaxies_that_do_not_vary_are_known_whatever_their_companions(bound):
    faint = COMPANION | {"flux_bulge": (0.05,), "flux_disk": (0.4,)}
    result = bound([CENTRAL, COMPANION], [CENTRAL, faint])
    assert (result.prior < 1e-3 * result.free).all()


def test_precision_is_of_central_galaxies_and_companions_apart(rng):
    scenes = many(rng, 40, 3)
    for scene in scenes[::2]:
        scene[1] = STAR
        scene[2] = NOTHING
    sources = source_parameters(stack(*scenes), SCALE)
    central, companion = _precision(sources, sources.flux.any(axis=-1))
    flux = [s["flux_disk"][0] for scene in scenes for s in scene[1:] if s is not NOTHING]
    sizes = [s["disk_half_light_radius"] * np.sqrt(s["disk_axis_ratio"])
             for scene in scenes[1::2] for s in scene[1:]]  # fmt: skip
    assert central[2] == pytest.approx(1 / np.var([s[0]["position"][0] for s in scenes]), rel=1e-4)
    assert companion[1] == pytest.approx(1 / np.var(flux), rel=1e-4)
    assert companion[5] == pytest.approx(1 / np.var(np.log(sizes)), rel=1e-4)


def test_padding_changes_nothing(bound):
    wanted = bound([CENTRAL, COMPANION])
    padded = bound([CENTRAL, NOTHING, COMPANION, NOTHING])
    np.testing.assert_allclose(padded.free, wanted.free, rtol=1e-5)
    np.testing.assert_allclose(padded.prior, wanted.prior, rtol=1e-5)


def test_every_scene_has_its_own_bound_whatever_its_neighbours_in_a_batch(psfs):
    scenes = [[CENTRAL, COMPANION], [ROUND, NOTHING], [COMPANION, CENTRAL], [CENTRAL, STAR]]
    alone = [flux_bound(stack(scene), SURVEY, psfs).free[0] for scene in scenes]
    together = flux_bound(stack(*scenes), SURVEY, psfs, batch_size=2).free
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_a_parameter_without_effect_costs_nothing(bound, images, draw):
    """A bulge of no flux has no radius to learn, though its flux is still free."""
    variance = SURVEY.variance[0] + draw(BULGELESS) / SURVEY.gain[0]
    derivative = np.delete(images(BULGELESS).astype(float), 4, axis=0)
    wanted = np.sqrt(np.linalg.inv(information(derivative, variance))[:2, :2].sum()) / 0.5
    assert bound([BULGELESS]).free[0] == pytest.approx(wanted, rel=1e-3)


def test_round_galaxies_and_stars_have_a_bound(bound):
    nearly = CENTRAL | {"bulge_axis_ratio": 0.999, "disk_axis_ratio": 0.999}
    star = STAR | {"bulge_axis_ratio": 1.0, "disk_axis_ratio": 1.0}
    free = bound([ROUND, star], [nearly, star]).free
    assert free[0] == pytest.approx(free[1], rel=1e-3)


def test_errors_fall_as_the_square_root_of_exposures(bound, psfs):
    deeper = flux_bound(stack([CENTRAL]), Survey((Band(n_exposures=16),)), psfs).free
    np.testing.assert_allclose(deeper, bound([CENTRAL]).free / 2, rtol=1e-4)


def test_light_s_own_noise_counts(psfs):
    optics = make_optics(psfs[0], SCALE, SIZE)
    sources = source_parameters(stack([CENTRAL]), SCALE)

    def trace(variance, gain):
        return np.trace(fisher(sources, optics, variance, gain, size=SIZE, batch_size=1)[0])

    assert trace(1e-6, 1e9) == pytest.approx(4 * trace(4e-6, 1e9), rel=1e-4)
    assert trace(1e-6, 1e3) < 0.9 * trace(1e-6, 1e9)
