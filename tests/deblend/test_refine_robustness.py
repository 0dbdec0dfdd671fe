import jax
import numpy as np
import pytest
from blobs import FRAME, STAMP, call, group_of, model_image, refine_blobs, refined_pairs, truth

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture(scope="module")
def blends():
    return refined_pairs()


def assert_same(a, b, **tolerance):
    for name, one, other in zip(a._fields, a, b, strict=True):
        np.testing.assert_allclose(one, other, err_msg=name, **tolerance)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, -1e6])
def test_masked_pixels_have_no_influence(value, blends):
    start, _ = blends
    masked = {**start, "variance": start["variance"].copy(), "image": start["image"].copy()}
    masked["variance"][:, 7:10, 5:9] = np.inf
    before = call(refine_blobs, masked)
    masked["image"][:, 7:10, 5:9] = value
    assert_same(call(refine_blobs, masked), before)
    assert np.isfinite(before.flux_covariance).all()


def test_absent_members_change_nothing(blends):
    start, refined = blends
    padded = dict(start)
    for name in ("latent", "flux", "corner", "present"):
        fill = np.full_like(start[name][:, :1], {"corner": 3, "present": 0}.get(name, np.nan))
        padded[name] = np.concatenate([start[name], fill], axis=1)
    padded = call(refine_blobs, padded)
    for name in ("flux", "latent", "image"):
        assert (getattr(padded, name)[:, 2:] == 0).all()
    assert (padded.flux_covariance[:, 2:] == 0).all()
    assert (padded.flux_covariance[:, :, 2:] == 0).all()
    cut = padded._replace(
        flux=padded.flux[:, :2],
        flux_covariance=padded.flux_covariance[:, :2, :2],
        latent=padded.latent[:, :2],
        image=padded.image[:, :2],
    )
    assert_same(cut, refined, rtol=1e-2, atol=1e-2)


def test_groups_do_not_depend_on_their_neighbours(blends):
    start, refined = blends
    order = np.random.default_rng(0).permutation(48)
    turned = call(refine_blobs, {name: value[order] for name, value in start.items()})
    assert_same(turned, jax.tree.map(lambda x: x[order], refined), rtol=1e-4, atol=1e-4)


def spoilt_start(scene):
    scene["latent"][5, 1] = np.nan


def spoilt_flux(scene):
    scene["flux"][5] = np.inf


def spoilt_mask(scene):
    scene["variance"][5] = np.inf


@pytest.mark.parametrize("spoil", [spoilt_start, spoilt_flux, spoilt_mask])
def test_a_bad_group_leaves_the_others_alone(spoil, blends):
    start, refined = blends
    bad = {name: value.copy() for name, value in start.items()}
    spoil(bad)
    spoilt = call(refine_blobs, bad)
    others = np.arange(48) != 5
    assert_same(*(jax.tree.map(lambda x: x[others], r) for r in (spoilt, refined)))
    np.testing.assert_array_equal(spoilt.flux[5], np.float32(bad["flux"][5]))
    np.testing.assert_array_equal(spoilt.latent[5], np.float32(bad["latent"][5]))
    assert np.isinf(np.einsum("kkb->kb", spoilt.flux_covariance[5])).all()


def test_members_partly_and_wholly_outside(rng):
    scene = truth(rng, 48, 3)
    scene["corner"][:, 1] = rng.integers(-8, 12, size=(48, 2))
    beyond = [(2 * FRAME + 9, 0), (-3 * FRAME, 2), (0, -STAMP), (3, FRAME)]
    scene["corner"][:, 2] = beyond * 12
    groups = [group_of(scene, i) for i in range(48)]
    scene["image"] = np.array([model_image(group) for group in groups])
    refined = call(refine_blobs, scene)
    np.testing.assert_allclose(refined.image.sum(axis=1), scene["image"], atol=1)
    assert (refined.image[:, 2] == 0).all()
    np.testing.assert_array_equal(refined.flux[:, 2], np.float32(scene["flux"][:, 2]))
    np.testing.assert_array_equal(refined.latent[:, 2], np.float32(scene["latent"][:, 2]))
    assert np.isinf(np.einsum("gkkb->gkb", refined.flux_covariance)[:, 2]).all()
    assert np.isfinite(refined.flux_covariance[:, :2, :2]).all()


def test_a_band_without_pixels_keeps_its_flux(blends):
    start, refined = blends
    variance = start["variance"].copy()
    variance[..., 1] = np.inf
    one = call(refine_blobs, {**start, "variance": variance})
    np.testing.assert_array_equal(one.flux[..., 1], np.float32(start["flux"][..., 1]))
    assert np.isinf(np.einsum("gkkb->gkb", one.flux_covariance)[..., 1]).all()
    assert np.median(np.abs(one.flux[..., 0] / refined.flux[..., 0] - 1)) < 0.03
    wider = np.einsum("gkkb->gkb", one.flux_covariance / refined.flux_covariance)[..., 0]
    assert np.median(wider) > 1


def test_scale_of_the_image_is_of_no_account(blends):
    """A power of two: other factors round differently, which near-singular groups amplify."""
    (start, refined), scale = blends, 2.0**-10
    scaled = dict(start)
    for name, power in (("image", 1), ("flux", 1), ("variance", 2), ("gain", -1)):
        scaled[name] = start[name] * scale**power
    scaled = call(refine_blobs, scaled)
    np.testing.assert_allclose(scaled.flux / scale, refined.flux, rtol=1e-4)
    covariance = scaled.flux_covariance / scale**2
    np.testing.assert_allclose(covariance, refined.flux_covariance, rtol=1e-3)
