"""A folder in the challenge's layout, written once, and copies of it to be damaged."""

import shutil

import pytest
from written import WRITTEN

from vaedeblend.euclid.emc import simulate


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emc")
    simulate.write_fields(folder, **WRITTEN)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")
