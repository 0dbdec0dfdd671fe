"""Work for other processes, which import it by name."""

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info


def add(a, b):
    return a + b, os.getpid()


def divide(a, b):
    return a / b


def make_end():
    return end


def end(task):
    os._exit(9)


def make_threads():
    return threads


def threads(task):
    """Numbers of threads of the BLAS that NumPy works with."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def make_wait(folder):
    return partial(wait, folder)


def wait(folder, task):
    """Leaves its process's number in a folder, and sleeps."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)
