import evaluated
import numpy as np
from reports import missing, written


def test_no_sextractor_is_said_and_all_else_is_there(tmp_path):
    parsed, numbers = written(tmp_path, evaluated.without_baseline(evaluated.evaluation()))
    assert "no SExtractor (it ended with status 1)" in parsed.section(7)
    assert "SExtractor measured none of the sets" in parsed.section(8)
    assert "Could not" not in parsed.source and "could not" not in parsed.source
    for name in ("histogram", "error_vs_magnitude", "statistics", "calibration", "shapes"):
        assert (tmp_path / "figures" / f"{name}.png").exists()
    assert numbers["blended"]["sextractor"]["n"] == 0
    assert "nan" not in parsed.words()


def test_empty_bins_are_named(tmp_path):
    found = evaluated.evaluation()
    table = found.examples["blended"]
    table["magnitude"] = np.clip(table["magnitude"], 24.1, 24.4)
    found.metrics["blended"] = evaluated.summary("blended", table)
    parsed, numbers = written(tmp_path, found)
    assert numbers["blended"]["by_magnitude"][0]["vae"]["n"] == 0
    assert "No blended stamps: magnitude 23-23.5, magnitude 23.5-24" in parsed.section(6)
    assert not missing(parsed)
