"""Evaluates by a config: `python evaluate.py CONFIG`, the same as `idfsr evaluate CONFIG`."""

import sys

from idfsr_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
