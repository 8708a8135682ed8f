"""Ablation, with the budget of control.py. The reference is not bent: what the spline is worth."""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "control.py")
config = replace(
    base,
    name="similarity_warp",
    model=replace(base.model, warp="similarity"),
    train=replace(base.train, out="runs/similarity_warp"),
)
