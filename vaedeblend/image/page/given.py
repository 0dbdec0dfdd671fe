"""Pictures that a page is given, in units of the background's rms."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Overview(NamedTuple):
    """The whole image [background rms], NaN where no data are; one pixel is `binning` squared."""

    image: Float[np.ndarray, "height width"]
    model: Float[np.ndarray, "height width"]
    residual: Float[np.ndarray, "height width"]
    binning: int


class Panel(NamedTuple):
    """The surroundings of a source [background rms]: all light, its model, and the source's own."""

    id: int
    image: Float[np.ndarray, "size size"]
    model: Float[np.ndarray, "size size"]
    alone: Float[np.ndarray, "size size"]
