r"""Refinement of the network's answer on the pixels themselves, jointly for all members of a group.

The members' fluxes $F_k$ and latents $u_k$ maximise likelihood x prior of the group's pixels,

$$ d_p \sim m_p \pm \sqrt{v_p}, \quad m = \sum_k F_k\, \mathrm{decode}(u_k), \quad
   v = v_{background} + m / gain, \quad u_k \sim N(0, 1), $$

by damped Gauss-Newton steps (Levenberg, Marquardt 1963), from where the network left them. Fluxes
have no prior: the network's opinion of them comes of the same pixels, and would count these twice.
"""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Int

from vaedeblend.deblend.arrays import native
from vaedeblend.pixels.stamps_jax import stamp_on_image

_DAMPING, _EASIER, _HARDER = 1e-3, 0.1, 30.0
"""Levenberg's parameter at the start, and its factors after a step taken and a step refused."""
_JITTER = 1e-6
"""Added to the unit diagonal of a scaled Hessian, against rounding in float32."""


class Refined(NamedTuple):
    """The members of each group, in the image's units; absent members are zero throughout."""

    flux: Float[Array, "group member band"]
    """Free in sign: that of a source that is hardly there may come out negative."""
    flux_covariance: Float[Array, "group member member band"]
    """Laplace's, marginal over the latents: infinite where the pixels say nothing."""
    latent: Float[Array, "group member latent"]
    image: Float[Array, "group member height width band"]
    """Each member's light on the group's frame."""
    chi2: Float[Array, " group"]
    """Of the residual, per valid pixel."""


Decode = Callable[[Array, Array], Array]
"""Rows of latent and condition -> profiles (row, height, width, band) of unit total flux."""


class _Pixels(NamedTuple):
    """Of one group, on its frame."""

    image: Float[Array, "height width band"]
    inverse: Float[Array, "height width band"]
    """1 / variance of the background; 0 where a pixel is masked."""
    gain: Float[Array, " band"]


class _Point(NamedTuple):
    """Where a group's fit stands, and its objective's expansion there (fluxes, then latents)."""

    flux: Float[Array, "member band"]
    latent: Float[Array, "member latent"]
    objective: Float[Array, ""]
    gradient: Float[Array, " parameter"]
    hessian: Float[Array, "parameter parameter"]


def make_refine(decode: Decode, *, steps: int = 3, batch: int = 16) -> Callable[..., Refined]:
    """The jitted refinement with a decoder; see the function that it returns.

    Args:
        decode: The row of one galaxy may not depend on the others. To use a flow as the prior,
            pass the decoder after `Flow.from_base`; the latent is then the flow's base.
        steps: Gauss-Newton steps tried; each costs a Jacobian of the decoder, and so does the end.
        batch: Groups at a time, which bounds the memory; 16 is best on a CPU.
    """

    @jax.jit
    def refine(
        image: Float[Array, "group height width band"],
        variance: Float[Array, "group height width band"],
        gain: Float[Array, "group band"],
        condition: Float[Array, "group condition"],
        latent: Float[Array, "group member latent"],
        flux: Float[Array, "group member band"],
        corner: Int[Array, "group member 2"],
        present: Bool[Array, "group member"],
    ) -> Refined:
        """Fluxes, latents and light of the members of each group.

        Args:
            image: Images, background subtracted.
            variance: Background variance; infinite masks a pixel.
            gain: Electrons per unit of the image; infinite: no Poisson noise of the galaxies.
            condition: Numbers of the group on which the decoder is conditioned, as of its PSF.
            latent: Latents at the start.
            flux: Fluxes at the start.
            corner: (y, x) of the first pixel of each member's stamp on the group's frame; the
                stamp may reach out of the frame.
            present: False for a member that only fills up the group.
        """
        valid = jnp.isfinite(image) & (variance > 0) & jnp.isfinite(variance)
        inverse = jnp.where(valid, 1 / variance, 0)
        pixels = _Pixels(jnp.where(valid, image, 0), inverse, gain)

        def one(group):
            pixels, condition, latent, flux, corner, present = group

            def draw(latent):
                rows = jnp.broadcast_to(condition, (len(latent), len(condition)))
                profile = decode(latent, rows) * present[:, None, None, None]
                return jax.vmap(stamp_on_image, (0, 0, None))(profile, corner, image.shape[1:])

            return _refine_group(draw, pixels, latent, flux, steps)

        latent, flux = (jnp.where(present[..., None], x, 0) for x in (latent, flux))
        groups = (pixels, condition, latent, flux, corner, present)
        refined = jax.lax.map(one, groups, batch_size=batch)
        pair = present[:, :, None, None] & present[:, None, :, None]
        return refined._replace(flux_covariance=jnp.where(pair, refined.flux_covariance, 0))

    return wraps(refine)(lambda *arrays: refine(*map(native, arrays)))


def _refine_group(draw, pixels: _Pixels, latent, flux, steps: int) -> Refined:
    """The fit of one group; `draw` has its members' profiles on the frame from their latents."""

    def step(_, state):
        point, damping = state
        move = -_solve(point, damping, point.gradient)
        trial = _expand(
            draw,
            pixels,
            point.flux + move[: flux.size].reshape(flux.shape),
            point.latent + move[flux.size :].reshape(latent.shape),
        )
        # Not to be written as a refusal of what is higher: NaN has to be refused as well.
        better = (trial.objective <= point.objective) & jnp.isfinite(trial.hessian).all()
        point = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, point)
        return point, damping * jnp.where(better, _EASIER, _HARDER)

    start = _expand(draw, pixels, flux, latent)
    point, _ = jax.lax.fori_loop(0, steps, step, (start, jnp.float32(_DAMPING)))
    image = point.flux[:, None, None] * draw(point.latent)
    model = image.sum(axis=0)
    chi2 = jnp.square(pixels.image - model) * _weight(pixels, model)
    chi2 = chi2.sum() / jnp.maximum((pixels.inverse > 0).sum(), 1)
    return Refined(point.flux, _flux_covariance(point), point.latent, image, chi2)


def _expand(draw, pixels: _Pixels, flux, latent) -> _Point:
    """Objective, its gradient and Gauss-Newton's Hessian (Fisher's information and the prior's)."""
    profile, push = jax.linearize(draw, latent)
    # A profile depends on its own latent alone: one push per element serves all members.
    basis = jnp.broadcast_to(jnp.eye(latent.shape[1])[:, None], (latent.shape[1], *latent.shape))
    by_latent = jnp.moveaxis(jax.vmap(push)(basis), 0, 1) * flux[:, None, None, None]
    by_flux = profile[:, None] * jnp.eye(flux.shape[1])[:, None, None]
    columns = jnp.concatenate([by_flux.reshape(flux.size, -1), by_latent.reshape(latent.size, -1)])

    model = jnp.einsum("kb,khwb->hwb", flux, profile)
    weight = _weight(pixels, model)
    prior = jnp.concatenate([jnp.zeros(flux.size), jnp.ones(latent.size)])
    scaled = columns * jnp.sqrt(weight).ravel()
    residual = (pixels.image - model) * jnp.sqrt(weight)
    return _Point(
        flux,
        latent,
        _objective(pixels, model) + jnp.square(latent).sum() / 2,
        prior * jnp.concatenate([flux.ravel(), latent.ravel()]) - scaled @ residual.ravel(),
        scaled @ scaled.T + jnp.diag(prior),
    )


def _weight(pixels: _Pixels, model):
    """Inverse of a pixel's whole variance."""
    return pixels.inverse / (1 + pixels.inverse * jnp.maximum(model, 0) / pixels.gain)


def _objective(pixels: _Pixels, model):
    r"""Negative log-likelihood whose derivative by the model is (model - image) x weight.

    That is Poisson's of the electrons, the background's variance counted in (see
    `losses.poisson_nll`), up to a constant of the image: with x the model less the image, $v$ the
    image's own variance and $y = x / (gain\, v)$, per pixel $x^2/v\, [y - \ln(1 + y)] / y^2$, which
    is Gauss' $x^2 / 2v$ for many electrons. Image or model below 0 add nothing to the variance.
    """
    light, below = jnp.maximum(model, 0), jnp.minimum(model, 0)
    seen, missing = jnp.maximum(pixels.image, 0), jnp.minimum(pixels.image, 0)
    weight = _weight(pixels, seen)
    x = light - seen
    y = x * weight / pixels.gain
    small = jnp.abs(y) < 0.05
    apart = jnp.where(small, 1, y)
    series = 1 / 2 - y * (1 / 3 - y * (1 / 4 - y * (1 / 5 - y / 6)))
    share = jnp.where(small, series, (apart - jnp.log1p(apart)) / apart**2)
    above = weight * x * (x * share - missing * (1 - y * share))
    return (above + pixels.inverse * (missing**2 / 2 + below * (below / 2 - pixels.image))).sum()


def _solve(point: _Point, damping, right):
    """(H + damping x diag H)^-1 right; parameters of which the pixels know nothing stay put."""
    free = _free(point)
    scale = jax.lax.rsqrt(jnp.where(free, jnp.diag(point.hessian), 1)) * free
    known = jnp.where(free[:, None] & free, point.hessian, 0)  # of a group gone wrong, it is NaN
    scaled = known * scale[:, None] * scale
    diagonal = jnp.where(free, damping + _JITTER, 1)
    factor = cho_factor(scaled + jnp.diag(diagonal), lower=True)
    scale = scale.reshape(-1, *[1] * (right.ndim - 1))
    return scale * cho_solve(factor, scale * right)


def _free(point: _Point) -> Bool[Array, " parameter"]:
    """Fluxes with any light on valid pixels, and the latents of members with such a flux."""
    seen = jnp.diag(point.hessian)[: point.flux.size].reshape(point.flux.shape) > 0
    latent = jnp.broadcast_to(seen.any(axis=1, keepdims=True), point.latent.shape)
    return jnp.concatenate([seen.ravel(), latent.ravel()])


def _flux_covariance(point: _Point) -> Float[Array, "member member band"]:
    """Fluxes' block of the inverse Hessian; covariances between bands are left out."""
    (members, bands), size = point.flux.shape, point.flux.size
    known = _solve(point, 0.0, jnp.eye(len(point.hessian), size))[:size]
    known += jnp.diag(jnp.where(_free(point)[:size], 0, jnp.inf))
    known = jnp.where(jnp.isfinite(known), known, jnp.inf)
    return jnp.einsum("kbjb->kjb", known.reshape(members, bands, members, bands))
