import dataclasses
import functools
import importlib.util
import shutil
import sys

import pytest
import tensorflow_datasets as tfds

from data_builders.galaxy_scenes import galaxy_scenes_dataset_builder as builder
from data_builders.records import seen
from vaedeblend.exceptions import DatasetError, SettingsError
from vaedeblend.io import dataset
from vaedeblend.simulate import examples
from vaedeblend.survey import Survey


def _config(kind, source=""):
    options = {"seed": 3, "area": 0.03, "source": source}
    if kind == "galaxies":
        options["n_companions"] = 4
    sizes = {"train": 6, "validation": 3, "test": 3}
    return builder.SceneConfig(
        name=f"{kind}-tiny", kind=kind, sizes=sizes, options=options, processes=1
    )


SLOW = {"stratified": pytest.mark.slow}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=SLOW.get(k, ())) for k in examples.KINDS])
def test_builds_and_reads_back_without_tensorflow(tmp_path, kind):
    built = builder.Builder(config=_config(kind), data_dir=tmp_path)
    built.download_and_prepare()
    arrays = {split: dataset.load(built.data_dir, split) for split in built.info.splits}
    light = {"galaxies": "stamp", "fields": "sheet"}.get(kind, "blend")
    assert len(arrays["train"][light]) == (10 if kind == "galaxies" else 6)
    assert all(split[light].any() for split in arrays.values())
    if kind != "fields":
        ids = {split: set(each["id"]) for split, each in arrays.items()}
        assert not (ids["train"] & ids["test"]) and not (ids["train"] & ids["validation"])


if importlib.util.find_spec("tensorflow"):

    class GalaxyScenesTest(tfds.testing.DatasetBuilderTestCase):
        """The checks of TFDS itself, on a few blended scenes; they need TensorFlow."""

        DATASET_CLASS = builder.Builder
        BUILDER_CONFIG_NAMES_TO_TEST = ["blended-few"]
        SPLITS = {"train": 6, "validation": 3, "test": 3}

        @classmethod
        def setUpClass(cls):
            few = dataclasses.replace(_config("blended"), name="blended-few")
            cls.DATASET_CLASS.BUILDER_CONFIGS.append(few)
            cls.DATASET_CLASS.builder_configs["blended-few"] = few
            super().setUpClass()

        def _make_builder(self, config=None):
            # What this class reads, it reads through tf.data, which has no array_record.
            return self.dataset_class(data_dir=self.tmp_dir, config=config, file_format="tfrecord")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["galaxies", "isolated", "blended"])
def test_beam_builds_the_same_with_any_number_of_workers(tmp_path, monkeypatch, kind):
    pytest.importorskip("apache_beam")
    monkeypatch.setattr("data_builders.spread._PART", 10)
    more = {"n_companions": 20} if kind == "galaxies" else {}
    options = {"seed": 3, "area": 0.03, "processes": 1, "survey": Survey()} | more
    found = []
    for i, beam in enumerate([[], *(on_beam(workers) for workers in (1, 2))]):
        folder = tmp_path / str(i)
        made = builder.build(kind, sizes={"train": 64}, data_dir=folder, beam=beam, **options)
        found.append(dataset.load(made, "train"))
    without, one, two = found
    assert len(one["id"]) == 64 + more.get("n_companions", 0)
    for name, values in without.items():
        assert one[name].tobytes() == two[name].tobytes() == values.tobytes()


def on_beam(workers):
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    mode = "--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"
    return f"--runner={runner}", *mode


def test_beam_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(SettingsError, match=r"no Apache Beam; .*\[beam\]"):
        builder.build(
            "isolated", sizes={"train": 1}, survey=Survey(), data_dir=tmp_path, beam=on_beam(1)
        )


@pytest.mark.parametrize(
    ("kind", "sizes", "said"),
    [
        ("foo", {"train": 1}, "kind is 'foo'; wanted one of galaxies, isolated, blended"),
        ("isolated", {"training": 4}, "split is 'training'; wanted one of train, validation, test"),
        ("isolated", {"train": 2, "test": -1}, "sizes: test is -1; wanted at least 1 example"),
    ],
)
def test_kinds_splits_and_sizes_that_there_are_not_are_refused(tmp_path, kind, sizes, said):
    with pytest.raises(SettingsError, match=said):
        builder.build(kind, sizes=sizes, survey=Survey(), data_dir=tmp_path, seed=0)
    assert not [*tmp_path.iterdir()]


def test_what_is_built_is_named_by_all_that_changes_it(tmp_path):
    options = {"seed": 3, "area": 0.03, "processes": 1}
    sizes = {"train": 2}
    make = functools.partial(builder.build, "isolated", data_dir=tmp_path, survey=Survey())
    first = make(sizes=sizes, **options)
    written = first.stat().st_mtime_ns
    assert make(sizes=sizes, **options) == first and first.stat().st_mtime_ns == written
    assert make(sizes={"train": 3}, **options) != first
    assert make(sizes=sizes, **(options | {"seed": 4})) != first


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("isolated-c64996aab570", {}),
        ("isolated-c64996aab570", {"processes": 1}),  # which changes no byte
        (
            "galaxies-fd750edee70d",
            {
                "populations": (
                    (0.5, {"magnitude": (20.0, 25.0)}),
                    (0.5, {"magnitude": (24.0, 26.5)}),
                ),
                "n_psfs": 2,
                "separation": (0.3, 2.0),
            },
        ),
    ],
)
def test_datasets_keep_the_names_that_earlier_versions_gave(tmp_path, monkeypatch, name, options):
    monkeypatch.setattr(builder.Builder, "download_and_prepare", lambda self: None)
    options = {"seed": 3, "area": 0.03} | options
    kind, sizes = name.split("-")[0], {"train": 2}
    made = builder.build(kind, sizes=sizes, survey=Survey(), data_dir=tmp_path, **options)
    assert made == tmp_path / "galaxy_scenes" / name / "1.5.0"


def test_files_at_a_style_s_path_are_seen_to_change(tmp_path):
    """Of a generator its checkpoints, of real galaxies their FITS files; not what lies beside."""
    step = tmp_path / "made" / "flow" / "checkpoints" / "40"
    step.mkdir(parents=True)
    galaxies = tmp_path / "real" / "catalogue.fits"
    galaxies.parent.mkdir()
    galaxies.write_bytes(b"1")
    style = f"analytic+generator:{tmp_path / 'made'}+cosmos:{galaxies.parent}#split"
    first = seen({"style": style})
    assert len(first) == 2
    (tmp_path / "made" / "report.html").write_text("beside")
    assert seen({"style": style}) == first
    galaxies.write_bytes(b"12")
    changed = seen({"style": style})
    assert changed != first
    shutil.copytree(tmp_path / "made", tmp_path / "elsewhere")
    assert seen({"style": style.replace("made", "elsewhere")}) == changed
    step.with_name("80").mkdir()
    assert seen({"style": style}) != changed
    assert seen({"style": "analytic", "source": ""}) == []
    assert seen({}, f"{galaxies}[PSF]") == seen({}, str(galaxies)) != []


def test_catalogues_of_egg_s_own_program_are_others_than_the_sampler_s(tmp_path, monkeypatch):
    program = tmp_path / "egg-gencat"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert len(seen({"style": "analytic", "source": ""})) == 1


def test_a_build_cut_off_leaves_nothing_under_its_name(tmp_path, monkeypatch):
    def dies(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(builder.simulation, "examples", dies)
    with pytest.raises(KeyboardInterrupt):
        builder.build("isolated", sizes={"train": 2}, survey=Survey(), data_dir=tmp_path, seed=0)
    assert not list(tmp_path.glob("galaxy_scenes/*/[0-9]*"))


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damaged_files_are_refused(tmp_path, damage):
    built = builder.Builder(config=_config("isolated"), data_dir=tmp_path)
    built.download_and_prepare()
    for file in built.data_path.glob("*train.array_record*"):
        file.write_bytes(file.read_bytes()[:-100]) if damage == "cut" else file.unlink()
    with pytest.raises(DatasetError, match="split 'train' is damaged"):
        dataset.load(built.data_dir, "train")


def test_no_dataset_and_no_split_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no dataset can be opened"):
        dataset.load(tmp_path, "train")
    built = builder.Builder(config=_config("isolated"), data_dir=tmp_path)
    built.download_and_prepare()
    with pytest.raises(DatasetError, match="no split 'tset'; wanted one of"):
        dataset.load(built.data_dir, "tset")
