"""The command `vaedeblend`: which commands there are, and how each is run and ended.

Heavy imports stand inside the functions that need them: `vaedeblend --help` answers at once, and so
does a path that leads nowhere.
"""

import sys
from collections.abc import Sequence

from vaedeblend.cli import evaluate, images, photometry, simulate, survey, train, weights
from vaedeblend.cli.console import run, set_verbosity, show_error
from vaedeblend.cli.reading.line import Command, make_parsers, perform, read_line

COMMANDS = {
    "deblend": Command(
        "measure every galaxy of an image",
        images.add_deblend,
        images.deblend,
        "vaedeblend deblend image.fits --rms rms.fits --psf psf.fits --out result",
        images.INPUTS,
        has_settings=True,
    ),
    "inject": Command(
        "how well galaxies put into your image are measured",
        images.add_inject,
        images.inject_galaxies,
        "vaedeblend inject image.fits --rms rms.fits --psf psf.fits --n 500 --out injected",
        images.INPUTS,
        has_settings=True,
    ),
    "photometry": Command(
        "fluxes of deblended sources in other bands",
        photometry.add_photometry,
        photometry.photometry_command,
        "vaedeblend photometry result --image h.fits --rms h_rms.fits --psf h_psf.fits --band H",
        photometry.PHOTOMETRY_INPUTS,
    ),
    "simulate": Command(
        "a Euclid-like field with its truth",
        simulate.add_simulate,
        simulate.simulate,
        "vaedeblend simulate --out field --size 1500",
        ("source",),
        has_settings=True,
    ),
    "survey": Command(
        "measure all tiles of a survey, as one catalogue",
        survey.add_survey,
        survey.survey_command,
        "vaedeblend survey MER/ --out survey --workers 16",
    ),
    "train": Command(
        "train networks on simulated galaxies",
        train.add_train,
        train.train_command,
        "vaedeblend train --workdir runs/mine --config.seed=1 --config.data.style=structured",
        has_overrides=True,
    ),
    "evaluate": Command(
        "test a training, or shipped weights, on stamps whose truth is known",
        evaluate.add_evaluate,
        evaluate.evaluate_command,
        "vaedeblend evaluate --workdir runs/check --weights euclid_vis --limit 1000",
    ),
    "weights": Command(
        "list shipped weights, say what they were trained on, export those of a training",
        weights.add_weights,
        weights.weights_command,
        "vaedeblend weights info euclid_vis",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line, and gives its status.

    Errors that the user can mend end it with one line and status 1; 2 says that the line cannot be
    read, 3 that there is a result, of which nothing can be used.
    """
    words = sys.argv[1:] if argv is None else [*argv]
    parser, parsers = make_parsers(COMMANDS)
    try:
        name, options = read_line(words, COMMANDS, parser, parsers)
    except ValueError as error:  # all of ours are
        show_error(error)
        return 1
    set_verbosity(options.pop("verbosity", 0))
    return run(lambda: perform(COMMANDS[name], name, parsers[name], options))
