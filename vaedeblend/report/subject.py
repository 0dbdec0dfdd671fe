"""What is evaluated, and on what: the networks of a training, and stamps whose truth is known.

What is missing or damaged is said, and the rest goes on.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from vaedeblend.deblend.joint import make_deblend_stamps
from vaedeblend.deblend.network import STAGES, load_deblender
from vaedeblend.evaluate.evaluation import Networks
from vaedeblend.exceptions import CheckpointError, DatasetError
from vaedeblend.io import dataset
from vaedeblend.simulate.examples import KINDS


def load_networks(weights: Path, stages: Collection[str]) -> tuple[Networks, list[str]]:
    """Networks of the trained stages, and a sentence on each stage that is not trained.

    Args:
        weights: Workdir of a training.
        stages: Its stages.

    Raises:
        CheckpointError: No stage is trained.
    """
    loaded, notes, failure = {}, [], None
    for stage in (name for name in STAGES if name in stages):
        try:
            loaded[stage] = load_deblender(weights, stage)
        except CheckpointError as error:
            failure = error
            notes.append(f"Stage {stage} is not trained: {error}")
    if not loaded:
        raise failure or CheckpointError(f"{weights}: no stage is configured; wanted {STAGES}")
    stage = list(loaded)[-1]
    network = loaded[stage]
    others = {"one_look": network}  # one iteration; the name is that of columns and metrics
    if stage != "isolated" and "isolated" in loaded:
        others["vae_i"] = loaded["isolated"]
    networks = Networks(
        deblend=dict.fromkeys(KINDS, make_deblend_stamps(network)),
        stage=stage,
        others=others,
        sample=network.sample,
        decode=network.decode,
    )
    return networks, notes


def load_scenes(directories: Mapping[str, Path]) -> tuple[dict, dict, list[str]]:
    """Test and training scenes of the sets that can be read, and what is wrong with the others.

    Args:
        directories: Folder of each set's dataset.

    Raises:
        DatasetError: No test set can be read.
    """
    test, training, damage, failure = {}, {}, [], None
    for kind, directory in directories.items():
        try:
            test[kind] = dataset.load(directory, "test")
        except DatasetError as error:
            failure = error
            damage.append(f"The set {kind} cannot be read: {error}")
            continue
        try:
            training[kind] = dataset.load(directory, "train")
        except DatasetError as error:
            damage.append(f"SExtractor has its default settings on the set {kind}: {error}")
    if not test:
        raise failure or DatasetError("no set of test stamps is configured")
    return test, training, damage
