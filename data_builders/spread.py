"""Examples of a split on the workers of Apache Beam: each makes some of them, in any order."""

from collections.abc import Callable, Iterator

import apache_beam as beam

from vaedeblend.simulate.examples import Make

_PART = 256
"""Examples that a worker makes at a time."""


class MakeExamples(beam.DoFn):
    """Makes parts of a split; what they have in common is made once in a worker."""

    def __init__(self, prepare: Callable[[], Make]):
        """Keeps what can be sent to a worker.

        Args:
            prepare: Returns the function of a part, as `examples.prepare_examples` does.
        """
        self._prepare = prepare

    def setup(self):
        """Begins a worker's share."""
        self._make = self._prepare()

    def process(self, part: tuple[int, int]) -> Iterator[tuple[int, dict]]:
        """Yields the examples from one number up to another, each with its number."""
        yield from enumerate(self._make(slice(*part)), part[0])


def spread(prepare: Callable[[], Make], n: int) -> beam.PTransform:
    """Beam's transform to n examples with their numbers.

    Args:
        prepare: Returns the function of a part; can be pickled.
        n: Number of examples.
    """
    parts = [(first, min(first + _PART, n)) for first in range(0, n, _PART)]
    return beam.Create(parts) | beam.Reshuffle() | beam.ParDo(MakeExamples(prepare))
