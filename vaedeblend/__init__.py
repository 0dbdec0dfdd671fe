"""Fluxes, light profiles and honest errors of blended galaxies.

The way through the package is the way of the photons::

    catalogue, egg      which galaxies there are           QTable
    render, library     what each looks like alone         noise-free stamps, psf
    scene, blending     which lie on the same pixels       blends and their labels
    dataset, compose    what the network is shown          Batch(image, variance, target, flux)
    model, losses       what it says of them               Posterior -> flux, profile
    training            how it learns to say so            workdir/{stage}/checkpoints
    deblender           the trained network as a function  (image, variance) -> Deblended
    sextractor, metrics how well, and against whom         Measurement, flux errors
    evaluation, report  the answer                         metrics.json, figures

`survey` (units, bands, pixel conventions) is the ground under all of them.
"""

__version__ = "0.1.0"
