import evaluated
import numpy as np

from vaedeblend.evaluate import bins
from vaedeblend.evaluate.summary import with_estimates


def test_equal_bins_hold_every_finite_value_once_in_order(rng):
    values = rng.random(103)
    values[:3] = np.nan
    parts = bins.equal_bins(values, 8)
    assert sorted(np.concatenate(parts)) == list(range(3, 103))
    assert {len(part) for part in parts} == {12, 13}
    tops = [values[part].max() for part in parts[:-1]]
    assert all(top <= values[part].min() for top, part in zip(tops, parts[1:], strict=True))
    assert (
        bins.equal_bins(np.full(4, np.nan), 8) == [] and len(bins.equal_bins(values[3:6], 8)) == 3
    )


def test_edges_grow_until_they_hold_all():
    edges = (23.0, 23.5, 24.0)
    assert bins.extended(edges, np.array([23.2, np.nan]), 0.5) == list(edges)
    assert bins.extended(edges, np.array([22.4, 24.0]), 0.5) == [22.0, 22.5, 23.0, 23.5, 24.0, 24.5]
    assert bins.extended(edges, np.array([]), 0.5) == list(edges)


def test_cells_with_few_stamps_have_a_count_only():
    column = with_estimates(evaluated.example_table(n=40))
    edges = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.5, 3.0]))
    cells = bins.cells(column, ("purity", "separation"), edges)
    assert sum(cell["n"] for cell in cells) == 40
    for cell in cells:
        assert (cell["vae"] is None) == (cell["n"] < bins.FEWEST)


def test_empty_bins_have_no_statistics():
    column = with_estimates(evaluated.example_table(n=40))
    row = bins.by(column, "magnitude", (20, 21))[0]
    assert row["vae"]["n"] == row["lost"] == 0
    for key in ("vae_closer", "coverage68", "err_over_nmad", "lost_vae_mean_abs"):
        assert row[key] is None
    assert row["bound"]["rms_prior"] is row["likeness"]["mse"] is None
