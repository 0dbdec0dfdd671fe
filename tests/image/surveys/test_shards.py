"""Shards and marks: what is written is read, the rest made anew."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import RMS, folder, header, sky  # noqa: F401
from surveyed import cut_tiles, planned, stub

from vaedeblend.exceptions import FileError, FolderError, SurveyError
from vaedeblend.image.surveys import hats, page, shards
from vaedeblend.image.surveys.drift import drift_bits, drift_names, training_range
from vaedeblend.image.surveys.listing import list_tiles
from vaedeblend.image.surveys.page import write_survey_page
from vaedeblend.image.surveys.plan import last_plan, make_plan
from vaedeblend.image.surveys.status import TileState, read_states, said_of
from vaedeblend.image.surveys.work import is_unchanged, measure_survey_tile

pytest.importorskip("pyarrow")


@pytest.fixture
def tiles(tmp_path):
    """Four tiles of noise."""
    image = np.random.default_rng(0).normal(size=(100, 120)).astype(np.float32)
    cut_tiles(tmp_path / "in", image, np.ones_like(image), header(), size=60, reach=20)
    return tmp_path


def measured(tiles):
    plan, tasks = planned(tiles / "in", tiles)
    for task in tasks.values():
        assert not measure_survey_tile(task, stub)["kept"]
    return plan, tasks


def test_a_table_comes_back_with_its_units_and_words(tmp_path):
    table = Table({"flux": [1.5, np.nan], "tile": ["a", "bcd"], "flags": [1, 2]})
    table["flux"].unit, table["flux"].info.description = "uJy", "total"
    path = tmp_path / "a.parquet"
    digest = shards.write_shard(path, table, tile="a")
    assert digest == shards.write_shard(path, table, tile="a")
    found = shards.read_shard(path)
    np.testing.assert_array_equal(found["flux"], table["flux"])
    assert list(found["tile"]) == ["a", "bcd"] and found["flux"].unit == "uJy"
    assert found["flux"].info.description == "total" and found.meta["tile"] == "a"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SurveyError, match="no shard could be read"):
        shards.read_shard(path)


def test_a_tile_s_own_sources_are_rows_of_its_shard_with_settled_flags(tmp_path):
    table = Table({"ra": [1.0, 2.0, 3.0], "flags": [0, 1, 2], "core_depth": [1.0, -1.0, 2.0]})
    table["apparent"], table["ra"].unit = np.ones(3), "deg"
    shards.write_shard(shards.shard_path(tmp_path, "a"), table)
    settled = shards.shard_path(tmp_path, "a", shards.SETTLED)
    shards.write_shard(settled, Table({"row": [0, 2], "flags": [4, 6]}), shards="d")
    found = shards.read_own(tmp_path, "a")
    assert found.colnames == ["ra", "flags"] and found["ra"].unit == "deg"
    assert list(found["ra"]) == [1, 3] and list(found["flags"]) == [4, 6]
    assert shards.own_rows(settled, ["ra"]).to_pydict() == {"ra": [1, 3]}
    assert shards.settled_rows(settled, "d") == 2 and shards.settled_rows(settled, "e") is None
    shards.write_shard(shards.shard_path(tmp_path, "a"), table[:1])
    with pytest.raises(SurveyError, match="not the shard that was settled"):
        shards.read_own(tmp_path, "a")
    shards.shard_path(tmp_path, "a").unlink()
    with pytest.raises(SurveyError, match="no shard could be read"):
        shards.read_own(tmp_path, "a")


def test_a_done_tile_is_kept_until_a_file_of_it_is_another(tiles):
    plan, tasks = measured(tiles)
    assert all(map(is_unchanged, tasks.values()))
    path, rms = tiles / "in" / "t00.fits", tiles / "in" / "t00_rms.fits"
    path.touch()  # a copy, of another time
    assert not is_unchanged(tasks["t00"])
    assert measure_survey_tile(tasks["t00"], stub)["kept"] and is_unchanged(tasks["t00"])
    raw = bytearray(rms.read_bytes())
    raw[-2000] ^= 64
    rms.write_bytes(raw)
    assert not measure_survey_tile(tasks["t00"], stub)["kept"]
    other = planned(tiles / "in", tiles, iterations=1)[1]
    assert not any(map(is_unchanged, other.values()))


@pytest.mark.parametrize("damage", ["shard", "mark", "no shard"])
def test_a_damaged_shard_is_made_anew_as_it_was(tiles, damage):
    _, tasks = measured(tiles)
    path, mark = shards.shard_path(tiles, "t01"), shards.mark_path(tiles, "t01")
    before = path.read_bytes()
    if damage == "mark":
        mark.write_text(mark.read_text().replace('"rows": 1', '"rows": 2'))
    elif damage == "shard":
        path.write_bytes(before[:-9] + b"x" + before[-8:])
    else:
        path.unlink()
    assert not is_unchanged(tasks["t01"])
    assert not measure_survey_tile(tasks["t01"], stub)["kept"]
    assert path.read_bytes() == before and is_unchanged(tasks["t01"])


def test_a_full_disk_leaves_no_mark_and_no_half_of_a_shard(tiles, monkeypatch):
    from pyarrow import parquet

    def full(data, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    _, tasks = planned(tiles / "in", tiles)
    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(FileError, match="t00.parquet: could not be written .*No space left"):
        measure_survey_tile(tasks["t00"], stub)
    assert not [*(tiles / shards.SHARDS).iterdir()] and not is_unchanged(tasks["t00"])


def test_two_workers_do_not_measure_a_tile_at_a_time(tiles):
    _, tasks = planned(tiles / "in", tiles)

    def meanwhile(task, core, folder):
        from threading import Thread

        errors = []

        def other():
            try:
                measure_survey_tile(task, stub)
            except FolderError as error:
                errors.append(error)

        thread = Thread(target=other)
        thread.start()
        thread.join()
        assert len(errors) == 1 and "writes there" in str(errors[0])
        return stub(task, core, folder)

    assert not measure_survey_tile(tasks["t00"], meanwhile)["kept"]


def test_tiles_are_found_where_a_user_says(tiles):
    (tiles / "in" / "list.txt").write_text(f"{tiles}/in/t00.fits\n\n{tiles}/in/t1*.fits\n")
    found = list_tiles([tiles / "in" / "list.txt"])
    assert [each.name for each in found.tiles] == ["t00", "t10", "t11"]
    assert found.tiles[0].options["rms"].endswith("t00_rms.fits")
    (tiles / "in" / "t00.fits").write_bytes(b"SIMPLE  = no")
    broken = list_tiles([tiles / "in" / "list.txt"])
    assert [each.name for each in broken.tiles] == ["t10", "t11"] and "t00" in broken.unusable
    with pytest.raises(SurveyError, match="second tile t10"):
        list_tiles([tiles / "in" / "t10.fits", tiles / "in" / "list.txt"])
    with pytest.raises(SurveyError, match="no such file"):
        list_tiles([tiles / "nothing"])


def test_tiles_are_found_behind_a_link(tiles):
    (tiles / "archive").mkdir()
    (tiles / "in" / "t00.fits").rename(tiles / "archive" / "image.fits")
    (tiles / "linked").mkdir()
    (tiles / "linked" / "t00").symlink_to(tiles / "archive")
    assert [each.name for each in list_tiles([tiles / "linked"]).tiles] == ["t00"]


def test_a_survey_within_the_folder_of_its_tiles_goes_on(tiles):
    out, image = tiles / "in" / "survey", (tiles / "in" / "t00.fits").read_bytes()
    for place in (tiles / "in" / "t20", out / shards.WORK / "t20"):  # the latter killed
        place.mkdir(parents=True)
        (place / "image.fits").write_bytes(image)
    assert [each.name for each in make_plan(out, [f"{tiles}/in"], {}).tiles] == ["t20"]
    assert [each.name for each in last_plan(out).tiles] == ["t20"]


def test_lines_of_a_list_of_tiles_are_from_its_folder(tiles, monkeypatch):
    (tiles / "in" / "list.txt").write_text("# the first row\nt00.fits\n  # and\n\nt1*.fits\n")
    for elsewhere, path in ((tiles / "in", "list.txt"), (tiles, "in/list.txt")):
        monkeypatch.chdir(elsewhere)
        assert [each.name for each in list_tiles([path]).tiles] == ["t00", "t10", "t11"]


@pytest.mark.parametrize("name", ["t00.fits", "t[01]0.fits", ".", "list.txt"])
def test_tiles_in_a_folder_with_brackets_in_its_name_are_found(tiles, name):
    given = (tiles / "in").rename(tiles / "run[1]")
    (given / "list.txt").write_text("t00.fits\nt1*.fits\n")
    assert list_tiles([given / name]).tiles[0].name == "t00"
    assert len(make_plan(tiles, [f"{given}/t*.fits"], {}).tiles) == 4


def test_tiles_of_another_unit_than_most_are_named(tiles):
    for name in ("t00", "t01", "t10", "t11"):
        fits.setval(tiles / "in" / f"{name}.fits", "MAGZERO", value=31.4 if name == "t10" else 23.9)
    found = list_tiles([tiles / "in"])  # a folder of images and their products
    assert [each.name for each in found.tiles] == ["t00", "t01", "t11"]
    said = "t10.fits: zero point 31.4; wanted 23.9, which 3 of the 4 tiles have"
    assert said in found.unusable["t10"]


def test_a_folder_is_of_one_survey(tiles):
    given = [f"{tiles}/in/t*.fits"]
    assert len(make_plan(tiles, given, {}).tiles) == 4
    assert len(make_plan(tiles, [], {"iterations": 4}).tiles) == 4  # those of the last time
    with pytest.raises(SurveyError, match="another survey .iterations 4, not 1"):
        make_plan(tiles, given, {"iterations": 1})
    with pytest.raises(SurveyError, match="wanted tiles"):
        make_plan(tiles / "in", [], {})


def test_status_and_page_name_what_failed_and_what_drifts(tiles):
    plan, tasks = planned(tiles / "in", tiles)
    for name in ("t00", "t01", "t10"):

        def numbered(task, core, folder):
            table, numbers = stub(task, core, folder)
            return table, numbers | {"density": 1.0, "drift": 5 * (task.tile.name == "t01")}

        measure_survey_tile(tasks[name], numbered)
    shards.write_failure(tiles, "t11", "rms.fits: a <b>weight</b> map?", 1)
    states = read_states(tiles, [*tasks])
    assert [each.state for each in states] == ["done", "done", "done", "failed"]
    said = said_of(states)
    assert said[0] == "4 tiles: 3 done, 1 failed, 0 waiting"
    assert "failed: tile t11: rms.fits: a <b>weight</b> map?" in said
    assert "drift: tile t01: psf, correlation outside the training's range" in said
    write_survey_page(tiles, plan, states)
    page = (tiles / "index.html").read_text()
    assert "t11" in page and "<b>weight</b>" not in page and "psf beyond the training" in page
    assert json.loads(shards.mark_path(tiles, "t00").read_text())["rows"] == 1


def test_a_tile_that_is_taken_off_the_list_has_no_state(tiles):
    _, tasks = planned(tiles / "in", tiles)
    for name in ("t11", "t99"):
        shards.write_failure(tiles, name, "damaged", 1)
    states = {each.name: each.state for each in read_states(tiles, [*tasks])}
    assert states == dict.fromkeys(("t00", "t01", "t10"), "waiting") | {"t11": "failed"}


@pytest.mark.parametrize(("spread", "colours"), [(1e-4, 1), (0.5, 8)])
def test_maps_have_as_many_colours_as_their_numbers_differ(spread, colours):
    states = [TileState(str(i), "done", "", {"depth": 1 + spread * i}, {}) for i in range(9)]
    drawn = page._number_map("depth", states, [f"M{i}z" for i in range(9)])
    assert len(drawn.key) == len({text for _, text in drawn.key}) == colours
    assert sum(bool(shape.path) for shape in drawn.shapes) == colours
    assert page._number_map("psf_fwhm", states, []) is None


def test_drift_is_what_lies_outside_the_training():
    ranges = training_range("euclid_vis")
    inside = {"psf": 1.0, "depth": 1.0, "correlation": 0.25, "density": 1.0}
    assert drift_bits(inside, ranges) == 0
    assert drift_names(drift_bits(inside | {"psf": 2.0}, ranges)) == ["psf"]
    assert drift_names(drift_bits(inside | {"depth": 3.0, "density": 9.0}, ranges)) == [
        "depth",
        "density",
    ]
    assert drift_bits(dict.fromkeys(inside), ranges) == 0


def test_a_catalogue_that_lost_a_partition_is_made_again(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    dataset = tmp_path / "catalogue" / "dataset"
    part, known = dataset / "Norder=0" / "Npix=4.parquet", []
    part.parent.mkdir(parents=True)
    table = pa.table({"id": [1, 2]})
    parquet.write_table(table, part, metadata_collector=known)
    known[0].set_file_path("Norder=0/Npix=4.parquet")
    assert not hats._is_whole(tmp_path)
    parquet.write_metadata(table.schema, dataset / "_metadata", metadata_collector=known)
    assert hats._is_whole(tmp_path)
    part.unlink()
    assert not hats._is_whole(tmp_path)
