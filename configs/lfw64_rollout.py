"""64 px on LFW, trained on the course of its own sampler.

Train    python train.py configs/lfw64_rollout.py        (goes on from where lfw64_similarity.py ends)
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "lfw64_similarity.py")
config = replace(
    base,
    name="lfw64_rollout",
    train=replace(
        base.train,
        out="runs/lfw64_rollout",
        start_from="runs/lfw64_similarity/model",
        steps=1_000,
        learning_rate=1e-4,
        warmup_steps=50,
        ema_halflife_images=4_000.0,
        rollout_fraction=0.5,
        checkpoint_every=100,
        samples_every=250,
        log_every=20,
    ),
)
