"""64 px on LFW with what the ablations taught; configs/lfw64_rollout.py goes on from it.

Train    python train.py configs/lfw64_similarity.py        (goes on from where lfw64.py ends; an hour on two cores)
Judge    python evaluate.py configs/lfw64_similarity.py

The reference is moved by a similarity: bent by a spline through landmarks that are some percent off, a face loses some
of who it is; a similarity averages those errors. The mask keeps the face's coarsest light, which gains more than a
decibel in the face and costs hardly any identity. The identity loss sees smoothed estimates, as the weights that it
goes on from write coloured speckle into their faces that only their own recogniser likes. docs/results-64px.md has the
measurements.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "lfw64.py")
config = replace(
    base,
    name="lfw64_similarity",
    model=replace(base.model, warp="similarity", mask="tone"),
    train=replace(
        base.train,
        out="runs/lfw64_similarity",
        start_from="runs/lfw64/model",
        steps=3_000,
        learning_rate=2e-4,
        warmup_steps=100,
        identity_smoothing=1,
        checkpoint_every=200,
    ),
)
