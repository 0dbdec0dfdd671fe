"""What the inspection finds of an image in a folder; see `fitsfolder`."""

import numpy as np
from astropy.io import fits
from fitsfolder import SHAPE

from vaedeblend.image.inspection.inspect import inspect_image
from vaedeblend.io.mosaic import open_mosaic


def changed(folder, change=lambda image: image, cards=(), name="image.fits"):
    """Rewrites an image of the folder."""
    with fits.open(folder / name, mode="update") as hdus:
        hdus[0].data = np.asarray(change(hdus[0].data.astype(float)), np.float32)
        hdus[0].header.update(dict(cards))
    return folder


def noise_of(folder, value):
    """Rewrites the folder's map of the noise."""
    noise = np.broadcast_to(np.asarray(value, np.float32), SHAPE)
    fits.writeto(folder / "rms.fits", noise, overwrite=True)
    return folder


def inspected(folder, form="rms", noise="rms.fits", **options):
    """Findings of the folder's image, `kind about: text` each."""
    given = {"psf", "psf_scale", "catalog"} & options.keys()
    asked = {name: options.pop(name) for name in given} | {
        name: options[name] for name in ("gain", "zero_point") if name in options
    }
    maps = {} if noise is None else {form: folder / noise}
    with open_mosaic(folder / "image.fits", **maps, **options) as mosaic:
        found = inspect_image(mosaic, pixel_scale=0.1, weights="euclid_vis", **asked)
    return found, [f"{each.kind} {each.about}: {each.text}" for each in found.findings]


def kinds(said):
    """What is said beyond what is said of any image."""
    return {" ".join(line.split(": ")[0].split()) for line in said} - {
        *("given rms", "assumed gain", "assumed zero point", "assumed psf", "given psf")
    }


def only(said, kind):
    """The one line of a kind."""
    (line,) = (line for line in said if line.startswith(kind))
    return line
