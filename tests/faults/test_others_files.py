"""Files of others in the folder of the results: none of them is lost."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import RMS, SHAPE, folder, network, run, sky  # noqa: F401
from matched import gaussian

from vaedeblend.cli import main
from vaedeblend.cli.simulate import _FIELD, _refuse_others
from vaedeblend.evaluate.injection import inject
from vaedeblend.exceptions import FolderError, MosaicError, TphotError
from vaedeblend.image.catalogue import tphot
from vaedeblend.image.inspection.sky.background import others_background
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.image.products import others_products
from vaedeblend.io.write import write_tables


def another(path):
    """A file of another program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "catalog.fits":
        Table({"ra": [1.0]}).write(path)
    elif path.suffix == ".fits":
        fits.writeto(path, np.ones(SHAPE, np.float32))
    else:
        path.write_text('{"mine": 1}')
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((f"{each}.fits", {"rms": None}) for each in ("rms", "background")),
        *((f"{each}.fits", {}) for each in ("catalog", "model", "stamps", "segmentation")),
        *((each, {}) for each in ("index.html", "summary.json", "sources.reg")),
        ("tphot/priors.cat", {"tphot": True}),
    ],
)
def test_a_file_that_no_run_has_written_is_refused_before_anything_is(folder, name, options):  # noqa: F811
    path = another(folder / "out" / name)
    before = path.read_bytes()
    with pytest.raises(
        FolderError, match=f"{name.split('/')[0]}: would be overwritten, and no run"
    ):
        run(folder, **options)
    found = [each for each in (folder / "out").rglob("*") if each.is_file()]
    assert found == [path] and path.read_bytes() == before


def test_a_list_beside_another_s_catalogue_in_memory_leaves_no_files(folder):  # noqa: F811
    path = another(folder / "out" / "catalog.fits")
    with pytest.raises(FolderError, match="catalog.fits: would be overwritten"):
        deblend_image(np.ones(SHAPE), folder / "out", catalog=Table({"x": [9.0], "y": [9.0]}))
    assert list((folder / "out").iterdir()) == [path]


def test_an_image_of_another_is_not_replaced_by_one_with_galaxies(folder):  # noqa: F811
    for name in ("seed_0/image.fits", "injected.fits"):
        path = another(folder / "out" / name)
        with pytest.raises(FolderError, match=f"{name}: would be overwritten, and no run"):
            inject(folder / "image.fits", folder / "out", n=2, rms=folder / "rms.fits")
        path.unlink()


def test_more_galaxies_than_an_image_holds_are_refused(folder):  # noqa: F811
    with pytest.raises(MosaicError, match="100000 galaxies on .*wanted at most 520"):
        inject(folder / "image.fits", folder / "out", n=100000)


def test_priors_of_another_program_stay(tmp_path):
    for name in ("priors.cat", "priors.fits"):
        another(tmp_path / "tphot" / name)
    assert not tphot.remove_priors(tmp_path)
    refused = pytest.raises(TphotError, match="holds those of another program")
    with refused, tphot._replaced(tmp_path / "tphot"):
        pass
    assert len(list((tmp_path / "tphot").iterdir())) == 2


def test_results_of_an_earlier_run_may_be_replaced(folder):  # noqa: F811
    run(folder, rms=None, tphot=True)
    assert not others_products(folder / "out", tphot=True)
    assert not others_background(folder / "out", ("background", "rms"))
    another(folder / "out" / ".tiles" / "tile_3.fits")  # of one that was killed as it ended
    assert not others_products(folder / "out", tphot=True)
    another(folder / "out" / "background_rms.fits")
    assert others_background(folder / "out", ("background_rms",))


@pytest.mark.parametrize(
    "name", [".lock", ".tiles/notes.txt", "given/rms.fits", "given/image.fits"]
)
def test_files_whose_names_a_run_uses_meanwhile_stay(folder, name):  # noqa: F811
    path = another(folder / "out" / name)
    before, rms = path.read_bytes(), np.full(SHAPE, RMS)
    with pytest.raises(FolderError, match=f"{name.split('/')[0]}.* would be .*and no run"):
        deblend_image(fits.getdata(folder / "image.fits"), folder / "out", rms=rms)
    assert [each for each in (folder / "out").rglob("*") if each.is_file()] == [path]
    assert path.read_bytes() == before


def test_what_was_given_in_memory_may_be_replaced(folder):  # noqa: F811
    image = fits.open(folder / "image.fits")
    for rms in (np.full(SHAPE, RMS), RMS):
        found = deblend_image(image, folder / "out", rms=rms)
        assert len(found.table)
    image.close()


def test_background_rms_of_another_is_refused_through_a_run(folder):  # noqa: F811
    image = fits.getdata(folder / "image.fits") + 3000 * gaussian(100, 130, SHAPE, 4.0)
    fits.writeto(folder / "image.fits", image.astype("f4"), overwrite=True)
    total = np.sqrt(RMS**2 + image.clip(0) / 5)
    fits.writeto(folder / "rms.fits", total.astype("f4"), overwrite=True)
    path = another(folder / "out" / "background_rms.fits")
    before = path.read_bytes()
    with pytest.raises(
        FolderError, match=r"background_rms.fits: would .* or --rms-kind background"
    ):
        run(folder, gain=0.0)
    assert list((folder / "out").iterdir()) == [path] and path.read_bytes() == before


@pytest.mark.parametrize(
    ("style", "name"), [("analytic", "image.fits"), ("emc", "dsersic_0_vis.fits")]
)
def test_a_simulation_takes_the_place_of_no_other_image(tmp_path, capsys, style, name):
    path = another(tmp_path / "mine" / name)
    words = ["simulate", "--size", "64", "--style", style, "--processes", "1", "--out"]
    assert main([*words, str(path.parent)]) == 1
    assert f"{name}: would be overwritten, and no simulation" in capsys.readouterr().err
    assert list(path.parent.iterdir()) == [path]


def test_a_simulation_takes_the_place_of_an_earlier_one(tmp_path):
    another(tmp_path / "image.fits")
    Table({"x": [1.0]}).write(tmp_path / "truth.fits")
    with pytest.raises(FolderError):
        _refuse_others(tmp_path, *_FIELD)
    write_tables(tmp_path / "truth.fits", {"TRUTH": Table({"x": [1.0]})})
    _refuse_others(tmp_path, *_FIELD)


def test_results_of_the_field_before_do_not_stay_beside_another(tmp_path, monkeypatch):
    words = ["simulate", "--size", "64", "--processes", "1", "--out", str(tmp_path), "--seed"]
    assert main([*words, "1"]) == 0
    image, rms = tmp_path / "image.fits", tmp_path / "rms.fits"
    assert main(["deblend", str(image), "--rms", str(rms), "--out", str(tmp_path)]) in (0, 3)
    assert (tmp_path / "catalog.fits").exists() and (tmp_path / "model.fits").exists()
    assert main([*words, "2"]) == 0
    assert not (tmp_path / "catalog.fits").exists() and not (tmp_path / "model.fits").exists()
