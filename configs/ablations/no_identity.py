"""Ablation, with the budget of control.py. No identity embedding: what it is worth."""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "control.py")
config = replace(
    base,
    name="no_identity",
    model=replace(base.model, use_identity=False),
    train=replace(base.train, out="runs/no_identity"),
)
