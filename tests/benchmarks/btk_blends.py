"""BlendingToolKit's blends in its survey Euclid_VIS, and how it judges them, for `btk.py`."""

from typing import NamedTuple

import galsim
import numpy as np
from astropy.table import Table, vstack
from btk.blend_batch import BlendBatch, DeblendBatch
from btk.catalog import Catalog, CatsimCatalog, CosmosCatalog
from btk.draw_blends import CatsimGenerator, CosmosGenerator
from btk.match import PixelHungarianMatcher
from btk.measure import get_blendedness
from btk.metrics.detection import F1, Precision, Recall
from btk.metrics.utils import mse
from btk.sampling_functions import DefaultSampling, SamplingFunction
from btk.survey import get_surveys
from surveycodex.utilities import mag2counts, mean_sky_level

from vaedeblend.simulate.galaxies.hst import open_catalog
from vaedeblend.simulate.galaxies.parts import is_in_part, split_part

SURVEY, BAND = get_surveys("Euclid_VIS"), "IE"
FILTER = SURVEY.get_filter(BAND)
SKY = mean_sky_level(SURVEY, FILTER).to_value("electron")
"""Variance of the background of a pixel [electron^2]."""
ZERO_POINT = 2.5 * np.log10(mag2counts(0.0, SURVEY, FILTER).to_value("electron"))
"""Magnitude of one electron."""
PIXEL = SURVEY.pixel_scale.to_value("arcsec")

STAMP, SHIFT = 16.0, 2.0
"""Side of a blend, and farthest that its galaxies lie from its middle along an axis [arcsec]."""
GALAXIES, MAGNITUDES = 5, (20.0, 25.5)
"""Most galaxies of a blend, and which are drawn."""
SIMILAR = 10
"""Galaxies of the nearest magnitudes, of which one is drawn in a given flux."""


class _RealGalaxies(NamedTuple):
    """What BlendingToolKit asks of GalSim's COSMOSCatalog, which wants parametric fits as well."""

    catalogue: galsim.RealGalaxyCatalog

    def makeGalaxy(self, index, gal_type, noise_pad_size):  # noqa: N802
        return galsim.RealGalaxy(self.catalogue, index=int(index), noise_pad_size=noise_pad_size)


def read_catsim(path) -> CatsimCatalog:
    """CatSim's galaxies, with the mean of their flux densities in r, i and z as that in VIS."""
    catalogue = CatsimCatalog.from_file(str(path))
    flux = np.mean([10 ** (-0.4 * catalogue.table[f"{band}_ab"]) for band in "riz"], axis=0)
    catalogue.table[f"{BAND}_ab"] = -2.5 * np.log10(flux)
    return catalogue


def read_cosmos(path) -> CosmosCatalog:
    """Real galaxies, whose magnitude in F814W is taken for that in VIS; `#test`: a part of them."""
    folder, part = split_part(str(path))
    opened = open_catalog(folder)
    catalogue = CosmosCatalog(Table.read(opened.file_name), _RealGalaxies(opened))
    catalogue.table = catalogue.table[is_in_part(map(str, opened.ident), part)]
    return catalogue


READERS = {"CatSim": read_catsim, "COSMOS": read_cosmos}


def magnitude_column(catalogue: Catalog) -> str:
    return "MAG" if isinstance(catalogue, CosmosCatalog) else f"{BAND}_ab"


class PairsOfFluxes(SamplingFunction):
    """Two galaxies of given fluxes, at a distance, in any direction."""

    def __init__(self, fluxes, distance, mag_name, seed):
        """Fluxes [electron], distance [pixel], the column of magnitudes, the draws' seed."""
        super().__init__(STAMP, max_number=2, min_number=2, seed=seed)
        self.magnitudes = ZERO_POINT - 2.5 * np.log10(fluxes)
        self.distance, self.mag_name = distance, mag_name

    def __call__(self, table):
        """The rows of one pair."""
        difference = abs(np.asarray(table[self.mag_name])[:, None] - self.magnitudes)
        nearest = np.argsort(difference, axis=0)[:SIMILAR]
        pair = table[self.rng.permuted(nearest, axis=0)[0]]
        angle, middle = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(-0.5, 0.5, 2)
        offset = np.array([0, self.distance])[:, None] * [np.cos(angle), np.sin(angle)]
        pair["ra"], pair["dec"] = ((middle + offset) * PIXEL).T
        pair[self.mag_name] = self.magnitudes
        return pair


def draw_blends(catalogue: Catalog, n: int, seed: int) -> BlendBatch:
    """Blends of one to five galaxies about the middle of a stamp."""
    low, high = MAGNITUDES
    sampling = DefaultSampling(
        stamp_size=STAMP,
        max_number=GALAXIES,
        max_shift=SHIFT,
        min_mag=low,
        max_mag=high,
        mag_name=magnitude_column(catalogue),
        seed=seed,
    )
    return _drawn(catalogue, sampling, n, seed)


def draw_pairs(catalogue: Catalog, fluxes, distance: float, n: int, seed: int) -> BlendBatch:
    """Pairs of given fluxes [electron], at a distance [pixel]."""
    sampling = PairsOfFluxes(fluxes, distance, magnitude_column(catalogue), seed)
    return _drawn(catalogue, sampling, n, seed)


def _drawn(catalogue, sampling, n, seed):
    real = isinstance(catalogue, CosmosCatalog)
    generator = CosmosGenerator if real else CatsimGenerator
    return next(generator(catalogue, sampling, SURVEY, batch_size=n, seed=seed))


def judged(batch: BlendBatch, deblended: DeblendBatch) -> Table:
    """One row a galaxy, fluxes and image RMSE [electron]; `meta` has what `detection` counts."""
    matching = PixelHungarianMatcher()(batch.catalog_list, deblended.catalog_list)
    own, light = batch.isolated_images[:, :, 0], deblended.deblended_images[:, :, 0]
    blendedness = get_blendedness(own).clip(0)  # below, where a galaxy's own image is noisy
    pairs = zip(matching.true_matches, matching.pred_matches, strict=True)
    rows = [
        _judged_blend(own[i, :n], blendedness[i, :n], deblended.catalog_list[i], light[i], *pair)
        for i, (n, pair) in enumerate(zip(matching.n_true, pairs, strict=True))
    ]
    table = vstack(rows)
    counts = matching.tp, matching.n_true, matching.n_pred
    table.meta["counts"] = np.stack(counts, axis=1).tolist()
    return table


def _judged_blend(own, blendedness, catalogue, light, true, found):
    """Rows of a blend's galaxies, whose matches are two lists of rows."""
    flux, missing = own.sum((-1, -2)), np.full(len(own), np.nan)
    row = Table(
        {"flux": flux, "mag": ZERO_POINT - 2.5 * np.log10(flux), "blendedness": blendedness}
    )
    row["found"], row["flags"] = np.zeros(len(own), bool), np.zeros(len(own), int)
    row["found"][true] = True
    row["flags"][true] = catalogue["flags"][found]
    for name, values in (
        ("measured", catalogue["flux"][found]),
        ("error", catalogue["flux_err"][found]),
        ("rmse", mse(own[true], light[found])),
    ):
        row[name] = missing
        row[name][true] = values
    return row


def detection(counts) -> dict:
    """BlendingToolKit's numbers of what is found, in per cent, and what is found for nothing.

    Args:
        counts: Matches, galaxies and sources found of each blend.
    """
    matches, true, found = np.transpose(counts)
    metrics = {"precision": Precision, "recall": Recall, "f1": F1}
    numbers = {k: 100 * float(m(len(true))(matches, true, found)) for k, m in metrics.items()}
    return numbers | {"false": 100 * float(np.mean(found - matches))}
