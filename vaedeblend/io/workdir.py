"""The working directory of a training: where it is, what it was trained with, its weights alone."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from vaedeblend.exceptions import WorkdirError
from vaedeblend.io.write import PARTIAL, prepare_folder, replacing, write_text

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Folder of the workdirs that are shipped with the package, by name."""

DEBLENDER_STAGES = "blended", "companions"
"""Stages that a deblender is made of, and that are exported; the second where it is trained."""

WORKDIR_PSF = "psf.fits"
"""Effective PSF that a workdir's networks were trained for, beside its config.json."""

CHECKPOINTS = "checkpoints"
"""Folder of a stage's parameters, within that of the stage."""


def find_workdir(name_or_workdir: str | Path) -> Path:
    """Folder of the shipped weights of a name, or the workdir itself.

    Raises:
        WorkdirError: It is neither a name nor a path.
    """
    if not isinstance(name_or_workdir, str | Path):
        found = type(name_or_workdir).__name__
        raise WorkdirError(f"weights: {found}; wanted the name of shipped ones, or a workdir")
    shipped = WEIGHTS / str(name_or_workdir)
    return shipped if (shipped / "config.json").exists() else Path(name_or_workdir)


def find_trained(stage: str | Path) -> Path:
    """Folder of the checkpoints of a trained stage: WORKDIR/STAGE, or shipped: NAME/STAGE."""
    path = Path(stage)
    return find_workdir(path.parent) / path.name / CHECKPOINTS


def read_config(workdir: str | Path) -> dict:
    """The configuration with which a working directory was trained.

    Bands are in the order of their names, as a training has them, whatever the file's is.

    Raises:
        WorkdirError: There is none, or it cannot be read.
    """
    path = Path(workdir) / "config.json"
    try:
        config = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        names = sorted(p.name for p in WEIGHTS.glob("*") if p.is_dir())
        raise WorkdirError(
            f"{path}: not found; wanted the workdir of a training, or one of {names}"
        ) from error
    except json.JSONDecodeError as error:
        raise WorkdirError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        found = type(config).__name__
        raise WorkdirError(f"{path}: holds a {found}; wanted the configuration of a training")
    if bands := config.get("survey", {}).get("bands"):
        config["survey"]["bands"] = dict(sorted(bands.items()))
    return config


def read_trained(workdir: str | Path) -> dict:
    """The configuration of weights: `read_config`, with all that they are described by.

    Raises:
        WorkdirError: There is none, it cannot be read, or lacks something.
    """
    config = read_config(workdir)
    if missing := sorted({"data", "model", "stages", "survey"} - config.keys()):
        path = Path(workdir) / "config.json"
        raise WorkdirError(f"{path}: has no {', '.join(missing)}; wanted that of a training")
    return config


def claim(workdir: str | Path, config: Mapping) -> None:
    """Writes config.json, or compares with the one that is there.

    Args:
        workdir: Working directory, made where it is missing.
        config: Configuration of plain values, as JSON has them.

    Raises:
        WorkdirError: The directory holds another configuration.
        FileError: It cannot be written.
    """
    path = Path(workdir) / "config.json"
    refuse_another(workdir, config)
    if not path.exists():
        prepare_folder(workdir)
        write_text(path, _as_json(config))


def refuse_another(workdir: str | Path, config: Mapping) -> None:
    """Compares with the configuration of a working directory, if it has one.

    Raises:
        WorkdirError: It is another one.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        return
    found, wanted = _leaves(read_config(workdir)), _leaves(config)
    keys = sorted(k for k in found | wanted if found.get(k) != wanted.get(k))
    if keys:
        differences = ", ".join(f"{k}: {found.get(k)} != {wanted.get(k)}" for k in keys)
        raise WorkdirError(
            f"{path}: belongs to another configuration ({differences}); wanted another workdir, "
            "or this one deleted"
        )


def check_export(workdir: str | Path, folder: str | Path) -> None:
    """Refuses a folder for weights that holds anything but weights that were exported before.

    Raises:
        WorkdirError: It is the training's own, another's, or holds other files.
    """
    folder = Path(folder)
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    others = [each.name for each in there if not _may_be_weights(each)]
    if folder.resolve() == Path(workdir).resolve():
        raise WorkdirError(f"{folder}: is the workdir of the training; wanted another folder")
    if others:
        names = ", ".join(others[:3])
        raise WorkdirError(
            f"{folder}: holds {names}; wanted a folder for weights alone, new, empty or of an "
            "earlier export"
        )


def _may_be_weights(path: Path) -> bool:
    """Whether a file or folder is of an export, or stands beside one that is shipped."""
    if path.is_dir():
        return path.name in DEBLENDER_STAGES and not (path / "metrics.jsonl").exists()
    name = path.name.removesuffix(PARTIAL)
    if name == WORKDIR_PSF:  # a simulated field has one, too
        return (path.parent / DEBLENDER_STAGES[0]).is_dir()
    return name == "config.json" or path.match("metrics*.json") or path.suffix == ".md"


def export(workdir: str | Path, folder: str | Path) -> None:
    """Writes into a folder what a deblender needs of a finished training, and no more.

    The folder is that of weights when all is there: config.json comes last.

    Raises:
        WorkdirError: Not the workdir of a training, or a folder of something else.
        CheckpointError: The stage has no checkpoint, or a damaged one.
        FileError: A file cannot be written.
    """
    from vaedeblend.io import checkpoint  # JAX and orbax take seconds, which no reader here needs

    workdir, folder = Path(workdir), Path(folder)
    config = read_config(workdir)
    check_export(workdir, folder)
    stages = [
        DEBLENDER_STAGES[0],
        *(each for each in DEBLENDER_STAGES[1:] if each in config["stages"]),
    ]
    trained = {each: workdir / each / CHECKPOINTS for each in stages}
    latest, load = checkpoint.latest_step, checkpoint.load_params
    parts = {s: (latest(f), checkpoint.rounded(load(f))) for s, f in trained.items()}
    names = [f"{stages[0]}/calibration.json"]
    if not (workdir / names[0]).exists():
        raise WorkdirError(
            f"{workdir}: stage {stages[0]} has no calibration.json; wanted a finished one"
        )
    names += [WORKDIR_PSF] if (workdir / WORKDIR_PSF).exists() else []  # 0.1.0's hold none
    (folder / "config.json").unlink(missing_ok=True)
    for each, of_stage in parts.items():
        prepare_folder(folder / each)
        checkpoint.save_params(folder / each / CHECKPOINTS, *of_stage)
    for name in names:
        with replacing(folder / name) as partial:
            shutil.copy(workdir / name, partial)
    kept = {"stages": {each: config["stages"][each] for each in stages}}
    kept["data"] = config["data"] | {"style": _without_folders(config["data"]["style"])}
    write_text(folder / "config.json", _as_json(config | kept))


def _without_folders(style: str) -> str:
    """A style whose real galaxies' files go by name: others have them elsewhere."""
    return re.sub(r":[^+#]*/", ":", style)


def _as_json(config: Mapping) -> str:
    return json.dumps(config, indent=2) + "\n"


def _leaves(tree: Mapping, prefix: str = "") -> dict:
    """Values of a nested mapping by their dotted paths."""
    flat = {}
    for key, value in tree.items():
        inside = isinstance(value, Mapping)
        flat |= _leaves(value, f"{prefix}{key}.") if inside else {prefix + key: value}
    return flat
