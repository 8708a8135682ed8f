"""Baseline, with the budget of control.py: conditional diffusion on the enlarged LR picture alone (the SR3 kind).

No mask, no reference, no identity, and no identity loss: what a system knows that has never heard of the person.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "control.py")
config = replace(
    base,
    name="plain_diffusion",
    model=replace(base.model, mask="none", use_reference=False, use_identity=False),
    train=replace(base.train, out="runs/plain_diffusion", identity_loss=0.0),
)
