import base64
import io
import re
from pathlib import Path

import markupsafe
import matplotlib.image
import numpy as np
import pytest
from astropy.table import Table
from browser import SKY_WRAPPER, look, needs_chromium
from parsed import Parsed

from vaedeblend.exceptions import FileError, PageError
from vaedeblend.image.page import sources
from vaedeblend.image.page.given import Overview, Panel
from vaedeblend.image.page.signs import make_signs
from vaedeblend.image.page.write import write_page
from vaedeblend.io.html import share

FLAGS = {1: ("edge", "light beyond the image"), 2: ("masked", "light on ignored pixels")}
STATISTICS = {"chi2 per pixel, source pixels": 1.0234, "groups": 123456, "noise": "rms map"}
SIDE, BINNING = 60, 2


class Page(Parsed):
    def words(self):
        return " ".join(self.all("body")[0]["text"].split())

    def rows(self):
        """Texts of the cells of each table row."""
        rows = []
        for each in self.elements:
            if each["tag"] in ("tr", "td"):
                rows.append([]) if each["tag"] == "tr" else rows[-1].append(each["text"])
        return rows

    def keys(self):
        first = [each["tag"] for each in self.elements].index("h1") + 2
        pairs = [self.elements[k : k + 2] for k in range(first, first + 12, 2)]
        return {div["text"].removeprefix(b["text"]): b["text"] for div, b in pairs}

    def pictures(self, name):
        urls = [each["src"] for each in self.all("img") if each["alt"].startswith(name)]
        data = [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls]
        return [matplotlib.image.imread(io.BytesIO(each))[..., :3] for each in data]


def catalogue(n=12, **columns):
    rng = np.random.default_rng(3)
    row, flux = np.arange(n), 1000.0 * 0.7 ** (np.arange(n) % 50)
    table = {
        "id": row + 1,
        "x": rng.uniform(0, SIDE - 1, n),
        "y": rng.uniform(0, SIDE - 1, n),
        "ra": 150.0 + row / 3600,
        "dec": 2.0 + row / 3600,
        "flux": flux,
        "flux_err": np.linspace(2.0, 3.0, n),
        "mag": 25.0 - 2.5 * np.log10(flux),
        "mag_err": 1.0857 * np.linspace(2.0, 3.0, n) / flux,
        "purity": rng.uniform(0.2, 1.0, n),
        "n_neighbours": row % 3,
        "chi2": rng.normal(1.0, 0.1, n),
        "flags": (row == 1) + 2 * (row < 3),
    }
    return Table(table | columns)


def overview(height=SIDE // BINNING, width=SIDE // BINNING):
    image = np.random.default_rng(4).normal(size=(height, width))
    return Overview(image, np.zeros_like(image), image.copy(), BINNING)


def panel(each=3):
    image = np.random.default_rng(5).normal(size=(8, 8))
    return Panel(each, image, 0.5 * image, 0.25 * image)


def written(path, **options):
    given = {"title": "field.fits", "catalog": catalogue(), "overview": overview()}
    given |= {"panels": [panel()], "flags": FLAGS, "statistics": STATISTICS}
    write_page(path / "index.html", **(given | options))
    assert [each.name for each in path.iterdir()] == ["index.html"]
    return Page((path / "index.html").read_text(encoding="utf-8"))


def test_key_numbers_are_those_of_the_table(tmp_path):
    table = catalogue(purity=np.linspace(0.9, 1.0, 12))
    keys = written(tmp_path, catalog=table).keys()
    blended = int((table["purity"] < 0.95).sum())  # as the glossary has it, and the statistics
    assert 0 < blended < 12
    assert [keys[k] for k in ("sources", "flagged: 3")] == ["12", "25 %"]
    assert keys[f"blended (purity below 0.95): {blended}"] == share(blended / 12)
    assert float(keys["median χ² per pixel"]) == pytest.approx(np.median(table["chi2"]), rel=1e-3)
    limit = 25.0 - 2.5 * np.log10(5 * np.median(table["flux_err"]))
    assert keys["5 σ limit at the median flux error"] == f"{limit:.4g} mag"
    relative = np.median(table["flux_err"] / table["flux"])
    assert keys["median relative flux error"] == f"{100 * relative:.3g} %"


def test_limit_is_a_flux_without_a_zero_point(tmp_path):
    table = catalogue(mag=[np.nan] * 12, mag_err=[np.nan] * 12)
    table["flux"].unit = "uJy"
    parsed = written(tmp_path, catalog=table)
    assert parsed.keys()["5 σ limit at the median flux error"] == "12.5 uJy"
    assert ["1 to 1.5", "2"] in [row[:2] for row in parsed.rows()]
    assert "flux 490 ± 2.2 uJy" in parsed.words()


def test_tables_hold_statistics_flags_and_counts(tmp_path):
    parsed = written(tmp_path, catalog=(table := catalogue()))
    rows = [row for row in parsed.rows() if row]
    values = [row[1] for row in rows if row[0] in STATISTICS]
    assert values == ["1.023", "123456", "rms map"]
    assert ["edge light beyond the image", "1"] in rows
    assert ["masked light on ignored pixels", "3"] in rows
    assert "3 of 12 sources have a flag, most often masked." in parsed.words()
    relative = np.asarray(100 * table["flux_err"] / table["flux"])
    for name, n, _, error in (row for row in rows if len(row) == 4):
        low, high = map(float, name.split(" to "))
        here = (table["mag"] >= low) & (table["mag"] < high)
        assert int(n) == np.sum(here)
        assert error == f"{np.median(relative[here]):.3g} %"
    assert sum(int(row[1]) for row in rows if len(row) == 4) == len(table)


def test_marks_lie_on_the_light_first_row_at_the_bottom(tmp_path):
    at = {"x": np.array([40.5, 2.0, 50.0]), "y": np.array([8.5, 50.0, 55.0])}
    light = np.zeros((SIDE // BINNING, SIDE // BINNING + 10))
    light[4, 20] = 100.0  # image pixels 8, 9 and 40, 41
    view = Overview(light, light, 0 * light, BINNING)
    parsed = written(tmp_path, catalog=catalogue(3, **at), overview=view)
    first, image = parsed.all("circle")[0], parsed.pictures("Image")[0]
    assert parsed.all("svg")[0]["viewbox"] == f"0 0 {SIDE + 20} {SIDE}"
    y, x = np.unravel_index(image.sum(-1).argmin(), light.shape)
    assert float(first["cx"]) == BINNING * (x + 0.5) == 41.0
    assert float(first["cy"]) == BINNING * (y + 0.5) == 51.0
    assert [each.get("class") for each in parsed.all("circle")] == ["flagged"] * 3


def test_tooltips_and_links_of_marks(tmp_path):
    parsed = written(tmp_path)
    titles = [each["text"] for each in parsed.all("title")[1:]]
    assert len(titles) == 12
    said = f"purity {catalogue()['purity'][1]:.3g}; flags edge, masked"
    assert titles[1] == f"id 2; mag 17.89 ± 0.0032; flux 700 ± 2.1; {said}"
    assert [each["href"] for each in parsed.all("a")] == ["#source-3"]
    assert [each["id"] for each in parsed.all("article")] == ["source-3"]
    assert [each["text"] for each in parsed.all("text")] == ["3", "10 pixels", "2 pixels"]
    assert "flags edge, bit 64" in written(tmp_path, catalog=catalogue(flags=[65] * 12)).words()


def test_only_the_brightest_are_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_MARKS", 4)
    flux = np.array([5.0, np.nan, 9.0, 8.0, 1.0, 7.0])
    parsed = written(tmp_path, catalog=catalogue(6, flux=flux))
    ids = [int(each["text"].split(";")[0][3:]) for each in parsed.all("title")[1:]]
    assert ids == [3, 4, 6, 1]
    assert "4, the brightest, of 6 sources" in parsed.words()


def test_residual_is_described_by_its_own_numbers(tmp_path):
    view = overview(20, 50)
    view.residual[:], view.residual[0, 0], view.residual[3, 7] = 0.0, np.nan, -8.25
    said = written(tmp_path, overview=view).words()
    assert "0.1 % of the residual's pixels, binned 2 × 2, lie beyond ±5 rms; the far" in said
    assert "farthest, -8.2, at x 14" in said


def test_the_table_holds_the_brightest_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_MARKS", 3)
    parsed = written(tmp_path, catalog=catalogue(flux=np.arange(12.0)))
    rows = [row for row in parsed.rows() if len(row) == 12]
    assert [row[0] for row in rows] == ["12", "11", "10"]
    assert rows[0][3:5] == ["150.00306", "2.00306"] and rows[0][11] == ""
    assert "The brightest 3 of 12" in parsed.words()


def test_north_east_and_a_length_are_those_of_the_sky():
    """East lies to the left of north up; the bar is at most a quarter of the width."""
    usual = make_signs(600, np.array([[-0.1, 0.0], [0.0, 0.1]]))
    north, east = usual.arrows
    assert (north.name, north.tip) == ("N", ("0.00", "-2.00"))
    assert (east.name, east.tip) == ("E", ("-2.00", "0.00"))
    assert usual.said == "10″" and float(usual.length) == pytest.approx(28 * 100 / 600, 1e-3)
    turned = make_signs(6000, 0.1 * np.array([[0.0, 1.0], [1.0, 0.0]]))  # north is +x, east +y
    assert turned.said == "2′" and turned.arrows[0].tip[0] == "2.00"
    assert turned.arrows[1].tip == ("0.00", "-2.00")
    unknown = make_signs(600, None)
    assert unknown.said == "100 pixels" and not unknown.arrows


def test_stretch_is_common_and_missing_data_have_a_colour_of_their_own(tmp_path):
    light = np.full((4, 4), 7.0)
    light[0, 0] = np.nan
    view, stamps = Overview(light, light, light, 1), Panel(1, light, light, light)
    parsed = written(tmp_path, overview=view, panels=[stamps])
    pictures = [each for name in ("Image", "Model", "Source") for each in parsed.pictures(name)]
    assert len(pictures) == 5
    for picture in pictures:
        np.testing.assert_array_equal(picture, pictures[0])
        np.testing.assert_allclose(255 * picture[-1, 0], (0xE8, 0xDF, 0xC8))
    outer, own = parsed.pictures("Residual")  # +7 is beyond the scale, 7 - 7 amid it
    assert outer[0, 0, 0] > 2 * outer[0, 0, 2] and np.ptp(own[0, 0]) < 0.02


def test_text_is_escaped(tmp_path):
    bad = "<script>alert('1 & 2')</script>\""
    given = {"flags": {1: (bad, bad), 2: ("b", bad)}, "statistics": {bad: bad}}
    parsed = written(tmp_path, title=bad, **given)
    assert len(parsed.all("script")) == parsed.source.count("<script") == 1  # the page's own
    assert parsed.all("h1")[0]["text"] == parsed.all("title")[0]["text"] == bad
    assert [bad, bad] in parsed.rows() and parsed.source.count(str(markupsafe.escape(bad))) > 5


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    parsed = written(tmp_path)
    targets = [each[k] for each in parsed.elements for k in ("src", "href") if k in each]
    assert targets and all(target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"https?:|url\(|@import", parsed.source)


def test_empty_catalogue(tmp_path):
    parsed = written(tmp_path, catalog=catalogue()[:0], panels=[], statistics={}, flags={})
    assert parsed.keys()["sources"] == "0"
    assert "No blends were chosen." in parsed.words() and "nan" not in parsed.words()
    assert not parsed.all("circle")


def test_nan_and_masked_values_everywhere(tmp_path):
    table = catalogue(4)
    for name in set(table.colnames) - {"id", "x", "y", "n_neighbours", "flags"}:
        table[name][:] = np.nan
    table = Table(table, masked=True)
    table["n_neighbours"].mask[0] = table["flags"].mask[1] = table["mag"].mask[2] = True
    sky, stamp = np.full((10, 10), np.nan), np.full((4, 4), np.nan)
    views = {"overview": Overview(sky, sky, sky, 1), "panels": [Panel(1, stamp, stamp, stamp)]}
    parsed = written(tmp_path, catalog=table, statistics={"chi2": np.nan}, **views)
    assert "nan" not in parsed.words() and ["chi2", "–"] in parsed.rows()
    assert "The residual has no data." in parsed.words() and len(parsed.all("circle")) == 4


def test_wrong_input_is_refused_by_name(tmp_path):
    table = catalogue()
    table.remove_column("purity")
    with pytest.raises(PageError, match=r"wanted \['purity'\] too"):
        written(tmp_path, catalog=table)
    with pytest.raises(PageError, match=r"overview has images of shapes \[\(30, 30\), \(30, 31\)"):
        written(tmp_path, overview=overview()._replace(model=np.zeros((30, 31))))
    with pytest.raises(PageError, match=r"panel 3 has images of shapes"):
        written(tmp_path, panels=[panel()._replace(alone=np.zeros((9, 9)))])
    with pytest.raises(PageError, match=r"sources \[99\]; wanted ids in the catalogue"):
        written(tmp_path, panels=[panel(99)])


def test_a_failure_leaves_the_earlier_page(tmp_path, monkeypatch):
    earlier = written(tmp_path).source

    def full_disk(path, text, **_):
        path.write_bytes(text[:100].encode())
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(FileError, match="no space"):
        written(tmp_path, title="later")
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == earlier


def test_ten_thousand_sources_on_the_largest_overview_fit_ten_megabytes(tmp_path):
    n, view = 10_000, overview(1024, 1024)
    written(tmp_path, catalog=catalogue(n), overview=view)
    assert (tmp_path / "index.html").stat().st_size < 1e7


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_the_page_without_errors_or_sideways_scrolling(tmp_path, width):
    written(tmp_path, title="a_very_long_name_of_an_image" * 4, panels=[panel(i) for i in (3, 4)])
    found, brightest = look(tmp_path, SKY_WRAPPER, width), catalogue()[0]
    assert found["x"] == pytest.approx((brightest["x"] + 0.5) / SIDE, abs=0.01)
    assert found["y"] == pytest.approx(1 - (brightest["y"] + 0.5) / SIDE, abs=0.01)
    assert found["shown"].startswith("Source 1") and "mag 17.500" in found["shown"]
    assert found["orders"] == ["1", "12", "1", "12"]  # as it is; by id, both ways; faintest
    assert found["crop"] > 80
