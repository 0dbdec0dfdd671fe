"""A map of the total noise turned into the background's: the sources' photons are taken out.

Where n exposures overlap, background and photon noise are both 1 / n of one exposure's, so that

    rms^2 = b (1 + L / K)

with the background's variance b, which steps with the depth, the light L, and one number K for the
whole image: the light in a pixel whose photons are as noisy as the background. The gain is K / b.
"""

import numpy as np

from vaedeblend.exceptions import MosaicError
from vaedeblend.image.inspection.findings import Finding, PhotonNoise
from vaedeblend.image.inspection.samples import (
    FEWEST_BRIGHT,
    Blocks,
    block_quantile,
    bright_pixels,
)

ROUNDS, SETTLED = 5, 100
"""Rounds of K and b, each from the other: of an image, and those after which K is settled where
large galaxies fill the sample, too."""
RMS_KINDS = "auto", "background", "total"
"""What a map of the noise may be said to hold: by default its pixels are asked."""

_SAME_GAIN = 1.5
"""Ratio from which on two gains are not the same."""
_FLOOR = 0.1
"""Quantile of the blocks' variance below which no pixel's is believed."""


def photon_findings(
    blocks: Blocks,
    findings: list[Finding],
    kind: str,
    gain: float | None,
    rounds: int = ROUNDS,
) -> tuple[list[Finding], PhotonNoise | None]:
    """The findings of the noise, and the photon noise that is taken out of its map.

    Args:
        blocks: Blocks of an image, and the map as an rms.
        findings: What was found of the map.
        kind: One of RMS_KINDS.
        gain: Electrons per image unit, of the header or the user; it serves where too few pixels
            are bright.
        rounds: Rounds of `fit_photon_noise`.

    Raises:
        MosaicError: There is no such kind.
    """
    if kind not in RMS_KINDS:
        raise MosaicError(f"rms_kind is {kind!r}; wanted one of {', '.join(RMS_KINDS)}")
    seen = [each for each in findings if each.about == "photons"]
    if kind == "background" or not (seen or kind == "total"):
        return findings, None
    if blocks.rms is None:
        text = "rms kind total, and no map of the noise; wanted one, or rms kind auto"
        return [*findings, Finding("refused", "photons", text)], None
    photons = (
        fit_photon_noise(blocks, rounds) or (kind == "total" and of_gain(blocks, gain)) or None
    )
    if photons is None:
        text = f"fewer than {FEWEST_BRIGHT} pixels are bright, and no gain is known: photon noise "
        text += "stays in the map, and bright galaxies come out a little too faint; give --gain"
        return (findings if seen else [*findings, Finding("warned", "photons", text)]), None
    text = f"{seen[0].text}; it" if seen else "the noise's map holds the sources' photon noise; it"
    text += f" is taken out: that of {photons.scale:.4g} in a pixel is as large as the background's"
    others = [each for each in findings if each not in seen]
    return [*others, Finding("corrected", "photons", text)], photons


def gain_contradiction(photons: PhotonNoise, gain: float) -> list[Finding]:
    """That a map's photon noise is not that of a gain, where it was measured.

    Args:
        photons: The photon noise in the map.
        gain: Electrons per image unit, of the header or the user.
    """
    if not photons.pixels or 1 / _SAME_GAIN < gain / photons.gain < _SAME_GAIN:
        return []
    text = f"gain {gain:.6g} electrons per image unit, where the photon noise in the map is that "
    text += f"of {photons.gain:.6g}: fluxes of bright galaxies and their errors depend on it"
    return [Finding("warned", "gain", text)]


def of_gain(blocks: Blocks, gain: float | None) -> PhotonNoise | None:
    """The photon noise that follows from a gain, of a map with few bright pixels.

    Args:
        blocks: Blocks of an image, and the map as an rms.
        gain: Electrons per image unit at the typical depth.
    """
    if gain is None or not len(blocks.rms):
        return None
    typical, least = np.quantile(block_quantile(np.square(blocks.rms), 0.5), [0.5, _FLOOR])
    return PhotonNoise(gain * float(typical), float(typical), float(least))


def fit_photon_noise(blocks: Blocks, rounds: int = ROUNDS) -> PhotonNoise | None:
    """The photon noise in a map, by medians of bright pixels; None where too few are bright.

    Args:
        blocks: Blocks of an image, and the map as an rms.
        rounds: Rounds of K and b at most.
    """
    variance, light = np.square(blocks.rms), np.nan_to_num(blocks.image).clip(0)
    background = block_quantile(variance, 0.5)
    typical = float(np.quantile(background, 0.25))
    bright = bright_pixels(blocks, np.sqrt(typical))
    if not bright.any():
        return None
    background, scale = np.minimum(background, 2 * typical), np.inf
    for _ in range(rounds):
        before = scale
        excess = (variance / background[:, None, None] - 1)[bright]
        known = excess > 0
        if known.sum() < FEWEST_BRIGHT:
            return None
        scale = float(np.median(light[bright][known] / excess[known]))
        background = block_quantile(variance / (1 + light / scale), 0.5)
        if scale == before:
            break
    typical, least = np.quantile(background, [0.5, _FLOOR])
    return PhotonNoise(scale, float(typical), float(least), int(known.sum()))
