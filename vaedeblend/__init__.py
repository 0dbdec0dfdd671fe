"""Fluxes, light profiles and honest errors of blended galaxies.

The way through the package is the way of the photons::

    catalogue, egg      which galaxies there are           QTable
    render, library     what each looks like alone         noise-free stamps, psf
    cosmos, cosmosfile  real galaxies in their place       light before the PSF
    morphology, comparison                                 how real the others look
    scene, blending     which lie on the same pixels       blends and their labels
    canonical, generator, generated                         galaxies made up by a network
    specimens           what it learns from                stamps in their own frame, conditions
    sky                 whole fields, as a survey has them Field(image, light, rms, truth)
    dataset, compose    scenes without end                 Scenes(light, target, flux, psf)
    observe             what a survey makes of them        Batch(observation, deep, target, flux)
    model, flow         what the network says of them      Posterior -> flux, profile, purity
    losses, objective   what it is asked for               parts, one number per example
    windows             stamps cut out and laid back       arrays
    training            how it learns to say so            workdir/{stage}/checkpoints
    calibration         what validation galaxies correct   calibration.json
    deblender           the trained network as a function  (image, variance, ...) -> Deblended
    tails               the distribution of a flux         median, width, skew and tails
    detect, frames      all galaxies of an image at once   stamps of it
    looks, together     each less its neighbours' light   Sources
    refine              the answer fitted to the pixels    groups -> fluxes and their covariance
    groups, shapes      who overlaps whom, and what light  correlations; radius, axis ratio
    mosaic, tiles       large images, piece by piece       windows of FITS files, parts on disk
    field, merge        from a piece to the whole          one catalogue
    image, outputs      `vaedeblend deblend`               catalogue, model, residual, segmentation
    page                the same, to look at               index.html
    tphot               profiles as T-PHOT's priors        folder of stamps and catalogues
    inject, matching    galaxies put into a user's image   what becomes of them
    emc, emctruth       the Morphology Challenge's fields  EmcField
    accounting, emcfile what becomes of each source there  stamps; fields in that layout
    skyfile, cli        a field as files; the command      vaedeblend simulate, deblend, inject
    sextractor, metrics how well, and against whom         Measurement, flux errors
    bound               and how well it can be done        Fisher bound of each stamp
    stamps, evaluation  on the same noisy stamps           Evaluation
    examples, latents   what each of them, and space, hold examples.fits
    summary, bins       the answer                         metrics.json
    charts, curves, errors, maps, portraits                figures
    inputs, results, markup, sheet                         what a page is made of
    parts, verdicts, talk, report                          report/index.html

`survey` (units, bands, pixel conventions) is the ground under all of them.
"""

__all__ = ["Deblended", "load_deblender"]
__version__ = "0.1.0"


def __getattr__(name: str):
    """Imports the deblender when asked for: processes that render galaxies do without JAX."""
    if name in __all__:
        from vaedeblend import deblender

        return getattr(deblender, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
