"""Paths that lead nowhere are refused, whatever they look like."""

import pytest

from vaedeblend.cli.reading.inputs import refuse_missing
from vaedeblend.exceptions import FileError


@pytest.mark.parametrize("path", ["lost.fits", "lost.fits[RMS]", "0.01", "nan"])
def test_what_is_no_file_is_refused(path):
    with pytest.raises(FileError, match="no such file or folder; wanted one as rms"):
        refuse_missing({"rms": path}, ["rms"])


@pytest.mark.parametrize("name", ["rms.fits", "0.01"])
def test_a_file_of_any_name_is_taken(tmp_path, name):
    (tmp_path / name).touch()
    for path in (tmp_path / name, tmp_path / f"{name}[RMS]"):
        refuse_missing({"rms": str(path)}, ["rms"])
