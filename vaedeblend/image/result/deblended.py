"""What `deblend_image` gives: all that is known of an image's sources, read when asked for."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table
from jaxtyping import Float, Int

from vaedeblend.exceptions import CatalogueError
from vaedeblend.image.catalogue.columns import FLAGS
from vaedeblend.image.catalogue.merge import Catalog
from vaedeblend.image.tiles import Job
from vaedeblend.io.fits.numbers import as_count
from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import overlap


class Cutout(NamedTuple):
    """A source and its surroundings [image unit], as far as they lie on the image."""

    light: Float[np.ndarray, "height width"]
    """The source's own."""
    image: Float[np.ndarray, "height width"]
    """All light, background subtracted; NaN where a pixel is ignored."""
    model: Float[np.ndarray, "height width"]
    """Light of all sources."""
    residual: Float[np.ndarray, "height width"]
    """What of the image the model lacks."""
    corner: tuple[int, int]
    """(y, x) of the first pixel on the image."""


class Samples(NamedTuple):
    """Draws from the posterior of a source [image unit]."""

    flux: Float[np.ndarray, " sample"]
    """Total flux."""
    light: Float[np.ndarray, "sample side side"]
    """Light on pixels of `binning` times the image's side; its sum is less than the flux where the
    source is larger than its stamp."""
    binning: int


@dataclass(frozen=True, repr=False, eq=False)
class DeblendedImage:
    """The sources of an image, their light and their posteriors.

    Light is read from the folder of the results when it is asked for; without one it lies in a
    temporary folder that goes with this object.

    Attributes:
        found: Tables and profiles of the sources.
        job: How they were measured.
        folder: Folder of model.fits, residual.fits and the others.
        is_kept: Whether that folder stays.
    """

    found: Catalog
    job: Job
    folder: Path
    is_kept: bool = True

    @property
    def catalog(self) -> QTable:
        """One row a source, with units: the columns of catalog.fits."""
        return QTable(self.found.table)

    @property
    def table(self) -> Table:
        """The same as a Table, whose columns are plain numbers beside their units."""
        return self.found.table

    @property
    def covariance(self) -> Table:
        """Sources that overlap: id_1, id_2, covariance of their fluxes, correlation."""
        return self.found.pairs

    @property
    def said(self) -> tuple[str, ...]:
        """What was assumed, found and mended of the inputs, a sentence each."""
        return self.found.said

    @property
    def unusable(self) -> str:
        """Why no source can be used; empty where one can."""
        return self.found.unusable

    @property
    def profiles(self) -> Profiles:
        """Light of all sources, in the order of the catalogue."""
        return self.found.profiles

    @property
    def model(self) -> Float[np.ndarray, "height width"]:
        """Light of all sources [image unit]."""
        return self._read("model")

    @property
    def residual(self) -> Float[np.ndarray, "height width"]:
        """The image less its model [image unit]; NaN where a pixel is ignored."""
        return self._read("residual")

    @property
    def segmentation(self) -> Int[np.ndarray, "height width"]:
        """The id of the source that is brightest in each pixel; 0 where none is."""
        return self._read("segmentation")

    @property
    def image(self) -> Float[np.ndarray, "height width"]:
        """The image as it was measured: background subtracted; NaN where a pixel is ignored."""
        return self.model + self.residual

    def stamp(self, id: int) -> Cutout:
        """A source's own light and its surroundings.

        Args:
            id: Number of the source in the catalogue.

        Raises:
            CatalogueError: There is no such source, or it was not measured.
        """
        row = self._row(id)
        corner, own = self.profiles.corner[row], self.profiles[row]
        with fits.open(self.folder / "model.fits") as hdus:
            there, on_stamp = overlap(corner.tolist(), len(own), hdus[0].shape)
        model, residual = (self._read(name, there) for name in ("model", "residual"))
        first = tuple(int(span.start) for span in there)
        return Cutout(own[on_stamp], model + residual, model, residual, first)

    def samples(self, id: int, n: int = 100, *, seed: int = 0) -> Samples:
        """Draws from the posterior of a source's flux and profile, its neighbours as they are.

        Args:
            id: Number of the source in the catalogue.
            n: Number of draws.
            seed: Seed of the draws.

        Raises:
            CatalogueError: There is no such source, or it was not measured; or the weights are of
                several bands.
            MosaicError: n is no whole number from 1 on.
        """
        from vaedeblend.image.result.posterior import draw_source

        row = self._row(id)
        known = {name: float(self.table[name][row]) for name in ("flux", "flux_err")}
        n = as_count(n, "n", 1)
        return Samples(*draw_source(self.job, self.profiles, row, n, seed, **known))

    def plot(self):
        """A figure (of matplotlib) of image, model and residual, the sources marked."""
        from vaedeblend.image.result.figure import draw_image

        measured = self.table[self.table["binning"] > 0]
        return draw_image(self.image, self.model, self.residual, measured)

    def __repr__(self) -> str:
        """Numbers of sources and flags, and what was assumed."""
        table = self.table[self.table["binning"] > 0]
        flags = np.asarray(table["flags"], int)
        names = Counter({name: int((flags & bit > 0).sum()) for bit, (name, _) in FLAGS.items()})
        counts = ", ".join(f"{n} {name}" for name, n in names.most_common() if n)
        place = self.folder if self.is_kept else "in memory"
        lines = [
            f"DeblendedImage of {Path(self.job.image).name}: {len(table)} sources, {place}",
            f"  flagged: {int((flags > 0).sum())}" + (f" ({counts})" if counts else ""),
            *(f"  {line}" for line in self.said),
        ]
        return "\n".join(lines + [f"  {self.unusable}"] * bool(self.unusable))

    def _read(self, name: str, box=...) -> np.ndarray:
        with fits.open(self.folder / f"{name}.fits") as hdus:
            values = np.asarray(hdus[0].section[box])
        return values.astype(values.dtype.newbyteorder("="))

    def _row(self, id: int) -> int:
        rows = np.flatnonzero(np.asarray(self.table["id"]) == id)
        if not len(rows) or self.profiles.binning[rows[0]] < 1:
            what = "no source" if not len(rows) else "nothing measured of source"
            raise CatalogueError(
                f"{what} {id}; wanted an id of the catalogue, 1 to {len(self.table)}"
            )
        return int(rows[0])
