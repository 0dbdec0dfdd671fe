"""What every test shares: strict types, seeds, and a way to the reference data where it is."""

from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("vaedeblend", "beartype.beartype")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "allow")
# Most of a test's time is XLA's, which optimises programs that will run once: a third less so.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def optimised():
    """For tests that hang on a program's last digits, or compare two processes'."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def rng():
    return np.random.default_rng(2026)


@pytest.fixture
def key():
    return jax.random.key(2026)


@pytest.fixture
def shared():
    """Reference catalogues beside the repository; tests that want them skip without."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "egg").is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder
