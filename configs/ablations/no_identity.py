"""Ablation of configs/lfw64.py, same budget. The embedding is drowned in noise: what the identity is worth."""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent.parent / "lfw64.py")
config = replace(
    base,
    name="no_identity",
    # A random direction a thousand times as long as the embedding: the network sees noise of unit length.
    data=replace(base.data, embedding_noise=1000.0),
    train=replace(base.train, out="runs/no_identity"),
)
