"""What the builders share: records are kept as arrays, quietly and without TensorFlow."""

import contextlib
import io
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from vaedeblend.catalogues.egg import PROGRAM
from vaedeblend.exceptions import FileError, SettingsError, VaedeblendError
from vaedeblend.io.fits.planes import split_plane
from vaedeblend.io.folders.digest import digest_file
from vaedeblend.simulate.examples import SPLITS


def tensor(*shape: int, dtype=np.float32) -> tfds.features.Tensor:
    """The feature of an array, or of a number without a shape."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes" if shape else "none")


def seen(options: Mapping, *others: str | None) -> list[str]:
    """Digests of the files that data depend on, so that a copy of them elsewhere counts as them.

    They are the catalogue, or EGG's program where that makes it; what lies at the paths of styles
    (of a folder its FITS files, and the checkpoints of the training that it holds); and others;
    those that there are.

    Args:
        options: Options of the data: source and style, where they have them.
        others: Further files.
    """
    styles = (each.partition(":")[2] for each in options.get("style", "").split("+"))
    styles = (each.partition("#")[0] for each in styles)
    source = options.get("source") or shutil.which(PROGRAM)
    paths = [Path(split_plane(each)[0]) for each in (source, *styles, *others) if each]
    folders = [path for path in paths if path.is_dir()]
    inside = [f.glob(each) for f in folders for each in ("*.fits*", "*/checkpoints/*")]
    files = [path for path in paths if path.is_file()] + [
        f for each in inside for f in sorted(each)
    ]
    return [digest_file(path) for path in files]


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuses splits that there are not, and sizes that none has.

    Args:
        sizes: Examples a split.

    Raises:
        SettingsError: A name or a number is none.
    """
    for split, n in sizes.items():
        if split not in SPLITS:
            raise SettingsError(f"sizes: split is {split!r}; wanted one of {', '.join(SPLITS)}")
        if n < 1:
            raise SettingsError(f"sizes: {split} is {n}; wanted at least 1 example")


def prepared(make: Callable[[], tfds.core.DatasetBuilder], beam: Sequence[str] = ()) -> Path:
    """Directory of a builder's dataset, which is built first where it is missing.

    Args:
        make: Makes the builder.
        beam: Options of Apache Beam's pipeline, where it builds; few builders can.

    Raises:
        FileError: It cannot be written.
        SettingsError: Apache Beam is not installed.
    """
    given = {"download_config": _on_beam(beam)} if beam else {}
    with _quiet(), _in_memory():
        builder = make()
        try:
            builder.download_and_prepare(**given)
        except VaedeblendError:
            raise
        except (OSError, RuntimeError) as error:  # array_record and Beam raise the latter
            why = str(error).strip().split("\n")[-1 if beam else 0]
            raise FileError(f"{builder.data_dir}: could not be written ({why})") from error
    return Path(builder.data_dir)


def _on_beam(options: Sequence[str]) -> tfds.download.DownloadConfig:
    """How a dataset is built by a pipeline of Apache Beam."""
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise SettingsError("no Apache Beam; wanted: pip install 'vaedeblend[beam]'") from error
    return tfds.download.DownloadConfig(beam_options=PipelineOptions([*options]))


@contextlib.contextmanager
def _in_memory():
    """Past a gigabyte TFDS would hold a split on disk, through TensorFlow, which nothing needs."""
    before, shuffle.MAX_MEM_BUFFER_SIZE = shuffle.MAX_MEM_BUFFER_SIZE, 1 << 40
    try:
        yield
    finally:
        shuffle.MAX_MEM_BUFFER_SIZE = before


@contextlib.contextmanager
def _quiet():
    """TFDS warns of every configuration that is not its class's own, and draws bars of its own."""
    tfds.disable_progress_bar()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        tfds.enable_progress_bar()
