from operator import attrgetter

import jax
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from browser import SKY_WRAPPER, look, needs_chromium
from fitsfolder import GAIN, RMS, SHAPE, folder, header, network, run, sky, use_network  # noqa: F401
from matched import gaussian, recording_psfs

from vaedeblend.cli import main
from vaedeblend.image import measure
from vaedeblend.image import pieces as module
from vaedeblend.image.catalogue.columns import FLAGS
from vaedeblend.image.tiles import plan
from vaedeblend.io.parallel import parallel_map

pytestmark = pytest.mark.usefixtures("optimised")


def image_of(folder, name, out="out"):
    return fits.getdata(folder / out / f"{name}.fits")


def test_catalogue_holds_every_galaxy_with_flux_magnitude_and_place(folder, sky):
    table = run(folder)
    place, flux = sky
    found = np.stack([table["y"], table["x"]], axis=1)
    nearest = [np.argmin(np.hypot(*(found - at).T)) for at in place]
    assert len(table) == len(place) == len(set(nearest))
    assert table["flux"].unit == table["flux_err"].unit == "uJy"
    np.testing.assert_allclose(found[nearest], place, atol=0.6)
    np.testing.assert_allclose(table["flux"][nearest], flux, rtol=0.15)
    np.testing.assert_allclose(table["mag"], 23.9 - 2.5 * np.log10(table["flux"]), rtol=1e-6)
    ra, dec = WCS(header()).all_pix2world(table["x"], table["y"], 0)
    np.testing.assert_allclose(table["ra"], ra)
    np.testing.assert_allclose(table["dec"], dec)
    assert table["half_light_radius"].unit == "arcsec"
    np.testing.assert_array_equal(table["id"], np.arange(1, len(table) + 1))


def test_residual_is_image_less_model_and_like_noise(folder):
    run(folder)
    image = fits.getdata(folder / "image.fits")
    model, residual = image_of(folder, "model"), image_of(folder, "residual")
    np.testing.assert_allclose(image - model, residual, atol=1e-4)
    assert residual.std() < 1.3 * RMS
    assert WCS(fits.getheader(folder / "out" / "model.fits")).has_celestial


def test_stamps_add_up_to_the_model(folder):
    table, model, size = run(folder), image_of(folder, "model"), 64
    total = np.zeros([n + 2 * size for n in SHAPE], np.float32)
    for row, stamp in zip(table, image_of(folder, "stamps"), strict=True):
        y, x = row["y_stamp"] + size, row["x_stamp"] + size
        total[y : y + size, x : x + size] += stamp
    np.testing.assert_allclose(total[size:-size, size:-size], model, atol=1e-5 * model.max())


def test_segmentation_gives_a_galaxys_centre_its_id(folder):
    table = run(folder)
    owner = image_of(folder, "segmentation")
    y, x = (np.rint(np.asarray(table[name])).astype(int) for name in ("y", "x"))
    np.testing.assert_array_equal(owner[y, x], table["id"])
    cards = [fits.getheader(folder / "out" / f"{n}.fits") for n in ("segmentation", "model")]
    assert [{"BUNIT", "MAGZERO", "GAIN"} & {*each} for each in cards] == [
        set(),
        {"MAGZERO", "GAIN"} | ({"BUNIT"} & {*cards[1]}),
    ]


def test_second_table_has_the_covariance_of_neighbours(folder):
    table = run(folder)
    pairs = Table.read(folder / "out" / "catalog.fits", hdu="COVARIANCE")
    error = np.asarray(table["flux_err"])
    product = error[pairs["id_1"] - 1] * error[pairs["id_2"] - 1]
    np.testing.assert_allclose(pairs["covariance"], pairs["correlation"] * product)
    counts = np.bincount(np.concatenate([pairs["id_1"], pairs["id_2"]]), minlength=len(table) + 1)
    np.testing.assert_array_equal(table["n_neighbours"], counts[1:])
    one, other = (np.asarray(table["group_id"])[pairs[f"id_{k}"] - 1] for k in (1, 2))
    np.testing.assert_array_equal(one, other)
    assert len(pairs) > 0


@pytest.mark.parametrize("tile", [64, 100, 130])
def test_tiling_does_not_matter(folder, tile):
    whole, tiled = run(folder, "whole"), run(folder, "tiled", tile=tile)
    assert len(whole) == len(tiled)
    for name in ("x", "y", "flux", "flux_err", "purity", "chi2", "half_light_radius"):
        np.testing.assert_allclose(tiled[name], whole[name], rtol=2e-3, atol=2e-3)
    for name in ("id", "group_id", "n_neighbours", "flags"):
        np.testing.assert_array_equal(tiled[name], whole[name])
    model = [image_of(folder, "model", out) for out in ("whole", "tiled")]
    np.testing.assert_allclose(*model, atol=0.01)


def test_killed_run_goes_on_at_the_tile(folder, monkeypatch):
    calls, measured = [], measure.measure_field

    def counting(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(*args, **options)

    monkeypatch.setattr(measure, "measure_field", counting)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tile=130)
    assert not (folder / "out" / "catalog.fits").exists()
    table = run(folder, tile=130)
    assert len(calls) == 5  # two of four had been done, the third was not
    monkeypatch.undo()
    use_network(monkeypatch)
    whole = run(folder, "again", tile=130)
    np.testing.assert_array_equal(table["flux"], whole["flux"])
    assert not list((folder / "out").glob(".tiles*"))


def test_another_job_does_not_take_up_an_old_ones_tiles(folder, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "merge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    gained = run(folder, gain=30.0)
    np.testing.assert_array_equal(gained["flux"], run(folder, "fresh", gain=30.0)["flux"])


def test_background_and_rms_are_estimated_where_they_are_not_given(folder):
    path = folder / "image.fits"
    with fits.open(path, mode="update") as hdus:
        hdus[0].data += 7.0
    table = run(folder, "estimated", rms=None)
    np.testing.assert_allclose(np.median(image_of(folder, "background", "estimated")), 7, atol=0.2)
    np.testing.assert_allclose(np.median(image_of(folder, "rms", "estimated")), RMS, rtol=0.3)
    with fits.open(path, mode="update") as hdus:
        hdus[0].data -= 7.0
    known = run(folder)
    assert abs(len(table) - len(known)) <= 3


def test_priors_for_tphot_add_up_to_the_model(folder):
    """Some of the galaxies are cut by the image's edges."""
    light = sum(500 * gaussian(*at, SHAPE) for at in ([1, 60], [120, 258], [198, 150]))
    with fits.open(folder / "image.fits", mode="update") as hdus:
        hdus[0].data += light.astype(np.float32)
    table, out = run(folder, tphot=True), folder / "out"
    priors, model = Table.read(out / "tphot" / "priors.fits"), image_of(folder, "model")
    total, sky = np.zeros_like(model), WCS(header())
    for row, prior in zip(table, priors, strict=True):
        assert row["id"] == prior["SOURCE_ID"]
        with fits.open(out / "tphot" / "stamps" / f"mod-{row['id']}.fits") as hdus:
            stamp, wcs = hdus[0].data, WCS(hdus[0].header)
        y, x = prior["Y_MIN"] - 1, prior["X_MIN"] - 1
        total[y : y + stamp.shape[0], x : x + stamp.shape[1]] += prior["FLUX_TOT"] * stamp
        peak = np.unravel_index(np.argmax(stamp), stamp.shape)
        there = sky.all_world2pix(*wcs.all_pix2world(*peak[::-1], 0), 0)
        np.testing.assert_allclose(there, [x + peak[1], y + peak[0]], atol=1e-6)
        if not row["flags"]:  # a symmetric galaxy: its peak lies on its place
            centre = [np.sum(stamp * axis) for axis in np.indices(stamp.shape)]
            place = wcs.all_world2pix(row["ra"], row["dec"], 0)
            np.testing.assert_allclose(place, centre[::-1], atol=0.1)
    np.testing.assert_allclose(total, model, atol=1e-5 * model.max())
    assert np.sum(table["flags"] & 1 > 0) >= 3


def test_priors_come_with_the_segmentation_map(folder):
    table = run(folder, tphot=True)
    owner = image_of(folder, "segmentation")
    np.testing.assert_array_equal(image_of(folder / "out", "segmentation", "tphot"), owner)
    priors = Table.read(folder / "out" / "tphot" / "priors.fits")
    np.testing.assert_array_equal(
        priors["ISOAREA"], np.bincount(owner.ravel(), minlength=len(table) + 1)[1:]
    )


def test_positions_may_be_given_as_pixels_or_on_the_sky(folder, sky):
    place = sky[0][:5]
    ra, dec = WCS(header()).all_pix2world(place[:, 1], place[:, 0], 0)
    Table({"x": place[:, 1], "y": place[:, 0]}).write(folder / "pixels.fits")
    Table({"RA": ra, "DEC": dec}).write(folder / "sky.ecsv")
    one, other = (run(folder, f"of_{n}", catalog=folder / n) for n in ("pixels.fits", "sky.ecsv"))
    listed = one[one["input_row"] >= 0]
    np.testing.assert_allclose(np.transpose([listed["y"], listed["x"]]), place, atol=1)
    assert len(one) > 5  # what is detected beside them follows
    np.testing.assert_allclose(one["flux"], other["flux"], rtol=1e-4)


def test_masked_pixels_are_left_out_of_the_residual(folder, sky):
    mask = np.zeros(SHAPE, np.int16)
    y, x = sky[0][0].astype(int)
    mask[y - 3 : y + 3, x : x + 2] = 4
    fits.writeto(folder / "mask.fits", mask)
    table = run(folder, mask=folder / "mask.fits", passes=0)
    np.testing.assert_array_equal(np.isnan(image_of(folder, "residual")), mask > 0)
    assert np.sum(table["flags"] & 2 > 0) == 1 and 2 in FLAGS


def test_a_grid_of_psfs_is_given_part_by_part(folder, monkeypatch):
    given = []
    use_network(monkeypatch, recording_psfs(given))
    grid = np.array([[gaussian(15, 15, (31, 31), sigma) for sigma in (1.0, 1.5)]])
    fits.writeto(folder / "psf.fits", grid.astype(np.float32))
    run(folder, psf=folder / "psf.fits")
    jax.effects_barrier()
    peaks = np.concatenate(given)[:, 32, 32, 0]
    assert len(np.unique(peaks[peaks > 0].round(3))) == 2  # rows that fill up a batch are dark


@needs_chromium
def test_a_browser_shows_the_page_of_a_deblended_image(folder):
    table = run(folder)
    brightest, found = table[np.argmax(table["flux"])], look(folder / "out", SKY_WRAPPER, 1280)
    assert found["x"] == pytest.approx((brightest["x"] + 0.5) / SHAPE[1], abs=0.01)
    assert found["y"] == pytest.approx(1 - (brightest["y"] + 0.5) / SHAPE[0], abs=0.01)


def test_command_says_what_it_found(folder, capsys):
    out = folder / "cli"
    arguments = ["--rms", str(folder / "rms.fits"), "--out", str(out), "--tile", "130"]
    assert main(["deblend", str(folder / "image.fits"), *arguments]) == 0
    said = capsys.readouterr().out
    assert f"{out}/index.html" in said.replace("\n", "") and (out / "index.html").exists()


def test_a_misspelt_option_is_refused_with_the_nearest(folder):
    with pytest.raises(TypeError, match="no option 'zeropoint'; nearest is 'zero_point'"):
        run(folder, zeropoint=23.9)
    with pytest.raises(TypeError, match="no option 'no_add'; nearest is 'passes=0'"):
        run(folder, no_add=True)
    assert not (folder / "out").exists()


def test_iterations_may_be_called_looks_for_one_version(folder):
    with pytest.warns(DeprecationWarning, match="iterations"):
        old = run(folder, "old", looks=1)
    np.testing.assert_array_equal(old["flux"], run(folder, "new", iterations=1)["flux"])


def test_processes_do_not_matter():
    """Spawned processes would load the real network: only the order of results is tested."""
    tiles_of = plan((10, 30), 10)
    done = list(parallel_map(attrgetter, tiles_of, 2, "number"))
    assert done == [0, 1, 2]
