"""Stamps as users have them: of any byte order, masked, with units, or of a wrong shape."""

import warnings

import astropy.units as u
import jax
import numpy as np
import pytest
from astropy.nddata import CCDData, NDData, StdDevUncertainty, VarianceUncertainty
from matched import gaussian, matched_filter

from vaedeblend.deblend import joint
from vaedeblend.deblend.arrays import StampWarning, check_noise
from vaedeblend.deblend.joint import make_deblend_stamps
from vaedeblend.deblend.network import Deblender
from vaedeblend.exceptions import StampError
from vaedeblend.models.vae import VAE, init_params

SIZE, N = 16, 4
FIELDS = {"latent_dim": 3, "encoder_widths": (4,), "encoder_hidden": 8, "encoder_blocks": 1}
FIELDS |= {"decoder_hidden": (8,), "flow_hidden": (8,), "flow_couplings": 2}
FOREIGN = np.dtype("f4").newbyteorder()


@pytest.fixture(scope="module")
def network():
    model = VAE(**FIELDS, stamp_size=SIZE, bands=1)
    params = init_params(model, jax.random.key(0))
    psf = gaussian(15, 15, (31, 31))[..., None].astype(np.float32)
    return Deblender(model, jax.tree.map(lambda p: p + 0.02, params), psf)


@pytest.fixture(scope="module", params=["load_deblender", "make_deblend_stamps"])
def measured(request, network):
    """Both ways to a flux; the arguments are always the same ones, so that programs are few."""
    call = network if request.param == "load_deblender" else make_deblend_stamps(network, passes=0)

    def flux(image, variance, **options):
        return np.asarray(call(image, variance, **USUAL | options).flux)

    return flux


@pytest.fixture(scope="module")
def stamps():
    rng = np.random.default_rng(3)
    light = 400 * gaussian(7.5, 7.5, (SIZE, SIZE))[..., None]
    image = (light + rng.normal(size=(N, SIZE, SIZE, 1))).astype(np.float32)
    return image, rng.uniform(0.5, 2.0, image.shape).astype(np.float32)


@pytest.fixture(scope="module")
def bad():
    mask = np.zeros((N, SIZE, SIZE, 1), bool)
    mask[:, 2:4, 10:] = True
    return mask


PSF = gaussian(15, 15, (31, 31), 1.5)[..., None].astype(np.float32)
USUAL = {"psf": PSF, "gain": 20.0, "mask": np.zeros((SIZE, SIZE), bool)}
KINDS = {
    "foreign bytes": lambda a: a.astype(FOREIGN),
    "doubles": lambda a: a.astype(float),
    "foreign doubles": lambda a: a.astype(np.dtype("f8").newbyteorder()),
    "lists": lambda a: a.tolist(),
    "on the device": jax.numpy.asarray,
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_numbers_gives_the_same(measured, stamps, kind):
    wanted = measured(*stamps)
    given = [KINDS[kind](a) for a in (*stamps, PSF)]
    np.testing.assert_array_equal(measured(*given[:2], psf=given[2]), wanted)
    assert np.isfinite(wanted).all() and (wanted != 0).any()


def test_samples_come_through_the_same_door(network, stamps):
    one, other = (
        network.sample(jax.random.key(0), 1, *(a.astype(kind) for a in stamps), **USUAL)
        for kind in (np.float32, FOREIGN)
    )
    np.testing.assert_array_equal(one, other)


def test_integers_are_numbers(measured, stamps):
    image = np.rint(100 * stamps[0]).astype(np.int32)
    wanted = measured(image.astype(np.float32), np.float32(1e4))
    np.testing.assert_array_equal(measured(image, 10_000), wanted)
    np.testing.assert_array_equal(measured(image.astype(">i4"), 10_000), wanted)


def test_masks_ignore_pixels_wherever_they_come_from(measured, stamps, bad):
    image, variance = stamps
    wanted = measured(image, variance, mask=bad)
    spoilt = np.where(bad, np.float32(1e6), image)
    for given in (
        (np.ma.array(spoilt, mask=bad), variance),
        (spoilt, np.ma.array(variance, mask=bad)),
        (NDData(spoilt, mask=bad), variance),
        (np.where(bad, np.nan, image), variance),
    ):
        np.testing.assert_array_equal(measured(*given), wanted)
    without_bands = bad[..., 0].astype(np.uint8)
    np.testing.assert_array_equal(measured(spoilt, variance, mask=without_bands), wanted)
    assert not np.array_equal(measured(image, variance), wanted)


def test_a_mask_of_one_stamp_counts_for_all(measured, stamps, bad):
    np.testing.assert_array_equal(
        measured(*stamps, mask=bad[0, ..., 0]), measured(*stamps, mask=bad)
    )


def test_units_are_those_of_the_image(measured, stamps):
    image, variance = stamps
    wanted = measured(image, variance)
    for given, gain in (
        ((image * u.uJy, variance * u.uJy**2), 20.0),
        ((image * u.uJy, variance * u.uJy**2), 20 * u.electron / u.uJy),
        ((NDData(image, unit="uJy"), variance * u.uJy**2), 20.0),
        ((CCDData(image, VarianceUncertainty(variance), unit="uJy"), None), 20.0),
    ):
        np.testing.assert_array_equal(measured(*given, gain=gain), wanted)
    other = measured(image * u.uJy, variance * 1e-12 * u.Jy**2)
    np.testing.assert_allclose(other, wanted, rtol=1e-3)
    deviation = CCDData(image, StdDevUncertainty(np.sqrt(variance)), unit="uJy")
    np.testing.assert_allclose(measured(deviation, None), wanted, rtol=1e-3)


def test_a_psf_is_brought_to_unit_sum(measured, stamps):
    wanted = measured(*stamps)
    np.testing.assert_allclose(measured(*stamps, psf=3 * PSF), wanted, rtol=1e-4)
    wide = np.pad(PSF, ((20, 20), (20, 20), (0, 0)), constant_values=1e-5)
    np.testing.assert_allclose(measured(*stamps, psf=wide), wanted, rtol=1e-4)


@pytest.mark.slow  # a program of its own for each way
def test_each_stamp_may_have_a_psf(measured, stamps):
    each = np.tile(PSF, (N, 1, 1, 1))
    np.testing.assert_allclose(measured(*stamps, psf=each), measured(*stamps), rtol=1e-4)


def test_no_stamps_give_no_galaxies(measured, stamps):
    found = measured(*(a[:0] for a in stamps))
    assert found.size == 0


def off_centre():
    return np.roll(PSF, 5, axis=0)


WRONG = {
    "three axes": (lambda i, v: (i[..., 0], v[..., 0]), {}, "four axes.*height, width, band"),
    "bands first": (lambda i, v: (np.moveaxis(i, -1, 1), v), {}, "np.moveaxis"),
    "another side": (lambda i, v: (i[:, :14, :14], v[:, :14, :14]), {}, "wanted .batch, 16, 16, 1"),
    "variance of one": (lambda i, v: (i, v[:1]), {}, r"variance: shape \(1, 16"),
    "variance of others": (lambda i, v: (i, v[..., 0]), {}, r"variance: shape \(4, 16, 16\)"),
    "mask of others": (lambda i, v: (i, v), {"mask": np.zeros((5, 16, 16))}, "mask: shape"),
    "unit of variance": (lambda i, v: (i * u.uJy, v * u.uJy), {}, "variance: in uJy; wanted uJy2"),
    "no unit": (lambda i, v: (i * u.uJy, v), {}, "variance: in no unit"),
    "unit of variance alone": (lambda i, v: (i, v * u.uJy**2), {}, "wanted no unit"),
    "no variance": (lambda i, v: (i, None), {}, "no variance"),
    "words": (lambda i, v: ("image.fits", v), {}, "image: values of type <U10"),
    "complex": (lambda i, v: (i.astype(complex), v), {}, "type complex"),
    "tiny": (lambda i, v: (i, v.astype(float) * 1e-60), {}, "single precision"),
    "even psf": (lambda i, v: (i, v), {"psf": PSF[:30, :30]}, "30 x 30 pixels; wanted .* odd"),
    "flat psf": (lambda i, v: (i, v), {"psf": PSF[..., 0]}, r"psf: shape \(31, 31\)"),
    "dark psf": (lambda i, v: (i, v), {"psf": 0 * PSF}, "positive sum"),
    "psf with gaps": (
        lambda i, v: (i, v),
        {"psf": np.where(PSF > 1e-3, PSF, np.nan)},
        "NaN or inf",
    ),
    "psf off its centre": (lambda i, v: (i, v), {"psf": off_centre()}, "5 pixels off"),
    "psfs of others": (lambda i, v: (i, v), {"psf": np.tile(PSF, (3, 1, 1, 1))}, "psf: 3 of them"),
    "gains of others": (lambda i, v: (i, v), {"gain": np.ones(3)}, r"gain: shape \(3,\)"),
    "negative gain": (lambda i, v: (i, v), {"gain": -1.0}, "gain: -1"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_no_network_can_use_is_refused_in_a_sentence(measured, stamps, kind):
    change, options, said = WRONG[kind]
    with pytest.raises(StampError, match=said):
        measured(*change(*stamps), **options)


def test_arrays_that_are_being_traced_pass(network, stamps):
    wanted = network(*stamps).flux
    found = jax.jit(lambda image, variance: network(image, variance).flux)(*stamps)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_units_far_from_one_are_scaled_within(network, stamps):
    call, (image, variance) = make_deblend_stamps(network, passes=0), stamps
    usual = call(image, variance, **USUAL)
    for unit in (2.0**-50, 2.0**55):
        found = call(image * unit, variance * unit**2, **USUAL | {"gain": 20 / unit})
        np.testing.assert_array_equal(found.flux, usual.flux * np.float32(unit))
        assert np.isfinite(found.flux_err).all()
        shift = found.log_flux.median - usual.log_flux.median
        np.testing.assert_allclose(shift, np.log(unit), rtol=1e-5)


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_variance_that_the_pixels_contradict_is_said(rng, factor):
    image = rng.normal(size=(8, SIZE, SIZE, 1)).astype(np.float32)
    variance = np.ones_like(image)
    variance[:, 3] = np.inf
    check_noise(image, variance)
    check_noise(image[:1], variance[:1])
    check_noise(image[:7], factor**0.5 * variance[:7])  # of few, neighbours may do as much
    for n, times in ((8, factor**0.6), (7, factor), (1, factor)):
        with pytest.warns(StampWarning, match="at the stamps' edges scatter by .* wanted about 1"):
            check_noise(image[:n], times * variance[:n])


def test_a_variance_below_0_is_refused(network, stamps):
    image, variance = stamps
    with pytest.raises(StampError, match="variance: its least is -.*; wanted none below 0"):
        network(image, -variance, **USUAL)


def test_stamps_are_judged_where_they_come_in(monkeypatch, network, stamps):
    judged = []
    monkeypatch.setattr(joint, "check_noise", lambda *given: judged.append(given))
    make_deblend_stamps(network, passes=0)(*stamps, **USUAL)
    assert len(judged) == 1


@pytest.mark.parametrize(
    ("radius", "said", "lost"), [(0.5, "", 0), (0.9, "1 have", 0), (3, "and 1 more than 0.3", 1)]
)
def test_galaxies_that_are_masked_in_their_middle_are_no_silent_numbers(radius, said, lost):
    rng = np.random.default_rng(1)
    light = 400 * gaussian(31.5, 31.5)
    image = (light + rng.normal(size=(2, 64, 64)))[..., None].astype(np.float32)
    y, x = np.indices((64, 64)) - 31.5
    mask = np.zeros(image.shape, bool)
    mask[1] = (np.hypot(y, x) < radius)[..., None]
    call = make_deblend_stamps(matched_filter, passes=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call(image, np.ones_like(image), mask=mask)
    texts = [str(each.message) for each in caught if each.category is StampWarning]
    assert len(texts) == bool(said) and all(said in each for each in texts)
    np.testing.assert_array_equal(np.isnan(found.flux[:, 0]), [False, bool(lost)])
    np.testing.assert_array_equal(np.isnan(found.flux_err[:, 0]), [False, bool(lost)])
