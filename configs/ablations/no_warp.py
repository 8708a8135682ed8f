"""Ablation, with the budget of control.py. The reference is shown as it is: what warping is worth."""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "control.py")
config = replace(
    base,
    name="no_warp",
    model=replace(base.model, warp="none"),
    train=replace(base.train, out="runs/no_warp"),
)
