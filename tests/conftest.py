"""What every test shares: strict types, executables, seeds, and a way to the reference data."""

import ctypes
import gc
import os
import shutil
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from jaxtyping import install_import_hook

# Workers and the programs that they start compile alike programs: once for all of them.
EXECUTABLES = "JAX_COMPILATION_CACHE_DIR"
OWN = EXECUTABLES not in os.environ
if OWN:
    os.environ[EXECUTABLES] = tempfile.mkdtemp(prefix="vaedeblend-executables-")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Most of a test's time is XLA's, which compiles what will run once: with its older emitters
# in less than half the time. A jaxlib that does not know the flag would end the process.
if version("jaxlib").startswith("0.10."):
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()

install_import_hook("vaedeblend", "beartype.beartype")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "allow")
# Nor are programs that will run once optimised: part of the time again.
jax.config.update("jax_disable_most_optimizations", True)

gc.set_threshold(50_000, 20, 50)  # as in a command: tracing makes little garbage

MOST_EXECUTABLES = 250  # a process keeps them all, 1.4 MB each at least
_compiled = []


def _count(event, seconds, **kwargs):
    if event == "/jax/core/compile/backend_compile_duration":  # or read, if another has compiled it
        _compiled.append(seconds)


jax.monitoring.register_event_duration_secs_listener(_count)


def pytest_collection_modifyitems(items):
    """Files whose tests take longest come first: workers that are done wait for none of them."""
    first = "commands", "report", "loop", "pipeline", "generator", "objectives", "flow", "network"
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in first)


def pytest_unconfigure():
    if OWN:
        shutil.rmtree(os.environ[EXECUTABLES], ignore_errors=True)


@pytest.fixture(autouse=True)
def bounded_memory():
    """Executables are forgotten where many have gathered, and their memory is returned."""
    yield
    if len(_compiled) > MOST_EXECUTABLES:
        jax.clear_caches()
        _compiled.clear()
        if sys.platform == "linux":  # glibc keeps what is freed in the middle of its heap
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="module")
def optimised():
    """For tests whose programs run often, hang on last digits, or are compared across processes."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def ctrl_c():
    """SIGINT raises KeyboardInterrupt; a command in the background ignores it, as do its own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
