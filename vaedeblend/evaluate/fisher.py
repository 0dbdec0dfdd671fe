"""The Cramer-Rao bound on a blended galaxy's flux: what no unbiased measurement of it can beat.

The number of sources is taken as known; eight parameters of every one of them are free: fluxes of
bulge and disk [uJy], the centre's y and x [pixel], ln radius of bulge and disk, and two components
of ellipticity. Ellipticities are those of GalSim's `shear`, |e| = (1 - q) / (1 + q) for an axis
ratio q, and radii are circularised, so that nothing is singular for a round galaxy; without a prior
the bound is the same as that of major axis, axis ratio and angle. Bulge and disk keep axis ratios
of their own: one change of ellipticity is added to both.

Galaxies are those of `render`, drawn once more where they can be differentiated: as the product of
their Fourier transform and the PSF's.
"""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from scipy import special

from vaedeblend.pixels.psf import Psf
from vaedeblend.simulate.render import survey_psfs
from vaedeblend.survey import Survey, stamp_centre

Scalar = Float[Array, ""]

_N_FREE = 8
_RADII = slice(4, 6)
_RIDGE = 1e-10
"""Prior precision of each parameter over its information: all that those without effect have."""
_LEAST_VARIANCE = 1e-12
"""Least variance of a prior: a parameter that does not vary in the population is known, and
nothing is divided by zero."""

_EXPONENTIAL = special.gammaincinv(2, 0.5)
_DE_VAUCOULEURS = special.gammaincinv(8, 0.5)
"""b of exp(-b (r / half-light radius)^(1/n)) of Sersic's n = 1 and n = 4."""
_TABLE_SIZE, _TABLE_END, _TABLE_SCALE = 2048, 20.0, 100.0
_BOX = 1.5
"""Side of the periodic box over the stamp's: light that leaves it returns outside the stamp."""


class Bound(NamedTuple):
    """Least relative error, sigma / flux, of the central galaxies' total fluxes."""

    free: Float[np.ndarray, " n"]
    """With no other prior knowledge than the number of sources."""
    prior: Float[np.ndarray, " n"]
    """With independent Gaussian priors of the population's variances."""


class SourceParameters(NamedTuple):
    """Parameters of sources; an axis of length 2 is (bulge, disk), that of `position` (y, x)."""

    flux: Float[Array | np.ndarray, "*n 2"]
    """[uJy]."""
    position: Float[Array | np.ndarray, "*n 2"]
    """From the stamp's centre [pixel]."""
    radius: Float[Array | np.ndarray, "*n 2"]
    """Half-light radius times the square root of the axis ratio [pixel]."""
    ellipticity: Float[Array | np.ndarray, "*n 2 2"]
    """|e| (cos 2 angle, sin 2 angle) of either component."""


class Optics(NamedTuple):
    """Frequencies [cycle / pixel], and the PSF's transform there of a source at the centre.

    Pixels alias what exceeds their Nyquist limit: it is folded onto the frequencies of the box.
    """

    y: Float[Array | np.ndarray, "fold 1 box 1"]
    x: Float[Array | np.ndarray, "1 fold 1 half"]
    transfer: Complex[Array | np.ndarray, "fold fold box half"]


def flux_bound(
    scenes: Mapping[str, np.ndarray],
    survey: Survey,
    psfs: tuple[Psf, ...] | None = None,
    *,
    stamp_size: int = 64,
    batch_size: int = 1,
) -> Bound:
    r"""The bound of every scene's central galaxy, in the survey's first band.

    $\sigma^2 = g^T F^{-1} g$, where g picks the central galaxy's two fluxes. `prior` adds to F the
    precision of the population, of central galaxies and of companions apart: van Trees' inequality
    in the form that hard cuts leave usable.

    Args:
        scenes: Arrays of `dataset.load`, 'sources/...' among them, central galaxy first.
        survey: Depth and pixels.
        psfs: PSFs, one a band; by default the survey's own.
        stamp_size: Side of the images measured [pixel].
        batch_size: Scenes side by side: one is fastest on a CPU, a GPU takes more.
    """
    sources = source_parameters(scenes, survey.pixel_scale.value)
    psfs = psfs or survey_psfs(survey, stamp_size)
    optics = make_optics(psfs[0], survey.pixel_scale.value, stamp_size)
    present = sources.flux.any(axis=-1)
    order, count = np.argsort(~present, axis=1, kind="stable"), present.sum(axis=1)
    central, companion = _precision(sources, present)
    noise = survey.variance[0], survey.gain[0]
    bound = Bound(np.zeros(len(count)), np.zeros(len(count)))
    for k in np.unique(count):
        rows = np.flatnonzero(count == k)
        chosen = SourceParameters(*(field[rows[:, None], order[rows, :k]] for field in sources))
        information = fisher(chosen, optics, *noise, size=stamp_size, batch_size=batch_size)
        information = np.asarray(information, np.float64)
        flux = chosen.flux[:, 0].sum(axis=-1)
        bound.free[rows] = _sigma(information) / flux
        precision = np.diag(np.concatenate([central, np.tile(companion, k - 1)]))
        bound.prior[rows] = _sigma(information + precision) / flux
    return bound


def source_parameters(scenes: Mapping[str, np.ndarray], pixel_scale: float) -> SourceParameters:
    """The sources of `dataset.load`'s scenes, (n, k); their light in the first band."""

    def pair(name):
        parts = [scenes["sources/" + name.format(part)] for part in ("bulge", "disk")]
        return np.stack(parts, axis=-1)

    ratio, angle = pair("{}_axis_ratio"), 2 * np.radians(pair("{}_position_angle"))
    radius = pair("{}_half_light_radius") * np.sqrt(ratio) / pixel_scale
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ellipticity = ((1 - ratio) / (1 + ratio))[..., None] * unit
    return SourceParameters(
        pair("flux_{}")[:, :, 0], scenes["sources/position"], radius, ellipticity
    )


def make_optics(psf: Psf, pixel_scale: float, stamp_size: int) -> Optics:
    """What `derivatives` needs of a PSF, for stamps of this size [pixel]."""
    box = 2 * math.ceil(_BOX * stamp_size / 2)
    half = box // 2 + 1
    sampling = psf.pixel_scale / pixel_scale
    folds = max(2, math.ceil(1 / sampling - 1e-6))
    cycles = np.arange(folds)[:, None] * box + np.arange(box)
    frequency = ((cycles + folds * box // 2) % (folds * box) - folds * box // 2) / box
    offset = (np.arange(len(psf.image)) - len(psf.image) // 2) * sampling + stamp_centre(stamp_size)
    wave = np.exp(-2j * np.pi * frequency[..., None] * offset)
    wave *= _interpolant(frequency * sampling)[..., None]
    transfer = np.einsum("abi,ij,cdj->acbd", wave, psf.image, wave[:, :half], optimize=True)
    return Optics(
        frequency[:, None, :, None].astype(np.float32),
        frequency[None, :, None, :half].astype(np.float32),
        transfer.astype(np.complex64),
    )


@functools.partial(jax.jit, static_argnames=("size", "batch_size"))
def fisher(
    sources: SourceParameters,
    optics: Optics,
    variance: Scalar,
    gain: Scalar,
    *,
    size: int,
    batch_size: int,
) -> Float[Array, "n parameter parameter"]:
    r"""Fisher information of the 8 k parameters of scenes of k sources, (n, k).

    $F_{ab} = \sum_p \partial_a\mu\,\partial_b\mu / v_p$, where v is the background's variance
    [uJy2] plus light / gain [electron / uJy].
    """

    def one(scene):
        images = jax.lax.map(lambda source: derivatives(source, optics, size), scene)
        light = jnp.einsum("kchw,kc->hw", images[:, :2], scene.flux)
        whitened = images / jnp.sqrt(variance + jnp.maximum(light, 0) / gain)
        return jnp.einsum("iahw,jbhw->iajb", whitened, whitened, precision="highest")

    information = jax.lax.map(one, sources, batch_size=batch_size)
    n, k = sources.flux.shape[:2]
    return information.reshape(n, k * _N_FREE, k * _N_FREE)


def derivatives(source: SourceParameters, optics: Optics, size: int) -> Float[Array, "8 size size"]:
    """Images of the change of one source's light with each of its parameters.

    The first two are the profiles themselves, of unit flux.
    """
    light = functools.partial(_light, source, optics)
    unchanged = jnp.zeros(_N_FREE - 2)
    by_shape = jax.vmap(lambda t: jax.jvp(light, (unchanged,), (t,))[1])(jnp.eye(_N_FREE - 2))
    by_place = 2 * jnp.pi * light(unchanged) * jnp.stack(jnp.broadcast_arrays(optics.y, optics.x))
    y, x = source.position
    waves = jnp.exp(-2j * jnp.pi * optics.y * y) * jnp.exp(-2j * jnp.pi * optics.x * x)
    waves = waves * optics.transfer

    def fold(real):
        # Real times real, twice: three times as fast as the complex product.
        parts = (jnp.sum(real * part, axis=(1, 2)) for part in (waves.real, waves.imag))
        return jax.lax.complex(*parts)

    by_shape = fold(by_shape)
    spectra = jnp.concatenate([by_shape[:2], -1j * fold(by_place), by_shape[2:]])
    return jnp.fft.irfft2(spectra, s=2 * spectra.shape[1:2])[:, :size, :size]


def _light(source: SourceParameters, optics: Optics, change: Float[Array, " 6"]):
    """Transform of a source at the centre, before the PSF, its fluxes and shape changed."""
    flux, radius = source.flux + change[:2], source.radius * jnp.exp(change[2:4])
    bulge, disk = (_sheared_square(optics, *(e + change[4:])) for e in source.ellipticity)
    exponential = jax.lax.rsqrt(1 + (radius[1] / _EXPONENTIAL) ** 2 * disk) ** 3
    return flux[0] * _de_vaucouleurs(radius[0] ** 2 * bulge) + flux[1] * exponential


def _sheared_square(optics: Optics, e1, e2):
    """|k|^2 [rad2 / pixel2] of the round profile whose area-preserving shear has frequency k."""
    y, x = 2 * jnp.pi * optics.y, 2 * jnp.pi * optics.x
    e = e1**2 + e2**2
    return ((1 + e) * (x**2 + y**2) + 2 * e1 * (x**2 - y**2) + 4 * e2 * x * y) / (1 - e)


def _de_vaucouleurs(square):
    """Transform of the profile of unit flux at |k x half-light radius|^2, linear in `_table`."""
    place = jnp.log1p(_TABLE_SCALE * square) * ((_TABLE_SIZE - 1) / _TABLE_END)
    index = jnp.clip(place.astype(int), 0, _TABLE_SIZE - 2)
    table = jnp.asarray(_table())
    below, above = table[index], table[index + 1]
    return below + (place - index) * (above - below)


@functools.cache
def _table() -> Float[np.ndarray, " node"]:
    r"""Transform of the de Vaucouleurs profile f at nodes even in ln(1 + 100 |k x radius|^2).

    Its Hankel integral along the imaginary axis, where no Bessel function oscillates:
    $-\frac{2}{\pi} \int \rho\,\Im f(i\rho)\,K_0(k\rho)\,d\rho$, with $\rho = x^4$.
    """
    k = np.sqrt(np.expm1(np.linspace(0, _TABLE_END, _TABLE_SIZE)[1:]) / _TABLE_SCALE)
    x = np.linspace(0, 8, 1001)[1:]
    profile = np.exp(-_DE_VAUCOULEURS * x * np.exp(1j * np.pi / 8)).imag
    norm = 2 / np.pi * _DE_VAUCOULEURS**8 / math.factorial(7)
    integral = special.k0(k[:, None] * x**4) @ (-profile * x**7) * (x[1] - x[0])
    return np.append(1, norm * integral).astype(np.float32)


def _interpolant(u):
    """Transform of GalSim's quintic interpolant (Gruen & Bernstein 2014) at u [cycle / sample]."""
    sinc, square = np.sinc(u), (np.pi * u) ** 2
    return sinc**5 * (sinc * (55 - 19 * square) + 2 * np.cos(np.pi * u) * (square - 27))


def _precision(sources: SourceParameters, present) -> Float[np.ndarray, "2 8"]:
    """1 / variance of the parameters of central galaxies and of companions that are present."""
    sized = sources.radius > 0
    log_radius = np.log(np.where(sized, sources.radius, 1))
    shape = sources.ellipticity[..., 1, :]
    values = np.concatenate([sources.flux, sources.position, log_radius, shape], axis=-1)
    used = np.repeat(present[..., None], _N_FREE, axis=-1)
    used[..., _RADII] &= sized  # stars have none
    variances = []
    for group in (slice(1), slice(1, None)):
        some, n = values[:, group], np.maximum(used[:, group].sum(axis=(0, 1)), 1)
        mean = np.sum(some * used[:, group], axis=(0, 1)) / n
        variances.append(np.sum((some - mean) ** 2 * used[:, group], axis=(0, 1)) / n)
    return 1 / np.maximum(variances, _LEAST_VARIANCE)


def _sigma(information: Float[np.ndarray, "n m m"]) -> Float[np.ndarray, " n"]:
    """Least error of the sum of the first two parameters."""
    diagonal = np.diagonal(information, axis1=-2, axis2=-1)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1))
    scaled = information * scale[:, None] * scale[:, :, None] + _RIDGE * np.eye(scale.shape[-1])
    total = scale * (np.arange(scale.shape[-1]) < 2)
    solved = np.linalg.solve(scaled, total[..., None])[..., 0]
    return np.sqrt(np.einsum("na,na->n", total, solved))
