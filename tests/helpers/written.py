"""What the tests of the challenge's layout share: two small fields, and ways to change them."""

from vaedeblend.euclid.emc.layout import LISTS, field_numbers, read_field

SHAPE = 300, 340
WRITTEN = {"size": SHAPE, "seed": 2, "numbers": (0, 1), "density": 3.0, "star_fraction": 0.1}
WRITTEN |= {"magnitude_limit": 26.0}
WIDE = {"mag": (20.0, 26.0)}
SPLIT = {"splits": {"train": (0,), "test": (1,)}}
LIST, GALAXIES, STARS = (LISTS[key].format(0) for key in ("all", "gals", "stars"))


def read_all(folder, name="ssersic"):
    return [read_field(folder, name, number) for number in field_numbers(folder, name)]


def edit(path, change):
    """Lets a function change the lines of a list."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")
