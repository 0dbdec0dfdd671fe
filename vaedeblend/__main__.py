"""The command line, as `python -m vaedeblend`."""

from vaedeblend.cli import main

if __name__ == "__main__":  # processes that measure tiles import this anew
    raise SystemExit(main())
