"""Trains by a config: `python train.py CONFIG [--train.steps N ...]`, the same as `idfsr train CONFIG`."""

import sys

from idfsr_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
