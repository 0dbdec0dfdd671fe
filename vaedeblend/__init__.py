"""Fluxes, light profiles and honest errors of blended galaxies.

The way through the package is the way of the light::

    catalogues   which galaxies there are               tables, EGG's prescriptions, draws
    simulate     what they look like                    profiles, renders, blends, whole fields
    models       the networks                           VAE, flow, flux distribution, losses
    training     how they learn                         scenes on the device, noise, objectives
    deblend      a network on stamps                    (image, variance, ...) -> Deblended
    image        from a FITS image to a catalogue       tiles, measurement, products, priors
    euclid       the files of Euclid                    MER's tiles, the Morphology Challenge
    evaluate     how good it is                         flux errors, bounds, SExtractor
    report       what an evaluation shows               report/index.html
    pixels, io   the ground: geometry; files            stamps, PSFs, shapes; FITS, checkpoints

`survey` (units, bands, pixel conventions) is under all of them, `cli` (the command) above.
What a user may import stands here, and is loaded when it is asked for.
"""

import importlib
import os
import sys
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_PUBLIC = {
    "Band": "survey.Band",
    "BandImage": "image.bands.inputs.BandImage",
    "Deblended": "deblend.network.Deblended",
    "DeblendedImage": "image.result.deblended.DeblendedImage",
    "Survey": "survey.Survey",
    "VaedeblendError": "exceptions.VaedeblendError",
    "deblend_image": "image.pipeline.deblend_image",
    "deblend_stamps": "deblend.joint.deblend_stamps",
    "inject": "evaluate.injection.inject",
    "load_deblender": "deblend.network.load_deblender",
    "make_deblend_stamps": "deblend.joint.make_deblend_stamps",
    "photometry": "image.bands.pipeline.photometry",
    "quantile": "models.sinh_arcsinh.quantile",
    "read_catalogue": "catalogues.catalogue.read",
    "simulate_field": "simulate.fields.simulate_field",
    "write_catalogue": "catalogues.catalogue.write",
    "write_field": "simulate.fields.write_field",
}
_MOVED = {
    "dataset.load": "io.dataset.load",
    "image.deblend_image": "image.pipeline.deblend_image",
    "inject.inject": "evaluate.injection.inject",
    "refine.make_refine": "deblend.refine.make_refine",
    "tails.quantile": "models.sinh_arcsinh.quantile",
    "together.make_deblend_stamps": "deblend.joint.make_deblend_stamps",
}
"""What the README of 0.1.0 imported from modules that are no more; gone in 0.3."""

__all__ = [*_PUBLIC]

if TYPE_CHECKING:  # for editors; the table above is what runs
    from vaedeblend.catalogues.catalogue import read as read_catalogue
    from vaedeblend.catalogues.catalogue import write as write_catalogue
    from vaedeblend.deblend.joint import deblend_stamps, make_deblend_stamps
    from vaedeblend.deblend.network import Deblended, load_deblender
    from vaedeblend.evaluate.injection import inject
    from vaedeblend.exceptions import VaedeblendError
    from vaedeblend.image.bands.inputs import BandImage
    from vaedeblend.image.bands.pipeline import photometry
    from vaedeblend.image.pipeline import deblend_image
    from vaedeblend.image.result.deblended import DeblendedImage
    from vaedeblend.models.sinh_arcsinh import quantile
    from vaedeblend.simulate.fields import simulate_field, write_field
    from vaedeblend.survey import Band, Survey


def __getattr__(name: str):
    """Loads a public name when it is asked for: processes that render do without JAX."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _load(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _load(path: str):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def _load_moved(module: str, name: str):
    old = f"{module}.{name}"
    if old not in _MOVED:
        raise AttributeError(f"module '{__name__}.{module}' has no attribute {name!r}")
    said = f"{__name__}.{old} is {__name__}.{_MOVED[old]} now; the old name goes in 0.3"
    warnings.warn(said, DeprecationWarning, stacklevel=2)
    return _load(_MOVED[old])


for _module in {path.split(".")[0] for path in _MOVED} - {"image"}:  # a room, which asks itself
    sys.modules[f"{__name__}.{_module}"] = _shim = ModuleType(f"{__name__}.{_module}")
    _shim.__getattr__ = partial(_load_moved, _module)


def _settle_home() -> None:
    """Astropy asks for a home folder when imported: where there is none, it is given none.

    A container's user without a name has no home folder unless HOME is set.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.devnull


_settle_home()
