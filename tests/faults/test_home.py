"""Users without a home folder: containers are started under numbers that no list of users knows."""

import os
from pathlib import Path

import pytest

import vaedeblend
from vaedeblend.cli.images import keep_compiled


@pytest.fixture
def nameless(monkeypatch):
    """A process whose user has neither a name nor HOME."""
    monkeypatch.delenv("HOME")
    for name in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    with pytest.raises(RuntimeError, match="home"):
        Path.home()


@pytest.mark.parametrize("cache", [None, "cache"])
def test_nothing_is_kept_but_where_a_cache_is_given(nameless, monkeypatch, tmp_path, cache):
    if cache:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
    vaedeblend._settle_home()
    keep_compiled()
    assert not (Path.home() / ".astropy").exists()
    wanted = str(tmp_path / cache / "vaedeblend") if cache else None
    assert os.environ.get("JAX_COMPILATION_CACHE_DIR") == wanted


def test_a_home_folder_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    vaedeblend._settle_home()
    assert Path.home() == tmp_path
