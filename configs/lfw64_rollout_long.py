"""The shipped model: 64 px on LFW, more of the training on the course of its own sampler.

Train    python train.py configs/lfw64_rollout_long.py     (goes on from where lfw64_rollout.py ends; 70 minutes)
Judge    python evaluate.py configs/lfw64_rollout_long.py

lfw64_rollout.py was still improving when it ended; this is the same with a higher learning rate, 38,400 images more.
Fitting at noised photographs, as before, then took more than it gave: what counts is the sampler's course by now, and
so a person is fitted there too, with the weights of losses that the model was trained with.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "lfw64_rollout.py")
config = replace(
    base,
    name="lfw64_rollout_long",
    train=replace(
        base.train,
        out="runs/lfw64_rollout_long",
        start_from="runs/lfw64_rollout/model",
        steps=2_400,
        learning_rate=2e-4,
        warmup_steps=100,
    ),
    fit=replace(base.fit, on_course=True, identity_loss=0.3),
)
