"""What the builders share: records are kept as arrays, quietly and without TensorFlow."""

import contextlib
import io
import logging

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

# Past this many bytes TFDS spills a split to disk through TensorFlow, which is not required here.
shuffle.MAX_MEM_BUFFER_SIZE = 1 << 40


def tensor(*shape: int, dtype=np.float32) -> tfds.features.Tensor:
    """The feature of an array, or of a number without a shape."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes" if shape else "none")


@contextlib.contextmanager
def quiet():
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
