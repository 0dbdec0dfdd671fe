import io
import json

import evaluated
import numpy as np
from rich.console import Console

from vaedeblend.evaluate import metrics, results
from vaedeblend.evaluate.evaluation import Evaluation


def text(table, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def numbers():
    found = evaluated.evaluation().metrics
    for each in found.values():
        each |= {"vae_closer": 0.875, "vae_closer_corrected": 0.625, "vae_closer_default": 0.75}
    return found


def test_table_fits_eighty_columns_and_names_the_program():
    found = numbers()
    printed = text(results.results_table(found))
    assert "…" not in printed
    assert "SExtractor 2.28.0" in printed
    sigma = f"{100 * found['blended']['vae']['sigma']:.1f}"
    row = next(line for line in printed.splitlines() if "blended" in line and "network" in line)
    assert sigma in row.split() and row.split()[2:4] == ["80", "80"]
    assert printed.count("87.5") == printed.count("62.5") == 2


def test_table_leaves_what_is_undefined_empty():
    found = numbers()
    found["blended"]["sextractor_clean"] = metrics.summarise(np.zeros(0))
    printed = text(results.results_table(found))
    row = next(line for line in printed.splitlines() if "no failures" in line and "blended" in line)
    assert row.split()[-2:] == ["0", "0"]


def test_first_stage_has_a_row_where_it_was_measured():
    found = numbers()
    found["isolated"] |= {"vae_i": metrics.summarise(np.full(60, 0.123)), "vae_closer_vae_i": 0.375}
    rows = [line.split() for line in text(results.results_table(found)).splitlines()]
    rows = [row for row in rows if "I" in row]
    assert len(rows) == 1
    assert rows[0][0] == "isolated" and "12.3" in rows[0] and rows[0][-1] == "37.5"


def test_rows_say_where_their_numbers_are():
    rows = list(results.rows(numbers()))
    assert [row.errors for row in rows[:2]] == ["isolated/vae", "isolated/sextractor"]
    assert rows[0].closer == "" and rows[1].closer == "isolated/vae_closer"


def test_numbers_that_json_has_not_become_null(tmp_path):
    numbers = {"a": np.nan, "b": [np.inf, 1.5], "c": np.int64(2), "d": None, "e": "text"}
    results.write_evaluation(Evaluation({"isolated": numbers}, {}, {}, {}), tmp_path)
    expected = {"a": None, "b": [None, 1.5], "c": 2, "d": None, "e": "text"}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"isolated": expected}
