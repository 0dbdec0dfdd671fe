import io
import logging
import re
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from rich.console import Console

from vaedeblend.io.progress import progress, run_command


def shown(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with progress(console) as report:
        report("measuring tiles", 1, 4)
        report("training", 0, 10, "compiling")
        report("training", 5, 10, "loss 1.5")
        report("measuring tiles", 4, 4)
    return file.getvalue()


def test_each_kind_of_work_has_a_bar():
    text = shown(True)
    assert "measuring tiles" in text and "4/4" in text and "loss 1.5" in text


def test_a_bar_shows_that_it_lives_and_for_how_long_it_does():
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown(True))
    assert re.search("[\u2801-\u28ff] .*measuring tiles", text)  # a spinner's dots
    assert re.search(r"1/4 +\d:\d\d:\d\d [-\d]:[-\d]{2}:[-\d]{2}", text)  # gone, and left


def test_notes_are_lines_of_a_log():
    lines = [line.strip() for line in shown(False).splitlines()]
    assert "training: step 5: loss 1.5" in lines
    assert not any("step 0" in line or "tiles: step" in line for line in lines)


def test_what_is_logged_meanwhile_stands_beside_the_bar():
    file = io.StringIO()
    logger = logging.getLogger("vaedeblend.deblend.joint")
    with progress(Console(file=file, force_terminal=True, width=100)) as report:
        logger.info("no bar yet")
        report("measuring tiles", 0, 1)
        logger.info("%d sources, search %d", 912, 2)
        logger.debug("nobody asked")
    logger.info("too late")
    text = file.getvalue()
    assert "912 sources, search 2" in text
    assert not any(said in text for said in ("no bar", "nobody", "too late"))


def test_what_is_logged_is_no_line_of_the_root_s_handler(caplog):
    with progress(Console(file=io.StringIO())) as report:
        report("measuring", 0, 2)
        logging.getLogger("vaedeblend.deblend.joint").info("12 detections")
    assert not caplog.records
    assert logging.getLogger("vaedeblend").propagate


def test_astropys_words_about_cards_and_units_do_not_reach_the_terminal(capfd):
    def work():
        fits.PrimaryHDU(np.zeros((2, 2), np.float32), fits.Header({"BLANK": -1})).writeto(
            io.BytesIO()
        )
        u.Unit("10**-6 Jy", format="fits", parse_strict="warn")
        WCS(fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "DATE-OBS": "12/05/98"}))
        warnings.warn("of another kind", AstropyUserWarning, stacklevel=1)

    with pytest.warns(AstropyUserWarning, match="of another kind") as caught:
        assert run_command(work) == 0
    assert len(caught) == 1 and not capfd.readouterr().err
