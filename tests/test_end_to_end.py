"""The whole path on tiny cases, through the command lines."""

import json
import re

import jax
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from matched import gaussian
from tiny import run, same, write_config

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.cli import main
from vaedeblend.deblend.calibration import read_calibrations
from vaedeblend.deblend.network import load_deblender
from vaedeblend.io import checkpoint
from vaedeblend.training.loop import read_records


@pytest.mark.slow
def test_two_bands_take_the_whole_path(tmp_path):
    table = egg.catalogue(0.1, seed=0)
    for name in ("flux_bulge", "flux_disk"):
        table[name] = np.repeat(table[name], 2, axis=1) * [1.0, 1.5]
    table.meta["bands"] = ("euclid-vis", "euclid-nisp-h")
    catalogue.write(table, tmp_path / "two.fits")
    more = f"""
_one_band = get_config
def get_config():
    config = _one_band()
    config.data.source = {str(tmp_path / "two.fits")!r}
    config.survey.bands = {{"euclid-vis": {{}}, "euclid-nisp-h": {{"wavelength": 1770.0}}}}
    return config
"""
    config = write_config(tmp_path / "two.py", 4, more)
    for script, extra in (("train.py", ("--config", config)), ("eval.py", ())):
        done = run(script, "--workdir", tmp_path / "run", *extra)
        assert done.returncode == 0, done.stdout + done.stderr
    deblended = load_deblender(tmp_path / "run")(np.ones((1, 64, 64, 2)), np.ones((1, 64, 64, 2)))
    assert deblended.flux.shape == (1, 2) and deblended.image.shape == (1, 64, 64, 2)
    light = 40 * gaussian(60.5, 64.5, (120, 130))
    header = fits.Header({"MAGZERO": 23.9, "PIXSCALE": 0.1})
    given = {"psf": gaussian(10, 10, (21, 21), sigma=1.0), "rms": np.full(light.shape, 0.05)}
    for name, values in given.items():
        fits.writeto(tmp_path / f"{name}.fits", values.astype(np.float32))
    for name, factor in (("h", 1.0), ("vis", 0.5)):
        noise = 0.05 * np.random.default_rng(len(name)).normal(size=light.shape)
        fits.writeto(tmp_path / f"{name}.fits", (factor * light + noise).astype("f4"), header)
    h, vis, rms, psf = (str(tmp_path / f"{name}.fits") for name in ("h", "vis", "rms", "psf"))
    words = ["deblend", h, "--rms", rms, "--psf", psf, "--band", "euclid-vis", vis, rms, psf]
    words += ["--weights", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--force"]
    assert main(words) in (0, 3)  # of a network that has learned nothing, all may be flagged
    table = Table.read(tmp_path / "out" / "catalog.fits", hdu="CATALOG")
    assert len(table) and {"flux_euclid_vis", "flux_err_euclid_vis"} <= {*table.colnames}


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_recipe_of_the_shipped_weights_takes_the_whole_path(tmp_path):
    """Several PSFs, populations, fields, standard scenes, and all corruptions of an image."""
    area = "\n_tiny = get_config\ndef get_config():\n    c = _tiny(); c.data.area = 0.5; return c\n"
    config = write_config(tmp_path / "shipped.py", 4, area, base="shipped.smooth")
    export = ("--config", config, "--export", tmp_path / "weights")
    for script, extra in (("train.py", export), ("eval.py", ())):
        done = run(script, "--workdir", tmp_path / "run", *extra)
        assert done.returncode == 0, done.stdout + done.stderr
    for stage in ("isolated", "blended"):
        found = read_calibrations(tmp_path / "run" / stage / "calibration.json")
        params = checkpoint.load_params(tmp_path / "run" / stage / "checkpoints")
        assert found is not None and finite(found) and finite(params)
    metrics = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert re.findall(r'id="part-(\d+)"', page) == [str(number) for number in range(1, 13)]
    said = "".join(re.findall(r"<p class=\"missing\">(.*?)</p>", page))
    assert "Could not" not in page and "could not" not in page, said
    kinds = ["isolated", "blended", "standard"]
    assert list(metrics) == [*kinds, "data", "training", "timing"]
    metrics = {kind: metrics[kind] for kind in kinds}
    assert all("vae_i" in found and "one_look" in found for found in metrics.values())
    assert all(found["bound"]["rms_free"] > 0 for found in metrics.values())
    stamps = np.ones((2, 64, 64, 1))
    deblended = [load_deblender(tmp_path / f)(stamps, stamps) for f in ("run", "weights")]
    assert finite(deblended)
    for name in ("flux", "flux_err"):  # exported parameters have 16 significant bits
        np.testing.assert_allclose(*(getattr(each, name) for each in deblended), rtol=1e-3)


@pytest.mark.slow
def test_the_two_stages_in_workdirs_of_their_own(tmp_path):
    """As `full_size` would be trained on two machines, one after the other."""
    for stage in ("isolated", "blended"):
        alone = f"""
_both = get_config
def get_config():
    config = _both()
    config.stages = {{{stage!r}: config.stages.{stage}}}
    return config
"""
        config = write_config(tmp_path / f"{stage}.py", 4, alone, base="full_size")
        arguments = ("--workdir", tmp_path / stage, "--config", config)
        if stage == "blended":
            arguments += (
                f"--config.stages.blended.init_from={tmp_path / 'isolated' / 'isolated'}",
            )
        for script, extra in (("train.py", arguments[2:]), ("eval.py", ())):
            done = run(script, "--workdir", tmp_path / stage, *extra)
            assert done.returncode == 0, done.stdout + done.stderr
        metrics = json.loads((tmp_path / stage / "report" / "metrics.json").read_text())
        assert set(metrics) - {"data", "training", "timing"} == {"isolated", "blended"}
    first, second = (
        checkpoint.load_params(tmp_path / stage / stage / "checkpoints")["decoder"]
        for stage in ("isolated", "blended")
    )
    assert same(first, second)


COMPANIONS = """

def with_companions(get_config):
    from vaedeblend.configs.shipped.coadds import companions_stage

    config = get_config()
    config.sizes.galaxies = {"train": 24, "validation": 8}
    config.companions = {"widths": (4, 4), "hidden": (8,)}
    config.stages.companions = companions_stage(steps=4)
    stage = config.stages.companions
    stage.update(batch_size=4, log_every=2, checkpoint_every=2)
    stage.optimizer.warmup_steps = 2
    return config

tiny = get_config
get_config = lambda: with_companions(tiny)
"""


@pytest.mark.slow
def test_companions_are_tested_by_a_third_stage(tmp_path):
    workdir, weights = tmp_path / "run", tmp_path / "weights"
    config = write_config(tmp_path / "tiny.py", 4, COMPANIONS)
    arguments = "--workdir", workdir, "--config", config, "--export", weights
    done = run("train.py", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    records = read_records(workdir / "companions" / "metrics.jsonl")
    assert [each["step"] for each in records] == [2, 4]
    assert records[0]["validation_companion"] != records[1]["validation_companion"]
    trained, exported = (load_deblender(each).companions for each in (workdir, weights))
    assert finite(trained.params) and same(checkpoint.rounded(trained.params), exported.params)
    assert load_deblender(workdir, "isolated").companions is None
