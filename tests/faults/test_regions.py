"""What is wrong in a part of an image alone: the part is named."""

import numpy as np
import pytest
from fitsfolder import RMS, SHAPE, folder, network, sky  # noqa: F401
from inspected import changed, inspected, kinds, noise_of, only

ROWS, COLUMNS = np.indices(SHAPE)
HALF, QUADRANT = COLUMNS >= 130, (ROWS < 100) & (COLUMNS >= 130)


@pytest.mark.parametrize(("factor", "found"), [(1 / 3, "3"), (3.0, "0.33")])
@pytest.mark.parametrize(
    ("part", "named"),
    [
        (HALF, "in x 130 to 260, y 0 to 200"),
        (QUADRANT, "in x 130 to 260, y 0 to 100"),
        (QUADRANT | (ROWS >= 150), "in 8 of 16 parts, x 0 to 260, y 0 to 200"),
    ],
)
def test_an_rms_that_is_wrong_in_a_part_is_named(folder, factor, found, part, named):  # noqa: F811
    noise_of(folder, np.where(part, factor * RMS, RMS))
    line = only(inspected(folder)[1], "warned rms")
    assert named in line and float(line.split("scatter by ")[1].split()[0]) == pytest.approx(
        float(found), rel=0.25
    )


@pytest.mark.parametrize("level", [-1.0, 1.0, 3.0])
@pytest.mark.parametrize("part", [HALF, QUADRANT])
def test_a_step_of_the_sky_is_named(folder, level, part):  # noqa: F811
    changed(folder, lambda image: image + level * RMS * part)
    line = only(inspected(folder)[1], "found sky")
    said = float(line.split("image / rms is ")[1].split()[0])
    assert said == pytest.approx(level, abs=0.15) and "in x 130 to 260" in line


def test_depths_that_differ_as_the_map_says_are_right(folder):  # noqa: F811
    rms = np.where(HALF, 3 * RMS, RMS)
    noise = rms * np.random.default_rng(9).normal(size=SHAPE)
    changed(folder, lambda image: noise)
    assert not kinds(inspected(noise_of(folder, rms))[1])


@pytest.mark.parametrize(("axis", "which"), [(0, "columns"), (1, "rows")])
@pytest.mark.parametrize("level", [0.4, 1.0])
def test_rows_or_columns_with_levels_of_their_own_are_named(folder, axis, which, level):  # noqa: F811
    levels = np.random.default_rng(4).normal(0, level * RMS, SHAPE[1 - axis])
    changed(folder, lambda image: image + np.expand_dims(levels, axis))
    line = only(inspected(folder)[1], "warned stripes")
    assert f"its {which} differ by " in line
    assert float(line.split("differ by ")[1].split()[0]) == pytest.approx(level, abs=0.2)
