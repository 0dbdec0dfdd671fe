"""Disks that are full or read-only: at every writer a sentence, and nothing half-written."""

import builtins
import contextlib
import errno
import io
import os
import resource

import numpy as np
import priors
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from evaluated import evaluation
from matplotlib.figure import Figure

from data_builders import records
from data_builders.canonical_galaxies import canonical_galaxies_dataset_builder as canonical
from vaedeblend.catalogues import catalogue
from vaedeblend.deblend.calibration import Calibration, Calibrations, write_calibrations
from vaedeblend.deblend.network import write_psf
from vaedeblend.evaluate.results import write_evaluation, write_metrics
from vaedeblend.exceptions import VaedeblendError
from vaedeblend.image.catalogue.merge import Part, write_part
from vaedeblend.io import checkpoint, mosaic, workdir, write
from vaedeblend.io.folders import jobs
from vaedeblend.io.html import write_table_page
from vaedeblend.pixels.profiles import Profiles, write_profiles
from vaedeblend.report.figures.style import save_figure
from vaedeblend.survey import Survey

RNG = np.random.default_rng(0)
TABLE = Table({"x": np.arange(4000.0)})
PROFILES = Profiles.pack([RNG.normal(size=(4, 4)).astype(np.float32)], np.zeros((1, 2), int), 4)
ONE = Calibration(*(np.arange(4, dtype=np.float32),) * 6, np.zeros(1, np.float32))
PARAMS = {"kernel": RNG.normal(size=(64, 64)).astype(np.float32)}


def image(path):
    with write.write_image(path, (40, 40), fits.Header()) as put:
        put(np.zeros((40, 40)))


def dataset(folder):
    canonical.build(sizes={"train": 3}, survey=Survey(), data_dir=folder, seed=0, processes=1)


def part(path):
    none = np.zeros((0, 2, 2)), np.zeros(0)
    write_part(path, Part({"flux": np.ones(1)}, *none, PROFILES))


def trained(folder):
    """A workdir, made while the disk was in order."""
    checkpoint.save_params(folder / "blended" / "checkpoints", 3, PARAMS)
    (folder / "blended" / "calibration.json").write_text("{}")
    (folder / "config.json").write_text(
        '{"data": {"style": "analytic"}, "stages": {"blended": {}}}'
    )


WRITERS = {
    "text": lambda to: write.write_text(to / "a.json", "half" * 100),
    "appended": lambda to: write.append_text(to / "metrics.jsonl", "half" * 100),
    "image": lambda to: image(to / "a.fits"),
    "tables": lambda to: write.write_tables(to / "a.fits", {"A": TABLE}),
    "table": lambda to: write.write_table(to / "a.ecsv", TABLE),
    "part": lambda to: part(to / "tile_0.fits"),
    "stamps": lambda to: write_profiles(to / "stamps.fits", [PROFILES], np.arange(1)),
    "page": lambda to: write_table_page(
        to / "index.html", title="a", sentences=["b"], columns=["c"], rows=[["d"]], links={}
    ),
    "figure": lambda to: save_figure(Figure(), to, "flux"),
    "tphot": lambda to: priors.write(to / "priors", **priors.inside(np.random.default_rng(0))),
    "record": lambda to: jobs.keep_pieces(to / ".tiles", {"image": "a"}, bool),
    "given": lambda to: mosaic.write_given({"image": np.zeros((9, 9))}, to / "given"),
    "catalogue": lambda to: catalogue.write(
        QTable(TABLE, meta={"bands": ("vis",)}), to / "egg.fits"
    ),
    "calibration": lambda to: write_calibrations(Calibrations(ONE, ONE, ONE), to / "c.json"),
    "psf": lambda to: write_psf(to, np.full((9, 9, 1), 1 / 81, np.float32), 0.1),
    "config": lambda to: workdir.claim(to / "run", {"seed": 0}),
    "checkpoint": lambda to: checkpoint.save_params(to / "checkpoints", 3, PARAMS),
    "export": lambda to: workdir.export(to.parent / "trained", to / "weights"),
    "metrics": lambda to: write_metrics({"bias": 0.0}, to),
    "evaluation": lambda to: write_evaluation(evaluation(n=8), to),
    "dataset": dataset,
}


@contextlib.contextmanager
def full(folder, monkeypatch):
    """No file takes more than 10 bytes, by order of the kernel: C++ code hears of it, too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        yield os.strerror(errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def read_only(folder, monkeypatch):
    """Below a folder nothing can be made."""

    def refusing(real, writes):
        def call(path, *args, **options):
            inside = isinstance(path, str | os.PathLike) and str(path).startswith(str(folder))
            if inside and writes(*args, **options):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return real(path, *args, **options)

        return call

    def to_write(mode="r", *args, **options):
        return bool(set(mode) & set("wxa+"))

    with monkeypatch.context() as patch:
        opened = refusing(io.open, to_write)
        patch.setattr(builtins, "open", opened)
        patch.setattr(io, "open", opened)
        patch.setattr(os, "mkdir", refusing(os.mkdir, lambda *args, **options: True))
        yield os.strerror(errno.EROFS)


def finished(folder):
    """Files, but for those of a folder that says that it is unfinished, and TFDS's own records."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix() for path in files}
    return {name for name in names if not any(w in name for w in ("tmp", "incomplete", ".config"))}


@pytest.mark.parametrize("disk", [full, read_only])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_says_so_in_a_sentence_and_leaves_nothing(tmp_path, monkeypatch, writer, disk):
    stamp = {"stamp": np.zeros((64, 64), np.float16), "condition": np.zeros(4, np.float32)}
    monkeypatch.setattr(canonical, "canonical_galaxies", lambda *args, **options: 3 * [stamp])
    trained(tmp_path / "trained")
    folder = tmp_path / "out"
    folder.mkdir()
    with disk(folder, monkeypatch) as why, pytest.raises(VaedeblendError) as raised:
        WRITERS[writer](folder)
    said = str(raised.value)
    assert why in said and str(folder) in said and "\n" not in said and len(said) < 700
    assert finished(folder) <= {"metrics.jsonl"}  # whose last line may be cut


def test_later_checkpoints_that_cannot_be_written_leave_the_one_before(tmp_path, monkeypatch):
    with checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save_state(manager, 1, {"average": PARAMS})
    with (
        full(tmp_path, monkeypatch),
        pytest.raises(VaedeblendError, match=r"checkpoint could not be written \(.*File too large"),
        checkpoint.open_manager(tmp_path) as manager,
    ):
        checkpoint.save_state(manager, 2, {"average": PARAMS})
    assert checkpoint.latest_step(tmp_path) == 1
    np.testing.assert_array_equal(checkpoint.load_params(tmp_path)["kernel"], PARAMS["kernel"])


def test_datasets_are_held_in_memory_while_they_are_built_and_no_longer(tmp_path):
    """TFDS's own limit, beyond which it needs TensorFlow, is other programs' as well."""
    before, limits = records.shuffle.MAX_MEM_BUFFER_SIZE, []

    class Builder:
        data_dir = tmp_path

        def download_and_prepare(self):
            limits.append(records.shuffle.MAX_MEM_BUFFER_SIZE)

    assert records.prepared(Builder) == tmp_path
    assert before == records.shuffle.MAX_MEM_BUFFER_SIZE < 1 << 32 < limits[0]
