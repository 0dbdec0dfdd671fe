"""The injection test: galaxies of known flux are added to the user's own image, and measured.

image --image.deblend_image--> what was there before
image + added galaxies --image.deblend_image--> catalogue --added.recovery--> errors by bin
"""

from collections.abc import Iterable
from pathlib import Path

from astropy.table import Table, vstack

from vaedeblend.evaluate.added.ground import read_ground
from vaedeblend.evaluate.added.inputs import check_inputs, read_inputs
from vaedeblend.evaluate.added.light import write_with
from vaedeblend.evaluate.added.places import make_addition, place_sources_on
from vaedeblend.evaluate.added.recovery import recovered
from vaedeblend.evaluate.added.shown import NUMBERS, PAGE, account, write_shown
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.io.folders.jobs import locked
from vaedeblend.io.write import prepare_folder, write_tables

BEFORE, TABLE = "before", "injected.fits"
"""Folder of what was there before, and name of the table."""
_FOLDER = "seed_{}"
"""Folder of an image with the sources of a seed."""


def inject(
    image,
    out: str | Path,
    *,
    n=300,
    magnitude: tuple[float, float] = (22.0, 26.0),
    seed: int = 0,
    repeats=1,
    stars=0,
    beside_bright: bool = False,
    weights: str | Path = "euclid_vis",
    **options,
) -> Table:
    """Adds galaxies to an image, deblends it, and writes injected.fits: a row a galaxy injected.

    Columns: x, y, mag, flux [image units], found, flux_found, flux_err, error (relative; -1 where
    it was not found), purity (as estimated; NaN where it was not found), flags, id (that of the
    catalogue of its image; 0 where it was not found), star, seed, half_light_radius (true, before
    the PSF), x_found, y_found, flux_err_95. injection.html and injection.json show completeness,
    bias, scatter and coverage, by magnitude and purity.

    Galaxies are seen through the PSF at their place, and have photon noise, which is correlated as
    the image's sky is, where the gain is known; a map of the total noise holds it, too. The folder
    before/ holds all that `pipeline.deblend_image` makes of the image as it is: a source that was
    there before is none of the galaxies, and these lie on pixels that count. The folders seed_0,
    ... hold image.fits with the galaxies of a seed, and what that makes of it.

    Args:
        image: FITS file, which is read whole, or what else `pipeline.deblend_image` takes.
        out: Folder of the results.
        n: Number of galaxies of each seed, EGG's, evenly over the pixels that count.
        magnitude: Range of the sources' magnitudes.
        seed: First seed of everything random.
        repeats: Number of seeds, each of which adds galaxies of its own to the image.
        stars: Number of stars of each seed, uniform in magnitude.
        beside_bright: Whether galaxies may lie where they would be flagged `beside_bright`.
        weights: Name of shipped weights, or a workdir.
        **options: Further options of `pipeline.deblend_image`.

    Raises:
        FolderError: Another job writes into the folder.
        VaedeblendError: A file cannot be used or written, or the zero point is not known.
    """
    report = options.pop("report", lambda what, done, total: None)
    recipe = make_addition(n, stars, magnitude, beside_bright, seed, repeats)
    with locked(out) as out:
        inputs = read_inputs(image, options | {"weights": weights}, out)
        check_inputs(inputs, recipe.n + recipe.stars, _written(out, recipe.seeds))
        before = deblend_image(inputs.image, out / BEFORE, report=report, **inputs.options).table
        ground = read_ground(inputs, out / BEFORE)
        tables = []
        for each in recipe.seeds:
            folder = prepare_folder(out / _FOLDER.format(each))
            sources = place_sources_on(ground, recipe, before, each)
            given = write_with(sources, inputs, ground, folder, each)
            found = deblend_image(folder / "image.fits", folder, report=report, **given).table
            tables.append(recovered(sources, ground.unit, found, before, each))
        table = vstack(tables)
        said = [*account(table, recipe.total), *ground.said()]
        about = {"image": str(inputs.image)} | recipe._asdict()
        links = {BEFORE: "The image as it is", _FOLDER.format(seed): "with sources"}
        links = {f"{folder}/index.html": name for folder, name in links.items()}
        write_shown(out, table, said, about, links)
        for name in ("flux", "flux_found", "flux_err", "flux_err_95"):
            table[name].unit = before["flux"].unit
        write_tables(out / TABLE, {"INJECTED": table})
        table.meta["said"] = said
        return table


def _written(out: Path, seeds: Iterable[int]) -> list[Path]:
    """Files that are to be written beside what deblending writes."""
    made = [out / _FOLDER.format(each) / "image.fits" for each in seeds]
    return made + [out / name for name in (TABLE, PAGE, NUMBERS)]
