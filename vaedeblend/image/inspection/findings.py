"""What the inspection of an input says: findings, numbers, and what they change."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vaedeblend.catalogues.positions import Listed
from vaedeblend.exceptions import InspectionError
from vaedeblend.io.mosaic import Mosaic, to_card

FINDING_KINDS = "given", "assumed", "found", "corrected", "warned", "refused"
"""Kinds of findings: what was given or assumed, what the pixels show, what was mended for certain,
and what cannot be: that is refused, or, where the user insists, warned of."""

_TRAINED = 10.0
"""Light that trained weights miss at most of simulated sources, or find too much [%]."""


def said_cards(said: Sequence[str]) -> dict[str, str]:
    """Header cards of sentences: SAID1, ..., in ASCII."""
    return {f"SAID{i}": s.encode("ascii", "replace").decode() for i, s in enumerate(said, 1)}


class Finding(NamedTuple):
    """One sentence about an input."""

    kind: str
    """One of FINDING_KINDS."""
    about: str
    """Input of which it speaks: rms, sky, gain, psf, ..."""
    text: str


class PhotonNoise(NamedTuple):
    """The sources' photon noise in a map of the total noise."""

    scale: float
    """Light K of a pixel whose photons are as noisy as the background [image unit]."""
    variance: float
    """Typical variance of the background [image unit squared]."""
    least: float
    """Least variance of the background [image unit squared]."""
    pixels: int = 0
    """Bright pixels from which it was measured; 0 where it follows from a gain."""

    @property
    def gain(self) -> float:
        """Electrons per image unit at the typical depth."""
        return self.scale / self.variance


class BlankSky(NamedTuple):
    """Noise of the sky between sources, as it was measured."""

    covariance: Float[np.ndarray, "lag lag"]
    """Autocovariance at lags (y, x) about 0, in units of the map's variance."""
    pixels: int
    """Pixels from which it was measured."""


class SkyNoise(NamedTuple):
    """Correlated noise of an image."""

    covariance: Float[np.ndarray, "lag lag"]
    """Autocovariance at lags (y, x) about 0, of unit sum: in units of the white-equivalent
    variance, that of independent pixels whose sums over large apertures are as noisy."""
    factor: float
    """White-equivalent rms in units of the map's; 1 where they agree."""


class ImageNoise(NamedTuple):
    """What sources are measured with, beside a map of the noise."""

    correlated: SkyNoise | None
    """Correlated noise; None where pixels are independent."""
    photons: PhotonNoise | None
    """Photon noise that is taken out of the map."""


class Inspection(NamedTuple):
    """All that was found of the inputs of an image."""

    findings: tuple[Finding, ...]
    numbers: Mapping[str, float | None]
    """What was measured, by name."""
    corrections: Mapping[str, Any]
    """Keywords of `mosaic.open_mosaic` that take the place of the user's."""
    psfs: Float[np.ndarray, "rows columns side side"] | None = None
    """PSFs of the parts of an even grid over the image, at the survey's pixels, if given; each sums
    to the share of a point source's light that it holds."""
    photons: PhotonNoise | None = None
    """Photon noise that is taken out of the map of the noise."""
    noise: SkyNoise | None = None
    """Correlated noise; None where pixels are independent."""
    listed: Listed | None = None
    """Positions that are measured, where the user has given a list."""
    sky: BlankSky | None = None
    """What the correlated noise was found from."""

    def settled(self, force: bool) -> "Inspection":
        """The same, when nothing is to be refused; where the user insists, that is a warning.

        Raises:
            InspectionError: An input is contradicted by its pixels.
        """
        refused = [each.text for each in self.findings if each.kind == "refused"]
        if refused and not force:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise InspectionError(f"{refused[0]}{more}; --force goes on regardless")
        warned = (f._replace(kind="warned") if f.kind == "refused" else f for f in self.findings)
        return self._replace(findings=tuple(warned))

    def under(self, noise: ImageNoise, has_gain: bool) -> "Inspection":
        """The same with the noise of more of the sky than the image itself.

        Args:
            noise: What it is measured with.
            has_gain: Whether the gain is the header's, or the user's, and not the photons'.
        """
        seen = 0.0 if noise.photons is None else noise.photons.gain
        gain = {} if has_gain else {"gain": seen}
        corrections = {**self.corrections, **gain}
        return self._replace(noise=noise.correlated, photons=noise.photons, corrections=corrections)

    def under_response(self, response) -> "Inspection":
        """The same with what is said of a network's response (`calibration.Response`), if any."""
        if response is None:
            return self
        galaxies, stars = (100 * float(np.exp(-a)) for a in (response.galaxies[0], response.stars))
        text = (
            f"of simulated sources under its PSF and noise the network finds {galaxies:.1f} % of "
            f"the light of galaxies, {stars:.1f} % of stars': fluxes are corrected by that"
        )
        numbers = {**self.numbers, "response_galaxies": galaxies, "response_stars": stars}
        findings = [*self.findings, Finding("corrected", "flux", text)]
        if max(abs(galaxies - 100), abs(stars - 100)) > _TRAINED:
            text = f"{text}: weights that are trained for such images find nearly all of it"
            findings[-1] = Finding("warned", "flux", text)
        return self._replace(findings=tuple(findings), numbers=numbers)

    def under_sky(self, sky) -> "Inspection":
        """The same with what is said of the sky between the sources (`background.LeftSky`)."""
        numbers = {**self.numbers, "sky_scatter": sky.scatter}
        found = [
            Finding(
                "found",
                "sky",
                f"the sky between the sources is uneven by {sky.scatter:.3f} rms beside the noise, "
                "which the errors hold",
            )
        ] * bool(sky.scatter)
        if sky.path is not None:
            numbers |= {"sky_low": sky.low, "sky_high": sky.high}
            left = dict.fromkeys(f"{level:+.3f}" for level in (sky.low, sky.high))
            text = (
                f"between the sources {' to '.join(left)} rms of light are left: "
                f"taken off with the background ({sky.path}); sources there are measured again or, "
                "where it is slight, their fluxes corrected"
            )
            found.append(Finding("corrected", "sky", text))
        return self._replace(findings=(*self.findings, *found), numbers=numbers)

    @property
    def said(self) -> tuple[str, ...]:
        """Lines for the user: all but what was given, as `kind: sentence`."""
        return tuple(f"{each.kind}: {each.text}" for each in self.findings if each.kind != "given")

    def cards(self, mosaic: Mosaic, **more: str) -> dict[str, str | float]:
        """Header cards: zero point and gain, all findings (SAID1, ...), and more (`to_card`)."""
        texts = said_cards([f"{each.kind}: {each.text}" for each in self.findings])
        texts |= {name.upper(): to_card(text) for name, text in more.items()}
        energy = self.numbers.get("encircled_energy")
        known = {"MAGZERO": mosaic.zero_point, "GAIN": mosaic.gain, "PSFLIGHT": energy}
        numbers = {name: value for name, value in known.items() if value is not None}
        return numbers | texts

    def summary(self, **more) -> str:
        """The findings and numbers as JSON, and what else there is to say of a result."""
        numbers = {
            name: None if value is None or not np.isfinite(value) else float(value)
            for name, value in self.numbers.items()
        }
        findings = [each._asdict() for each in self.findings]
        about = more | {"findings": findings, "measured": numbers}
        return json.dumps(about, indent=1, ensure_ascii=False)
