"""128 px on LFW, grown from the 64 px model in an hour and a quarter on two CPU cores. lfw128_cool.py goes on from it.

Train    python train.py configs/lfw128_grown.py         (goes on from where lfw64_rollout.py ends)
Judge    python evaluate.py configs/lfw128_grown.py

Patches of 4 x 4 pixels instead of 2 x 2 keep the network as large and as fast as at 64 px, and let it begin as that
model: with its restorations, and the paste's detail on them (`idfsr_jax/models/growth.py`). On the course of the
sampler from the first step on, as that is what brought most at 64 px.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "lfw64_rollout.py")
config = replace(
    base,
    name="lfw128_grown",
    data=replace(
        base.data,
        size=128,
        scale_weights=(1.0, 2.0, 2.0, 1.0),
        # At use too, identities come from photographs other than the one that is to come out.
        own_embedding=0.0,
    ),
    # Measured on val: pastes are 0.08 off in what is finer than 2 x 2 pixels.
    model=replace(base.model, patch=4, prior_detail_std=0.08),
    train=replace(
        base.train,
        out="runs/lfw128_grown",
        start_from="runs/lfw64_rollout/model",
        steps=2_400,
        learning_rate=3e-4,
        ema_halflife_images=3_000.0,
        checkpoint_every=50,
    ),
)
