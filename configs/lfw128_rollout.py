"""128 px on LFW, the last part: on the course of its own sampler, as at 64 px. Not yet run at full size.

Train    python -m idfsr_jax.training.packed configs/lfw128_rollout.py --pack data/lfw128 \
             --max-minutes 9 --cool-minutes 3                      (goes on from where lfw128.py ends)
Judge    python evaluate.py configs/lfw128_rollout.py

At 64 px this part brought more than thrice as many images before it (docs/results-64px.md). Of half an hour on a GPU,
give lfw128.py two thirds and this one the rest. The sampler is the one that is trained; its six cool steps, and what
the identity loss sees, are those of lfw128_cool.py, whose measurements are in docs/results.md.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import SampleConfig, load_config

base = load_config(Path(__file__).parent / "lfw128.py")
config = replace(
    base,
    name="lfw128_rollout",
    train=replace(
        base.train,
        out="runs/lfw128_rollout",
        start_from="runs/lfw128/model",
        steps=2_000,
        learning_rate=2e-4,
        warmup_steps=50,
        ema_halflife_images=10_000.0,
        identity_loss=0.25,
        identity_movement=0.03,
        rollout_fraction=0.5,
        checkpoint_every=250,
        samples_every=500,
    ),
    sample=SampleConfig(steps=6, temperature=0.3, guess_share=0.5),
)
