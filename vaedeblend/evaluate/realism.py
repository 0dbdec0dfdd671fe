"""Realism of simulated galaxies: their morphology, and whether two sets are of one population.

Morphology is CAS, Gini, M20, a Sersic fit and power spectra. Concentration, asymmetry and
smoothness are Conselice's (2003), Gini coefficient and M20 those of Lotz+ (2004), all as statmorph
measures them (Rodriguez-Gomez+ 2019; extra `realism`). statmorph subtracts the sky and weighs with
the noise: stamps need noise, if only a little, and some empty sky. Smoothness is the brittle one: a
quarter turn of a galaxy 6 pixels in radius changes it by 0.02.
"""

import warnings
from typing import NamedTuple

import numpy as np
import statmorph
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp, mannwhitneyu
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from vaedeblend.exceptions import VaedeblendError

MORPHOLOGY_STATISTICS = ("concentration", "asymmetry", "smoothness", "gini", "m20")
"""Fields of `Morphology` that depend on neither size nor angle of a galaxy."""

_ABORTED = -99.0
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, ValueError)
"""Errors of statmorph and of its dependencies on stamps that it has not been made for."""
_BOOTSTRAPS = 200


class Morphology(NamedTuple):
    """Morphology of n galaxies; NaN where they could not be measured at all."""

    concentration: Float[np.ndarray, "*n"]
    asymmetry: Float[np.ndarray, "*n"]
    smoothness: Float[np.ndarray, "*n"]
    gini: Float[np.ndarray, "*n"]
    m20: Float[np.ndarray, "*n"]
    sersic_index: Float[np.ndarray, "*n"]
    """Index of the profile that fits best, under the PSF where one was given; the next three are of
    the same profile."""
    half_light_radius: Float[np.ndarray, "*n"]
    """Along the major axis [pixel]."""
    axis_ratio: Float[np.ndarray, "*n"]
    position_angle: Float[np.ndarray, "*n"]
    """From +x towards +y [deg], within half a turn."""
    measured: Bool[np.ndarray, "*n"]
    """Whether statmorph trusts the five statistics (flag 0 or 1)."""
    fitted: Bool[np.ndarray, "*n"]
    """Whether it trusts the fit."""


def measure_morphology(
    stamps: Float[np.ndarray, "n height width"],
    rms: float,
    psf: Float[np.ndarray, "side side"] | None = None,
) -> Morphology:
    """Statistics of the galaxy in the middle of each stamp, half a second each.

    Args:
        stamps: Images of any unit, sky subtracted, with empty sky around the galaxy.
        rms: Rms of the stamps' noise [the stamps' unit], positive.
        psf: PSF with which the Sersic profile is convolved; several times slower.
    """
    rows = [_measure(np.asarray(stamp, float) / rms, psf) for stamp in stamps]
    return Morphology(*map(np.array, zip(*rows, strict=True)))


def morphology_features(morphology: Morphology) -> Float[np.ndarray, "n 5"]:
    """The five statistics of the galaxies that have all of them."""
    table = np.stack([getattr(morphology, name) for name in MORPHOLOGY_STATISTICS], axis=-1)
    return table[morphology.measured & np.isfinite(table).all(axis=-1)]


def power_spectra(
    stamps: Float[np.ndarray, "n side side"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "n k"]]:
    """Frequencies [cycles per pixel], and each stamp's power there, averaged over rings.

    Power is in units of that of the whole flux at zero frequency.
    """
    side = stamps.shape[-1]
    frequency = np.fft.fftfreq(side, 1 / side)
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int)
    power = abs(np.fft.fft2(stamps / stamps.sum(axis=(1, 2), keepdims=True))) ** 2
    rings = np.arange(1, side // 2)
    means = np.stack([power[:, ring == k].mean(axis=-1) for k in rings], axis=-1)
    return rings / side, means


def central_segment(
    significance: Float[np.ndarray, "height width"],
) -> Bool[np.ndarray, "height width"]:
    """Pixels of the galaxy in the middle: connected, and above 1.5 of the noise's rms when blurred.

    Args:
        significance: Image over the rms of its noise.
    """
    blur = 1.5
    smooth = ndimage.gaussian_filter(significance, blur)
    labels, n = ndimage.label(smooth > 1.5 / (2 * np.pi**0.5 * blur))
    if not n:
        return np.zeros(labels.shape, bool)
    distance = np.hypot(
        *(np.indices(labels.shape) - (np.array(labels.shape)[:, None, None] - 1) / 2)
    )
    return labels == labels.flat[np.argmin(np.where(labels > 0, distance, np.inf))]


class _Source(statmorph.SourceMorphology):
    """A source of which only the few statistics wanted here are computed: the rest takes longer."""

    _WANTED = (*MORPHOLOGY_STATISTICS, "sersic_n", "sersic_rhalf", "sersic_ellip", "sersic_theta")

    def _calculate_morphology(self):
        for name in (*self._WANTED, "sky_mean", "sky_sigma"):
            getattr(self, name)

    def _check_segmaps(self):
        """Would compute the segments of another statistic."""

    def row(self) -> tuple:
        """Fields of `Morphology`."""
        *five, index, radius, ellipticity, angle = (float(self[name]) for name in self._WANTED)
        good = self.flag < 2 and _ABORTED not in five
        fit = index, radius, 1 - ellipticity, np.degrees(angle) % 180
        return *five, *fit, good, good and self.flag_sersic == 0


def _measure(significance, psf) -> tuple:
    segment = central_segment(significance)
    nothing = (*np.full(len(Morphology._fields) - 2, np.nan), False, False)
    if significance[segment].sum() <= 0:
        return nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its flags say the same
        try:
            noise = np.ones_like(significance)
            return _Source(significance, segment.astype(int), 1, weightmap=noise, psf=psf).row()
        except _FAILURES:
            return nothing


class Difference(NamedTuple):
    """Difference of the distributions of one number in two sets (Kolmogorov-Smirnov)."""

    distance: float
    """Largest difference of the cumulative distributions."""
    p_value: float


class Separability(NamedTuple):
    """How well a classifier separates members of two sets."""

    auc: float
    """Probability that it ranks a pair rightly: 1 if it always does, 0.5 by chance alone.

    For small sets of one population it may lie some sigma below 0.5: a member that is left out
    to be ranked leaves fewer of its kind behind.
    """
    error: float
    """One sigma, by bootstrap over the members."""


class Nearness(NamedTuple):
    """Whether a generator's members lie nearer to its training members than new ones do."""

    nearer: float
    """Probability that a generated member lies nearer than a held-out one: 0.5 is ideal, 1 is
    memorising, 0 means that generated members are unlike all others."""
    p_value: float
    """Probability that `nearer` is above 0.5 by chance."""
    copies: float
    """Share of generated members nearer than all but 1 % of held-out ones; 0.01 is ideal."""


def difference(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> Difference:
    """The two-sample Kolmogorov-Smirnov test of one number."""
    found = ks_2samp(first, second)
    return Difference(float(found.statistic), float(found.pvalue))


def separability(
    first: Float[np.ndarray, "n feature"], second: Float[np.ndarray, "m feature"], seed: int
) -> Separability:
    """A classifier two-sample test (Lopez-Paz & Oquab 2017).

    Each member is ranked by a random forest that has not seen it, in five folds.

    Args:
        first: Numbers of each member of one set.
        second: Numbers of each member of the other.
        seed: Seed of folds, trees and bootstrap.

    Raises:
        VaedeblendError: A set has fewer than five members.
    """
    if min(len(first), len(second)) < 5:
        raise VaedeblendError(
            f"sets of {len(first)} and {len(second)}; wanted five members of each"
        )
    both = np.concatenate([first, second])
    which = np.repeat([0, 1], [len(first), len(second)])
    forest = RandomForestClassifier(100, min_samples_leaf=5, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    score = cross_val_predict(forest, both, which, cv=folds, method="predict_proba")[:, 1]
    rng = np.random.default_rng(seed)
    sets = np.split(np.arange(len(both)), [len(first)])
    draws = (np.concatenate([rng.choice(s, len(s)) for s in sets]) for _ in range(_BOOTSTRAPS))
    error = np.std([roc_auc_score(which[i], score[i]) for i in draws])
    return Separability(float(roc_auc_score(which, score)), float(error))


def nearness(
    generated: Float[np.ndarray, "n feature"],
    learned: Float[np.ndarray, "m feature"],
    held_out: Float[np.ndarray, "k feature"],
) -> Nearness:
    """The nearest-neighbour test against memorising.

    Distances are Euclidean in features scaled to unit variance over `learned`; of images, give
    pixels over their total, with position and angle alike.

    Args:
        generated: Members that a generator made.
        learned: Members that the generator was trained on.
        held_out: Further members of the population, not used in training.
    """
    spread = learned.std(axis=0)
    scale = np.where(spread > 0, spread, 1)
    tree = cKDTree(learned / scale)
    made, new = (tree.query(each / scale)[0] for each in (generated, held_out))
    test = mannwhitneyu(new, made, alternative="greater")
    nearer = float(test.statistic) / (len(made) * len(new))
    return Nearness(nearer, float(test.pvalue), float((made < np.quantile(new, 0.01)).mean()))
