"""512 px on FFHQ-Ref, in the latents of Stable Diffusion's autoencoder. Not yet run at full size.

The network and its cost are those of celebahq512_latent.py, whose note says what they are and what of them is counted.

Data     FFHQ-Ref (Hsiao et al. 2024, "ReF-LDM"): 20,405 of FFHQ's 70,000 photographs (1024 px; CC BY-NC-SA 4.0, each
         photograph under a licence of its own), with a list of others of the same person for each, as ArcFace tells
         people apart. Photographs that list one another, directly or by way of others, are one identity:
             idfsr prepare --photos images1024x1024 --lists reference_mapping/*.csv --out data/ffhqref \
                 --encoder dlib+mobilefacenet
Latents  As for celebahq512_latent.py
Train    python train.py configs/ffhqref512.py
Judge    python evaluate.py configs/ffhqref512.py

Cost     As celebahq512_latent.py, for half the steps, as there are two thirds of the photographs. They were put on the
         web by those who took them, so that two of a person are often of one sitting, and the reference may tell too
         much.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import load_config

base = load_config(Path(__file__).parent / "celebahq512_latent.py")
config = replace(
    base,
    name="ffhqref512",
    # No picture is clean, as none is in FFHQ-Ref's own tests.
    data=replace(base.data, dataset="data/ffhqref", clean=0.0),
    train=replace(base.train, out="runs/ffhqref512", steps=100_000),
)
