"""Evaluates a training, or shipped weights; `vaedeblend evaluate` is the same.

    python eval.py --workdir DIR [--weights NAME] [--style STYLE] [--compare DIR2] [--limit N]

Deblends the test split, measures the same noisy stamps with SExtractor, prints the table and writes
DIR/report: index.html with all figures, these as PNG and PDF, tables, metrics.json and the
per-example table. What is evaluated is the training of DIR, or the weights of that name, whose test
data DIR then takes. With --style its galaxies are drawn in another way than those of the training.
The report of DIR2, evaluated before, is set beside it. --limit measures N stamps of each set alone.
"""

import sys

from vaedeblend.cli import main

if __name__ == "__main__":  # the processes that render galaxies import this file anew
    raise SystemExit(main(["evaluate", *sys.argv[1:]]))
