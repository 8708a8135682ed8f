"""Ablation, with the budget of control.py. The LR face is not hidden: what the mask is worth."""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "control.py")
config = replace(
    base,
    name="no_mask",
    model=replace(base.model, mask="none"),
    train=replace(base.train, out="runs/no_mask"),
)
