"""What the ablations are compared with: the whole method, with their budget.

Each begins with the weights that configs/lfw64.py has trained and goes on for 7,200 images in a condition that lacks
one part, or has another one. None of them was trained from the start: that would take four hours each on two cores.

Train    for name in control no_mask tone_mask similarity_warp no_warp no_identity plain_diffusion; do
             python train.py configs/ablations/$name.py; done               (9 minutes each on two cores)
Judge    python evaluate.py configs/ablations/control.py
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

ABLATIONS = ("no_mask", "tone_mask", "similarity_warp", "no_warp", "no_identity", "plain_diffusion")

base = load_config(Path(__file__).parent.parent / "lfw64.py")
config = replace(
    base,
    name="control",
    train=replace(
        base.train,
        out="runs/control",
        start_from="runs/lfw64/model",
        steps=450,
        learning_rate=2e-4,
        warmup_steps=50,
        checkpoint_every=150,
        keep_checkpoints=1,
    ),
    evaluate=replace(
        base.evaluate,
        methods="core",
        scales=(8, 16),
        degradations=("area",),
        ablations=tuple(f"{name.replace('_', ' ')}=runs/{name}/model" for name in ABLATIONS),
    ),
)
