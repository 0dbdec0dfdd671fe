"""Whether two sets of galaxies are of one population, as far as numbers of each can tell."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp, mannwhitneyu
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from vaedeblend.exceptions import VaedeblendError

_BOOTSTRAPS = 200


class Difference(NamedTuple):
    """Of the distributions of one number in two sets (Kolmogorov-Smirnov)."""

    distance: float
    """Largest difference of the cumulative distributions."""
    p_value: float


class Separability(NamedTuple):
    """How well a classifier tells members of two sets apart."""

    auc: float
    """Probability that it ranks a pair rightly: 1 if it always does, 0.5 by chance alone.

    Of small sets of one population it may lie some sigma below 0.5: whoever is left out
    to be ranked leaves fewer of its kind behind.
    """
    error: float
    """One sigma, by bootstrap over the members."""


class Nearness(NamedTuple):
    """Whether a generator's members lie nearer to those that it learned from than new ones do."""

    nearer: float
    """Probability that one of its members does, compared with a held-out one; 0.5 is as it should
    be, 1 is memory, 0 that its members are unlike all."""
    p_value: float
    """Of `nearer` being above 0.5 by chance."""
    copies: float
    """Share of its members nearer than all but 1 % of held-out ones; 0.01 is as it should be."""


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
        first: Numbers of each member of a set.
        second: The same of the other.
        seed: Of folds, trees and bootstrap.

    Raises:
        ValueError: A set has fewer than five members.
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
        learned: Those that it learned from.
        held_out: Others of the population that it has not seen.
    """
    spread = learned.std(axis=0)
    scale = np.where(spread > 0, spread, 1)
    tree = cKDTree(learned / scale)
    made, new = (tree.query(each / scale)[0] for each in (generated, held_out))
    test = mannwhitneyu(new, made, alternative="greater")
    nearer = float(test.statistic) / (len(made) * len(new))
    return Nearness(nearer, float(test.pvalue), float((made < np.quantile(new, 0.01)).mean()))
