import evaluated
import matplotlib as mpl
import pytest

from vaedeblend.evaluate.summary import with_estimates
from vaedeblend.report.figures.style import RC_PARAMS


@pytest.fixture(scope="package")
def sets():
    tables = {k: evaluated.example_table(k, 80, i) for i, k in enumerate(("isolated", "blended"))}
    return {kind: with_estimates(table) for kind, table in tables.items()}


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(RC_PARAMS):
        yield
