"""What stamps are not, in a sentence."""

import numpy as np
import pytest
from astropy.nddata import NDData

from vaedeblend.deblend.arrays import as_stamps
from vaedeblend.exceptions import StampError


def test_an_uncertainty_of_no_kind_is_refused():
    ones = np.ones((2, 9, 9, 1))
    with pytest.raises(StampError, match="UnknownUncertainty; wanted StdDevUncertainty, Variance"):
        as_stamps(NDData(ones, uncertainty=ones), None)
