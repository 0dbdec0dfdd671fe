import io

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from astropy.table import Table
from rich.console import Console

from vaedeblend import metrics, report
from vaedeblend.evaluation import Evaluation

PNG = {"panels_isolated", "panels_blended", "error_vs_magnitude", "error_vs_purity"}
PNG |= {"error_histogram", "loss_curves"}
RECORDS = [
    {"step": step, "train_loss": 1e3 / step, "validation_loss": 1.1e3 / step, "train_kl": 2.0}
    for step in range(100, 1100, 100)
]


def examples(kind, n=60, seed=0):
    rng = np.random.default_rng(seed)
    blended = kind != "isolated"
    return Table(
        {
            "magnitude": rng.uniform(23.0, 25.0, (n, 1)),
            "purity": rng.uniform(0.3, 0.95, (n, 1)) if blended else np.ones((n, 1)),
            "bm_1": rng.random((n, 1)),
            "flux_ratio": np.where(rng.random((n, 1)) < 0.2, np.inf, 10 ** rng.normal(size=(n, 1))),
            "n_companions": np.full(n, int(blended)),
            "vae_error": rng.normal(0.0, 0.1, n),
            "sextractor_error": np.where(rng.random(n) < 0.2, -1.0, rng.normal(0.0, 0.3, n)),
        }
    )


def pictures(n=60):
    shape = (n, 12, 12, 1)
    noise = np.random.default_rng(1).normal(size=shape)
    truth = np.zeros(shape)
    truth[:, 5:7, 5:7] = 20.0
    return {"input": truth + noise, "truth": truth, "reconstruction": 1.1 * truth}


def summary(table):
    ours, theirs = (np.asarray(table[f"{m}_error"]) for m in ("vae", "sextractor"))
    found = theirs > -1
    return {
        "vae": metrics.summarise(ours),
        "sextractor": metrics.summarise(theirs, found),
        "sextractor_clean": metrics.summarise(theirs[found]),
        "sextractor_corrected": metrics.summarise(theirs + 0.1, found),
        "sextractor_default": metrics.summarise(theirs + 0.2, found),
        "vae_closer": 0.875,
        "vae_closer_corrected": 0.625,
        "vae_closer_default": 0.75,
        "program": "SExtractor 2.28.0",
    }


def evaluation(kinds=("isolated", "blended"), n=60):
    tables = {kind: examples(kind, n) for kind in kinds}
    found = {kind: summary(table) for kind, table in tables.items()}
    return Evaluation(found, tables, {kind: pictures(n) for kind in kinds}, {})


def text(table, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def assert_figures(folder, names):
    assert {path.stem for path in folder.iterdir()} == names
    for path in folder.iterdir():
        image = matplotlib.image.imread(path)[..., :3]
        assert image.std() > 0.03, f"{path.name} is blank"
        assert min(image.shape[:2]) > 300


def test_table_fits_eighty_columns_and_names_the_program():
    found = evaluation()
    printed = text(report.results_table(found.metrics))
    assert "…" not in printed
    assert "SExtractor 2.28.0" in printed
    sigma = f"{100 * found.metrics['blended']['vae']['sigma']:.1f}"
    row = next(line for line in printed.splitlines() if "blended" in line and "VAE" in line)
    assert sigma in row.split() and row.split()[2:4] == ["60", "60"]
    assert printed.count("87.5") == printed.count("62.5") == 2


def test_table_leaves_what_is_undefined_empty():
    found = evaluation()
    found.metrics["blended"]["sextractor_clean"] = metrics.summarise(np.zeros(0))
    printed = text(report.results_table(found.metrics))
    row = next(line for line in printed.splitlines() if "no failures" in line and "blended" in line)
    assert row.split()[-2:] == ["0", "0"]


def test_first_stage_has_a_row_where_it_was_measured():
    found = evaluation()
    isolated = found.metrics["isolated"]
    isolated |= {"vae_i": metrics.summarise(np.full(60, 0.123)), "vae_closer_vae_i": 0.375}
    rows = [line.split() for line in text(report.results_table(found.metrics)).splitlines()]
    rows = [row for row in rows if "I" in row]
    assert len(rows) == 1
    assert rows[0][0] == "isolated" and "12.3" in rows[0] and rows[0][-1] == "37.5"


def test_figures_are_written_and_not_blank(tmp_path):
    report.save_figures(tmp_path, evaluation(), {"isolated": RECORDS, "blended": RECORDS})
    assert_figures(tmp_path, PNG)


def test_stratified_scenes_add_the_map_of_complexity(tmp_path):
    kinds = ("isolated", "blended", "stratified")
    report.save_figures(tmp_path, evaluation(kinds), {"isolated": RECORDS})
    assert_figures(tmp_path, PNG | {"panels_stratified", "complexity"})


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_examples_and_no_history_raise_nothing(tmp_path, n):
    tables = {kind: examples(kind, n) for kind in ("isolated", "blended", "stratified")}
    images = {kind: pictures(n) for kind in tables}
    report.save_figures(tmp_path, Evaluation({}, tables, images, {}), {})
    assert {path.stem for path in tmp_path.iterdir()} >= PNG - {"loss_curves"}


def test_numbers_that_are_none_raise_nothing(tmp_path):
    found = evaluation()
    table = found.examples["blended"]
    table["magnitude"][:5] = np.nan
    table["vae_error"][5:8] = np.nan
    records = [*RECORDS, {"step": 1100, "train_loss": float("nan"), "validation_loss": None}]
    report.save_figures(tmp_path, found, {"isolated": [], "blended": records})
    assert_figures(tmp_path, PNG)


def test_panels_go_from_good_to_bad():
    table, images = examples("blended", 101), pictures(101)
    table["vae_error"] = np.linspace(0.0, 1.0, 101)
    figure = report.panels(table, images, "blended")
    labels = [axis.get_ylabel() for axis in figure.axes if "VAE" in axis.get_ylabel()]
    assert [label.split("VAE +")[1].split(" %")[0] for label in labels] == ["10", "50", "90", "99"]


def test_running_median_is_that_of_the_errors():
    table = examples("isolated", 800)
    table["vae_error"] = 0.1 * (table["magnitude"][:, 0] - 23.0)
    figure = report.errors_against({"isolated": table}, "magnitude", "magnitude [AB]")
    line = next(line for line in figure.axes[0].lines if line.get_label() == "VAE")
    assert len(line.get_xdata()) == 8
    np.testing.assert_allclose(line.get_ydata(), 10 * (line.get_xdata() - 23.0), atol=1e-6)


def test_histogram_counts_every_stamp():
    table = examples("blended", 200)
    table["sextractor_error"][:7] = 9.0
    figure = report.error_histogram({"blended": table})
    for patch in figure.axes[0].patches:
        heights = patch.get_xy()[1:-1, 1][::2]
        assert heights.sum() == 200


def test_each_method_has_one_colour():
    figures = (
        report.errors_against({"blended": examples("blended")}, "purity", "purity"),
        report.error_histogram({"blended": examples("blended")}),
    )
    for figure in figures:
        for handle in figure.axes[0].get_legend().get_lines() + figure.axes[0].patches:
            if handle.get_label() in report.COLOURS:
                colour = getattr(handle, "get_edgecolor", lambda h=handle: h.get_color())()
                same = matplotlib.colors.same_color(colour, report.COLOURS[handle.get_label()])
                assert same
