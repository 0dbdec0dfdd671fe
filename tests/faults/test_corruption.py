"""Files that a disk or a cut-off copy has damaged: each is named, and none is used."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits

from data_builders.galaxy_scenes import galaxy_scenes_dataset_builder as scenes
from vaedeblend.deblend.calibration import (
    Calibration,
    Calibrations,
    read_calibrations,
    write_calibrations,
)
from vaedeblend.exceptions import VaedeblendError
from vaedeblend.io import checkpoint, dataset
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.io.workdir import find_workdir, read_config
from vaedeblend.pixels.psf import read_native_psfs, write_native_psfs
from vaedeblend.survey import Survey

PLACES = 0.1, 0.3, 0.5, 0.7, 0.9
"""Where a file is damaged, as shares of its length."""


def flip(content, place):
    content[int(place * len(content))] ^= 0x10
    return content


def cut(content, place):
    return content[: int(place * len(content))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file of each kind, and how it is read."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    params = {"encoder": {"kernel": jnp.asarray(rng.normal(size=(64, 64)), jnp.float32)}}
    checkpoint.save_params(folder / "checkpoints", 3, params)
    one = Calibration(*(np.arange(4, dtype=np.float32),) * 6, np.zeros(1, np.float32))
    write_calibrations(Calibrations(one, one, one), folder / "calibration.json")
    psf = np.exp(-((np.indices((31, 31)) - 15) ** 2).sum(axis=0) / 8)[..., None]
    write_native_psfs(folder / "psf.fits", psf.astype(np.float32) / psf.sum(), 0.1)
    fits.writeto(folder / "image.fits", rng.normal(size=(90, 90)).astype(np.float32))
    shutil.copy(find_workdir("euclid_vis") / "config.json", folder)
    sizes = {"train": 4, "validation": 4}
    data = scenes.build(
        "isolated", sizes=sizes, survey=Survey(), data_dir=folder / "data", seed=0, area=0.1
    )
    shutil.copytree(data, folder / "dataset")
    return folder


def read_image(path):
    with open_mosaic(path) as mosaic:
        return mosaic.read(slice(0, 90), slice(0, 90))


READERS = {
    "checkpoints": checkpoint.load_params,
    "calibration.json": read_calibrations,
    "psf.fits": lambda path: read_native_psfs(path, 0.1),
    "image.fits": read_image,
    "config.json": lambda path: read_config(path.parent),
    "dataset": lambda path: dataset.load(path, "train"),
}


def damage(whole, folder, name, change, place):
    """A damaged copy: of a folder its largest file is."""
    path = folder / name
    (shutil.copytree if (whole / name).is_dir() else shutil.copy)(whole / name, path)
    files = [each for each in path.rglob("*") if each.is_file() and "validation" not in each.name]
    largest = max(files, key=lambda each: each.stat().st_size) if path.is_dir() else path
    largest.write_bytes(change(bytearray(largest.read_bytes()), place))
    return path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_was_cut_off_is_named(whole, tmp_path, name, place):
    path = damage(whole, tmp_path, name, cut, place)
    with pytest.raises(VaedeblendError, match=name):
        READERS[name](path)


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name in ("checkpoints", "calibration.json") for place in PLACES]
    + [("psf.fits", place) for place in (0.4, 0.5, 0.6, 0.7)],  # in its data
)
def test_a_flipped_bit_is_named(whole, tmp_path, name, place):
    """Of what was written here, and is read again."""
    path = damage(whole, tmp_path, name, flip, place)
    with pytest.raises(VaedeblendError, match=name):
        READERS[name](path)


def test_a_flipped_bit_of_a_dataset_is_named_or_lies_between_records(whole, tmp_path):
    clean, named = dataset.load(whole / "dataset", "train"), 0
    for place in np.linspace(0.02, 0.98, 12):
        path = damage(whole, tmp_path, "dataset", flip, place)
        try:
            found = dataset.load(path, "train")
        except VaedeblendError as error:
            named += "damaged" in str(error)
        else:
            assert all(np.array_equal(found[key], clean[key]) for key in clean)
        shutil.rmtree(path)
    assert named > 3
