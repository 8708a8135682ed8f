"""Ablation, with the budget of control.py. The mask keeps the coarsest light of the LR face."""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "control.py")
config = replace(
    base,
    name="tone_mask",
    model=replace(base.model, mask="tone"),
    train=replace(base.train, out="runs/tone_mask"),
)
