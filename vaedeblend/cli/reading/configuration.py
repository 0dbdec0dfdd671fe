"""The configuration of a training: a Python file, and the values that the command line sets."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from difflib import get_close_matches

from vaedeblend.exceptions import SettingsError


def read_training(path: str, overrides: Sequence[str] = ()):
    """The configuration of a training.

    Args:
        path: Python file with get_config().
        overrides: Words as --config.seed=1, which set its values.

    Raises:
        SettingsError: It cannot be read, or cannot be set so.
    """
    with _reading():
        from absl import flags
        from ml_collections import config_flags

        command, file = ["vaedeblend train"], [f"--config={path}"]
        read, values = flags.FlagValues(), flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=read, sys_argv=command + file)
        read(command + file)
        _ = read.config.stages  # an error of the file is kept until it is asked for something
        words = command + [*map(_bracketed, overrides)]
        for word in words:
            if word.startswith("--config."):
                _find_key(read.config, word.partition("=")[0])
        config_flags.DEFINE_config_dict("config", read.config, flag_values=values, sys_argv=words)
        _, *rest = values(words)
        if rest:
            raise SettingsError(f"unexpected arguments {rest}; wanted --config.KEY=VALUE")
        return values.config


def _find_key(config, word: str) -> None:
    """Refuses a key that there is not; a band takes those, too, that it leaves at their defaults.

    Args:
        config: ConfigDict of the training.
        word: The key as on the command line.

    Raises:
        SettingsError: There is no such key.
    """
    from ml_collections import ConfigDict
    from ml_collections.config_flags import config_path

    _, *keys = config_path.split(word.lstrip("-"))
    part = config
    for i, key in enumerate(keys):
        if not isinstance(part, ConfigDict):  # whose values have no keys
            return
        defaults = _band_defaults() if keys[:2] == ["survey", "bands"] and i == 3 else {}
        known = sorted({*part, *defaults})
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"; nearest is {near[0]}" if near else ""
            within = ".".join(["config", *keys[:i]])
            raise SettingsError(f"--{within} has no {key}; wanted one of {', '.join(known)}{hint}")
        if key not in part:
            with config.unlocked():
                part[key] = defaults[key]
        part = part[key]


def _band_defaults() -> dict:
    """Settings of a band that a configuration may leave out, by name."""
    from vaedeblend.survey import Band

    return {each.name: each.default for each in fields(Band) if each.name != "name"}


def _bracketed(word: str) -> str:
    """A word whose keys that are no names, as euclid-vis, are in brackets for ml_collections."""
    key, mark, value = word.partition("=")
    if "[" in key:
        return word
    first, *keys = key.split(".")
    return first + "".join(f".{k}" if k.isidentifier() else f'["{k}"]' for k in keys) + mark + value


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise SettingsError(f"--config: {type(error).__name__}: {error}") from None
