"""64 px on LFW, the last part: on the course of its own sampler. The shipped model grows from it (lfw128_grown.py).

Train    python train.py configs/lfw64_rollout.py        (goes on from where lfw64_similarity.py ends; half an hour)
Judge    python evaluate.py configs/lfw64_rollout.py

Trained on noised photographs alone, the model met states in sampling that it had never seen: its errors added up from
step to step, as coloured lines at eyes and mouths, and the person was lost on the way. Half of each batch is now taken
from four-step runs of its own, and the estimates there are judged as pictures (`idfsr_jax/training/rollout.py`).
16,000 images of that brought more than the 48,000 before; docs/results-64px.md has the measurements.
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
        # Short, as the run is: the average should forget what it started from.
        ema_halflife_images=4_000.0,
        rollout_fraction=0.5,
        checkpoint_every=100,
        samples_every=250,
    ),
)
