"""Simulated fields as the files of the Euclid Morphology Challenge (see `emc` for their layout).

Five fields, each in three ways of drawing the same galaxies at the same places under noise of the
same seed: single Sersic, double Sersic, and structured (synthetic), which takes the place of the
challenge's third. The truth catalogues hold every galaxy of a field, and of the challenge's columns
all but redshift and measurements; the truth of a structured galaxy is that of the single Sersic
profile on which it is built. Beside the challenge's files lie the images without noise, and the
light that galaxies brighter than 26 mag have alone on the 64 pixels about them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table, vstack

from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.euclid.emc.layout import DATASETS, LISTS, PIXEL_SCALE, PSF_FILE, STAMP_SIZE
from vaedeblend.io import write
from vaedeblend.pixels.psf import Psf
from vaedeblend.simulate.fields import Field, field_header, simulate_field
from vaedeblend.simulate.galaxies import profiles
from vaedeblend.simulate.library import STAMP_SIZES, PlacedSources, render_sources
from vaedeblend.simulate.render import resampled_psf, survey_psfs
from vaedeblend.survey import Band, Survey

N_FIELDS = 5
DATASET_STYLES = {"ssersic": "sersic", "dsersic": "analytic", "realm": "structured"}
"""Styles in which each dataset's galaxies are drawn."""
SURVEY = Survey((Band(charge_diffusion=0.0758),), PIXEL_SCALE)
"""Euclid VIS with the challenge's PSF, of a FWHM of 0.238 arcsec with the pixel's response."""
PSF_SIDE = 51
"""Side of the PSF's image, which holds all of the PSF that the fields are drawn with [pixel]."""

_APART = 1.0
"""Distance of the fields on the sky, along declination [deg]."""
_FAINTEST = 26.0
"""Faintest galaxies whose light is kept alone [mag]."""
_CELL, _SIDE = (STAMP_SIZES[-1] + STAMP_SIZE) // 2, 8
"""Side of the cell that a galaxy alone has [pixel], and cells along an image's side."""
_UNITS = {"mag": "mag", "re": "arcsec", "reb": "arcsec", "red": "arcsec"}


def write_fields(
    folder: str | Path,
    *,
    size: int | tuple[int, int] = 2048,
    seed: int = 0,
    numbers: Sequence[int] = range(N_FIELDS),
    survey: Survey = SURVEY,
    report: Callable[[str, int, int], None] | None = None,
    **options,
) -> Table:
    """Writes fields in all datasets, and returns how many galaxies and stars each holds.

    Args:
        folder: Folder that takes the files.
        size: Size of each field: side, or (height, width) [pixel].
        seed: Root of everything random; field f is that of the seed 5 * seed + f.
        numbers: Numbers of the fields.
        survey: Depth and PSF; its first band is written.
        report: Called with what is going on: (what, done, total).
        options: Further arguments of `fields.simulate_field`, but for a catalogue file.

    Raises:
        FileError: A file cannot be written.
        SkyError: An option is out of its range.
    """
    folder = write.prepare_folder(folder)
    psf, scale = survey_psfs(survey, STAMP_SIZES[-1]), survey.pixel_scale.value
    _write(folder / PSF_FILE, resampled_psf(psf[0], scale, PSF_SIDE), _scale_header())
    truths: dict[str, list[Table]] = {name: [] for name in DATASETS}
    counts = []
    for done, number in enumerate(numbers):
        for step, name in enumerate(DATASETS):
            if report:
                report("images", len(DATASETS) * done + step, len(DATASETS) * len(numbers))
            drawing = {"psfs": psf, "style": DATASET_STYLES[name], "seed": N_FIELDS * seed + number}
            field = simulate_field(size=size, survey=survey, **drawing, **options)
            stem = f"{name}_{number}_vis"
            _write_images(folder, stem, field, survey, number)
            table = alone(field.truth, pixel_scale=scale, **drawing)
            write.write_tables(folder / f"{stem}.alone.fits", {"ALONE": table})
            truths[name].append(truth_rows(field.truth, name, number))
        _write_lists(folder, number, field.truth)
        star = np.asarray(field.truth["star"])
        counts.append((number, int((~star).sum()), int(star.sum())))
    for name, kind in DATASETS.items():
        path = folder / f"challenge_5sig_overlap_{kind.catalogue}.fits"
        write.write_tables(path, {"TRUTH": vstack(truths[name])})
    if report:
        report("images", len(DATASETS) * len(numbers), len(DATASETS) * len(numbers))
    return Table(rows=counts, names=["field", "galaxies", "stars"])


def truth_rows(truth: QTable, dataset: str, number: int) -> Table:
    """A field's galaxies as rows of a dataset's truth catalogue."""
    galaxy = ~np.asarray(truth["star"])
    rows = Table({"ID": _ids(truth)[galaxy]})
    rows["X"], rows["Y"] = (truth[axis][galaxy].value + 1 for axis in ("x", "y"))
    rows["Field"] = np.full(len(rows), number)
    rows["Truemag"] = truth["mag"][galaxy, 0].value
    galaxies = make_galaxies(truth[galaxy])
    parameters = _two_components if dataset == "dsersic" else _one_component
    for name, values in parameters(galaxies).items():
        rows[f"True{name}"] = values
    for name in rows.colnames:
        rows[name].unit = _UNITS.get(name.removeprefix("True"))
    return rows


def alone(
    truth: QTable, *, pixel_scale: float, seed: int, psfs: tuple[Psf, ...], style: str
) -> Table:
    """ID and light, alone and without noise, of a field's galaxies brighter than 26 mag.

    They are drawn again as the field has drawn them, far apart: for that a galaxy's id in the
    catalogue has to be its row there, as EGG's is.
    """
    rows = np.flatnonzero(~truth["star"] & (truth["mag"][:, 0].value < _FAINTEST))
    stamps = np.empty((len(rows), STAMP_SIZE, STAMP_SIZE), np.float32)
    for first in range(0, len(rows), _SIDE**2):
        some = truth[rows[first : first + _SIDE**2]]
        sources, corner = _apart(some)
        drawing = {"style": style, "seed": seed}
        light, _ = render_sources(sources, (_SIDE * _CELL,) * 2, psfs, pixel_scale, **drawing)
        for i, (y, x) in enumerate(corner.tolist(), first):
            stamps[i] = light[y : y + STAMP_SIZE, x : x + STAMP_SIZE, 0]
    return Table({"ID": _ids(truth)[rows], "light": stamps})


def _apart(truth: QTable) -> tuple[PlacedSources, np.ndarray]:
    """Galaxies in cells of an image, and the corners of their stamps; other rows are far off it."""
    position = np.stack([truth["y"].value, truth["x"].value], axis=1)
    ids = np.asarray(truth["id"])
    cell = np.stack(np.divmod(np.arange(len(ids)), _SIDE), axis=1) * _CELL + _CELL // 2
    row, pixel = np.zeros(ids.max() + 1, int), np.full((ids.max() + 1, 2), -_SIDE * _CELL)
    row[ids], pixel[ids] = np.arange(len(ids)), cell
    phase = (position + 0.5 - np.floor(position + 1)).astype(np.float32)
    sources = PlacedSources(np.arange(len(row)), make_galaxies(truth).take(row), pixel, phase[row])
    return sources, cell - STAMP_SIZE // 2


def _two_components(galaxies: Galaxies) -> dict[str, np.ndarray]:
    return {
        "bt": galaxies.flux_bulge[:, 0] / galaxies.flux[:, 0],
        "reb": galaxies.bulge_half_light_radius,
        "red": galaxies.disk_half_light_radius,
        "qb": galaxies.bulge_axis_ratio,
        "qd": galaxies.disk_axis_ratio,
    }


def _one_component(galaxies: Galaxies) -> dict[str, np.ndarray]:
    """Parameters of the profile that `profiles.sersic` draws."""
    single = [galaxies.take(i) for i in range(len(galaxies.flux))]
    share = np.array([profiles.bulge_share(each) for each in single])
    return {
        "re": np.array([profiles.half_light_radius(each) for each in single]),
        "q": np.where(share > 0.5, galaxies.bulge_axis_ratio, galaxies.disk_axis_ratio),
        "n": np.round(20 * (1 + 3 * share)) / 20,
    }


def _ids(truth: QTable) -> np.ndarray:
    """Unique on a field, which the catalogue's are not where its rows are used again."""
    return np.arange(1, len(truth) + 1)


def _write_lists(folder: Path, number: int, truth: QTable) -> None:
    star = np.asarray(truth["star"])
    rows = [
        f"{i} {x + 1:.6f} {y + 1:.6f}\n"
        for i, x, y in zip(_ids(truth), truth["x"].value, truth["y"].value, strict=True)
    ]
    for key, chosen in {"all": star | True, "gals": ~star, "stars": star}.items():
        head = "" if key == "all" else "# ID X Y\n"
        lines = [row for row, each in zip(rows, chosen, strict=True) if each]
        write.write_text(folder / LISTS[key].format(number), head + "".join(lines))


def _write_images(folder: Path, stem: str, field: Field, survey: Survey, number: int) -> None:
    header = field_header(survey, field.image.shape[:2])
    header["CRVAL2"] += _APART * number
    header.update(_scale_header())
    for end, image in (("", field.image), (".rms", field.rms), (".light", field.light)):
        _write(folder / f"{stem}{end}.fits", image[..., 0], header)


def _write(path: Path, image, header: fits.Header) -> None:
    with write.write_image(path, image.shape, header) as put:
        put(image)


def _scale_header() -> fits.Header:
    header = fits.Header()
    header["PIXSCALE"] = PIXEL_SCALE, "arcsec"
    return header
