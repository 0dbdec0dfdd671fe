"""Materialised datasets: what a builder wrote, opened from its directory as arrays in memory.

Examples are decoded once. Training composes its scenes on the device from these arrays, so that no
input pipeline stands between the accelerator and its data.
"""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from vaedeblend.exceptions import DatasetError

_CHUNK = 512


def load(directory: str | Path, split: str) -> dict[str, np.ndarray]:
    """All examples of a split, stacked: one array a feature, nested features as 'outer/inner'.

    Args:
        directory: Folder of a built dataset, which holds dataset_info.json.
        split: Name of a split, or a slice of one such as 'train[:100]'.

    Raises:
        DatasetError: No dataset is there, it has no such split, or a file of it is damaged.
    """
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # TFDS raises what its JSON and protobuf readers raise
        raise DatasetError(f"{directory}: no dataset can be opened there ({error})") from error
    name = split.split("[")[0]
    if name not in builder.info.splits:
        found = sorted(builder.info.splits)
        raise DatasetError(f"{directory}: no split {name!r}; wanted one of {found}")
    try:
        source = builder.as_data_source(split)
        return _stack(source)
    except Exception as error:  # array_record reports damage as RuntimeError, IndexError and others
        raise DatasetError(f"{directory}: split {split!r} is damaged ({error})") from error


def _stack(source) -> dict[str, np.ndarray]:
    n = len(source)
    arrays: dict[str, np.ndarray] = {}
    for start in range(0, n, _CHUNK):
        chunk = source.__getitems__(range(start, min(start + _CHUNK, n)))
        for i, example in enumerate(map(_flatten, chunk), start):
            for name, value in example.items():
                if name not in arrays:
                    arrays[name] = np.empty((n, *np.shape(value)), np.asarray(value).dtype)
                arrays[name][i] = value
    return arrays


def _flatten(example: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in example.items():
        inner = _flatten(value, f"{name}/") if isinstance(value, dict) else {name: value}
        flat |= {prefix + key: leaf for key, leaf in inner.items()}
    return flat
