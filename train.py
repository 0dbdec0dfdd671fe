"""Trains the deblender, or a generator of galaxies; `vaedeblend train` is the same.

    python train.py --workdir DIR [--config FILE.py] [--config.key=value ...]

Simulates what data it misses, trains each stage of the configuration, and keeps everything under
the working directory. Killed and started again with the same command, it goes on where it was.
With --export FOLDER the trained weights, and what a deblender needs besides, are written there.
"""

import sys

from vaedeblend.cli import main

if __name__ == "__main__":  # the processes that render galaxies import this file anew
    raise SystemExit(main(["train", *sys.argv[1:]]))
