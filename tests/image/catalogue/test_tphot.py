import errno
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, Sip
from priors import CORNERS, SHAPE, SIDE, inside, names, sources, write

from vaedeblend.exceptions import TphotError

ON_IMAGE = slice(0, 5)


def model(stamps, corners, shape):
    """The image of all stamps, with a margin that holds what lies beyond the edges."""
    canvas = np.zeros([n + 200 for n in shape])
    for light, (y, x) in zip(stamps, corners, strict=True):
        canvas[100 + y : 100 + y + light.shape[0], 100 + x : 100 + x + light.shape[1]] += light
    return canvas[100:-100, 100:-100]


def read(folder, template="mod-{}.fits"):
    """The table, and the data and header of each of its stamps."""
    table, stamps = Table.read(folder / "priors.fits"), []
    for each in table["SOURCE_ID"]:
        with fits.open(folder / "stamps" / template.format(each), memmap=False) as hdus:
            hdus.verify("exception")
            stamps.append((hdus[0].data, hdus[0].header))
    return table, stamps


def turned(angle=30.0, scale=0.1):
    """A tangential projection, rotated, with pixels that are neither square nor upright."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix, wcs.wcs.crval = (41.3, -17.8), (150.1234567, -42.7654321)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.cd = scale / 3600 * np.array([[-c, 1.2 * s], [s, 1.2 * c]])
    return wcs


def distorted():
    wcs = turned()
    bend = np.zeros((3, 3))
    bend[2, 0], bend[1, 1] = 3e-4, -2e-4
    wcs.sip = Sip(bend, bend.T, None, None, wcs.wcs.crpix)
    wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    return wcs


SKIES = {"turned": turned(), "coarse": turned(200, 0.3), "SIP": distorted(), "none": None}


def test_flux_weighted_sum_of_stamps_is_the_model_image(tmp_path, rng):
    given = sources(rng, sigma=5.0)  # wide: the stamps' own edges hold light, too
    write(tmp_path / "priors", **given)
    table, stamps = read(tmp_path / "priors")
    rebuilt = np.zeros(SHAPE)
    for row, (light, _) in zip(table, stamps, strict=True):
        box = slice(row["Y_MIN"] - 1, row["Y_MAX"]), slice(row["X_MIN"] - 1, row["X_MAX"])
        assert light.shape == rebuilt[box].shape
        rebuilt[box] += row["FLUX_TOT"] * light
    expected = model(given["stamps"], CORNERS, SHAPE)
    assert np.abs(rebuilt - expected).max() < 1e-5 * expected.max()


def test_stamps_are_float32_and_sum_to_one(tmp_path, rng):
    write(tmp_path / "priors", **sources(rng))
    _, stamps = read(tmp_path / "priors")
    assert all(header["BITPIX"] == -32 for _, header in stamps)
    assert [light.sum(dtype=float) for light, _ in stamps] == pytest.approx([1] * 5, abs=1e-6)


def test_sources_off_the_image_or_without_light_are_left_out(tmp_path, rng):
    given = sources(rng)
    given["stamps"][1] = 0
    given["stamps"][4] *= -1
    assert write(tmp_path / "priors", **given) == [7, 5, 6, 8]
    table, _ = read(tmp_path / "priors")
    assert list(table["SOURCE_ID"]) == [11, 300, 4]
    assert len(names(tmp_path / "priors")) == 2 + 3


@pytest.mark.parametrize("wcs", SKIES.values(), ids=SKIES)
def test_stamps_lie_on_the_sky_where_their_sources_do(tmp_path, rng, wcs):
    given = inside(rng)
    write(tmp_path / "priors", wcs=wcs, **given)
    _, stamps = read(tmp_path / "priors")
    for (light, header), (y, x) in zip(stamps, given["positions"], strict=True):
        own = WCS(header)
        centroid = [np.sum(light * axis) for axis in np.mgrid[:SIDE, :SIDE]][::-1]
        sky = own.all_pix2world([centroid], 0)
        found = sky - 1 if wcs is None else wcs.all_world2pix(sky, 0)
        assert np.hypot(*(found[0] - (x, y))) < 0.01
        peak = np.unravel_index(light.argmax(), light.shape)[::-1]
        sky = own.all_pix2world([peak], 0)
        found = sky - 1 if wcs is None else wcs.all_world2pix(sky, 0)
        assert found[0] == pytest.approx(np.rint((x, y)), abs=1e-4)


def test_pixels_of_clipped_stamps_keep_their_place_on_the_sky(tmp_path, rng):
    wcs = distorted()
    write(tmp_path / "priors", wcs=wcs, **sources(rng))
    table, stamps = read(tmp_path / "priors")
    for row, (light, header) in zip(table, stamps, strict=True):
        ends = np.array([[1, 1], light.shape[::-1]])
        on_image = [[row["X_MIN"], row["Y_MIN"]], [row["X_MAX"], row["Y_MAX"]]]
        sky = WCS(header).all_pix2world(ends, 1)
        np.testing.assert_allclose(sky, wcs.all_pix2world(on_image, 1), rtol=0, atol=1e-9)


def test_bounds_and_centres_count_from_one_and_include_the_last_pixel(tmp_path):
    light = np.ones((3, 5), np.float32)
    given = {"ids": [1, 2], "flux": np.ones(2), "stamps": [light, light], "shape": (20, 30)}
    corners, positions = np.array([[0, 4], [18, -2]]), np.array([[1.0, 6.0], [19.0, 0.25]])
    write(tmp_path / "priors", positions=positions, corners=corners, **given)
    table, _ = read(tmp_path / "priors")
    assert list(table["X_CENTER", "Y_CENTER"][0]) == [7, 2]
    assert list(table["X_CENTER", "Y_CENTER"][1]) == [1.25, 20]
    assert list(table["X_MIN", "Y_MIN", "X_MAX", "Y_MAX"][0]) == [5, 1, 9, 3]
    assert list(table["X_MIN", "Y_MIN", "X_MAX", "Y_MAX"][1]) == [1, 19, 3, 20]
    assert list(table["FLUX_TOT"]) == [15, 6]
    assert list(table["ISOAREA"]) == [15, 6]


def test_both_layouts_hold_the_same(tmp_path, rng):
    write(tmp_path / "priors", **sources(rng))
    table, _ = read(tmp_path / "priors")
    lines = (tmp_path / "priors" / "priors.cat").read_text().splitlines()
    assert lines[0] == "# id x y xmin ymin xmax ymax background flux"
    assert lines[1].split()[0] == "11"
    assert table.colnames[:9] == [
        *("SOURCE_ID", "X_CENTER", "Y_CENTER", "X_MIN", "Y_MIN", "X_MAX", "Y_MAX"),
        *("BACKGROUND", "FLUX_TOT"),
    ]
    assert table.colnames[9] == "ISOAREA"
    ascii_rows = np.array([line.split() for line in lines[1:]], float)
    fits_rows = np.array([list(row)[:9] for row in table], float)
    np.testing.assert_allclose(ascii_rows, fits_rows, rtol=1e-9, atol=1e-6)


def test_captured_light_leads_back_to_the_total_flux(tmp_path, rng):
    given = sources(rng, sigma=5.0)
    captured = np.array([s.sum(dtype=float) for s in given["stamps"]]) / given["flux"]
    write(tmp_path / "priors", captured=captured, **given)
    table, _ = read(tmp_path / "priors")
    assert table["FLUX_MODEL"] == pytest.approx(given["flux"][ON_IMAGE])
    assert table["FLUX_TOT"] / table["CAPTURED"] == pytest.approx(given["flux"][ON_IMAGE])
    assert np.all(table["CAPTURED"] < captured[ON_IMAGE] + 1e-9)
    write(tmp_path / "priors", **given)
    assert "CAPTURED" not in read(tmp_path / "priors")[0].colnames


@pytest.mark.parametrize("dtype", ["i4", ">i4", "i8", "u2", "u4"])
def test_segmentation_comes_back(tmp_path, rng, dtype):
    given = sources(rng)
    segmentation = np.zeros(SHAPE, dtype)
    segmentation[20:24, 38:43] = 11
    segmentation[0:2, 10:12] = 300
    write(tmp_path / "priors", segmentation=segmentation, wcs=turned(), **given)
    with fits.open(tmp_path / "priors" / "segmentation.fits") as hdus:
        assert hdus[0].header["BITPIX"] == 32
        assert "BZERO" not in hdus[0].header
        np.testing.assert_array_equal(hdus[0].data, segmentation)
        assert WCS(hdus[0].header).wcs.compare(WCS(turned().to_header()).wcs, tolerance=1e-9)
    table, _ = read(tmp_path / "priors")
    assert list(table["ISOAREA"]) == [20, 0, 4, 0, 0]


def test_ids_of_64_bits_name_files_and_segments(tmp_path, rng):
    given = inside(rng)
    given["ids"] = np.array([-586327643271234567, 2**40])
    segmentation = np.where(np.arange(90) < 40, given["ids"][0], 0) * np.ones((60, 1), int)
    template = "vis_{id}_model.fits"
    write(tmp_path / "priors", segmentation=segmentation, template=template, **given)
    assert names(tmp_path / "priors") == {
        *("priors.cat", "priors.fits", "segmentation.fits"),
        *("stamps/vis_-586327643271234567_model.fits", "stamps/vis_1099511627776_model.fits"),
    }
    found = fits.getdata(tmp_path / "priors" / "segmentation.fits")
    np.testing.assert_array_equal(found, segmentation)
    table, _ = read(tmp_path / "priors", "vis_{}_model.fits")
    assert list(table["SOURCE_ID"]) == list(given["ids"])


def test_stamps_of_several_sizes(tmp_path, rng):
    lights = [rng.random((5, 9), np.float32), rng.random((31, 30))]
    given = {"ids": [1, 2], "positions": np.full((2, 2), 9.0), "flux": np.ones(2)}
    corners = np.array([[7, 5], [-3, -4]])
    write(tmp_path / "priors", stamps=lights, corners=corners, shape=(20, 40), **given)
    _, stamps = read(tmp_path / "priors")
    assert [light.shape for light, _ in stamps] == [(5, 9), (20, 26)]


def test_no_sources_give_empty_catalogues(tmp_path, rng):
    given = sources(rng)
    none = {name: value if name == "shape" else value[:0] for name, value in given.items()}
    assert write(tmp_path / "priors", **none) == []
    assert len(Table.read(tmp_path / "priors" / "priors.fits")) == 0
    off = {name: value if name == "shape" else value[5:6] for name, value in given.items()}
    assert write(tmp_path / "priors", **off) == [6]
    assert names(tmp_path / "priors") == {"priors.cat", "priors.fits"}
    assert len((tmp_path / "priors" / "priors.cat").read_text().splitlines()) == 1


def test_second_run_replaces_the_first(tmp_path, rng):
    folder = tmp_path / "made" / "priors"
    write(folder, segmentation=np.zeros(SHAPE, int), **sources(rng))
    write(folder, **inside(rng))
    assert names(folder) == {
        *("priors.cat", "priors.fits", "stamps/mod-11.fits", "stamps/mod-7.fits")
    }
    assert [path.name for path in folder.parent.iterdir()] == ["priors"]


def fail_at(monkeypatch, wanted):
    """Every write to a file called `wanted` meets a full disk."""

    class Failing(fits.StreamingHDU):
        def __init__(self, file, header):
            self.name = file.name
            super().__init__(file, header)

        def write(self, data):
            if Path(self.name).name == wanted:
                raise OSError(errno.ENOSPC, "No space left on device", self.name)
            return super().write(data)

    monkeypatch.setattr(fits, "StreamingHDU", Failing)


def test_full_disk_leaves_nothing(tmp_path, rng, monkeypatch):
    fail_at(monkeypatch, "mod-7.fits")
    with pytest.raises(TphotError, match=r"priors: .* not be written .*No space left on device"):
        write(tmp_path / "priors", **inside(rng))
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_earlier_priors_alone(tmp_path, rng, monkeypatch):
    write(tmp_path / "priors", **sources(rng))
    before = names(tmp_path / "priors")
    fail_at(monkeypatch, "mod-7.fits")
    with pytest.raises(TphotError, match="No space left"):
        write(tmp_path / "priors", **inside(rng))
    assert names(tmp_path / "priors") == before
    assert [path.name for path in tmp_path.iterdir()] == ["priors"]


def test_leftovers_of_a_killed_run_do_no_harm(tmp_path, rng):
    (tmp_path / "priors.partial" / "stamps").mkdir(parents=True)
    (tmp_path / "priors.partial" / "stamps" / "mod-99.fits").write_text("half")
    (tmp_path / "priors.old").mkdir()
    write(tmp_path / "priors", **inside(rng))
    assert [path.name for path in tmp_path.iterdir()] == ["priors"]
    assert "stamps/mod-99.fits" not in names(tmp_path / "priors")


def test_folder_that_holds_something_else_is_not_replaced(tmp_path, rng):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TphotError, match=r"holds thesis.tex; wanted a new folder"):
        write(tmp_path, **inside(rng))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_folder_below_a_file_is_an_error_with_path_and_reason(tmp_path, rng):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "priors"):
        with pytest.raises(TphotError, match=rf"{folder}: .* \(.*(Not a directory|File exists)"):
            write(folder, **inside(rng))
    assert (tmp_path / "file").is_file()


def _with(index, value, dtype=float):
    def change(array):
        array = array.astype(dtype)
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("flux", lambda flux: flux[:1], "1 flux; wanted one for each of 2 ids"),
        ("positions", lambda p: np.vstack([p, p]), "4 positions; wanted one for each of 2 ids"),
        ("stamps", lambda stamps: list(stamps)[:1], "1 stamps; wanted one for each of 2"),
        ("corners", lambda corners: corners[:1], "1 corners; wanted one for each of 2"),
        ("captured", lambda _: np.ones(3), "3 captured; wanted one for each of 2"),
        ("ids", lambda _: np.array([7, 7]), "id 7 occurs 2 times; wanted unique ids"),
        ("flux", _with(1, np.nan), "id 7: flux is nan; wanted a finite number"),
        ("positions", _with((0, 1), np.inf), r"id 11: position is .*inf.*; wanted finite \(y, x\)"),
        ("stamps", _with((1, 3, slice(2)), np.nan), "id 7: stamp has 2 NaN or inf pixels; wanted"),
        ("segmentation", lambda _: np.ones((90, 60), int), r"shape \(90, 60\); .* \(60, 90\)"),
        ("wcs", lambda _: WCS(naxis=3), "WCS has 3 axes; wanted the image's 2"),
        ("template", lambda _: "mod.fits", r"'mod.fits'; wanted a file name that holds \{id\}"),
        ("template", lambda _: "../{id}.fits", "wanted a file name"),
    ],
)
def test_bad_input_is_refused_with_what_was_found_and_wanted(tmp_path, rng, name, change, message):
    given = inside(rng)
    given[name] = change(given.get(name))
    with pytest.raises(TphotError, match=message):
        write(tmp_path / "priors", **given)
    assert not list(tmp_path.iterdir())


def test_a_source_cannot_have_the_id_of_the_sky(tmp_path, rng):
    given = inside(rng) | {"ids": np.array([0, 1])}
    write(tmp_path / "priors", **given)
    with pytest.raises(TphotError, match="id 0 is the sky"):
        write(tmp_path / "other", segmentation=np.zeros(SHAPE, int), **given)
