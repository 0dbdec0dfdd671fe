"""Fluxes, light profiles and honest errors of blended galaxies.

The way through the package is the way of the light::

    catalogues   which galaxies there are               tables, EGG's prescriptions, draws
    simulate     what they look like                    profiles, renders, blends, whole fields
    models       the networks                           VAE, flow, flux distribution, losses
    training     how they learn                         scenes on the device, noise, objectives
    deblend      what they say of stamps                (image, variance, ...) -> Deblended
    image        from a FITS image to a catalogue       tiles, measurement, products, priors
    emc          the Euclid Morphology Challenge        fields read, counted, written
    evaluate     how good it is                         flux errors, bounds, SExtractor
    report       what an evaluation shows               report/index.html
    pixels, io   the ground: geometry; files            stamps, PSFs, shapes; FITS, checkpoints

`survey` (units, bands, pixel conventions) is under all of them, `cli` (the command) above.
"""

__all__ = ["Deblended", "load_deblender"]
__version__ = "0.1.0"


def __getattr__(name: str):
    """Imports the deblender when asked for: processes that render galaxies do without JAX."""
    if name in __all__:
        from vaedeblend.deblend import network

        return getattr(network, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
