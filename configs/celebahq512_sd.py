"""512 px on CelebA-HQ, from Stable Diffusion 1.5's UNet, in its autoencoder's latents. Not yet run at full size.

What is known to work is the code: the UNet is diffusers' to 1e-4 and the untrained denoiser that UNet, with random
weights (docs/latents.md), and a step of this config, made small, is part of the tests. The numbers below the commands
are counted or guessed, none is measured. celebahq512_latent.py is the same without the UNet.

Data     As celebahq512_latent.py has it.
Weights  A pipeline of Stable Diffusion 1.5's layout that diffusers saved, with unet/, vae/ and scheduler/ in it, in
         weights/stable-diffusion-v1-5; the licence of the weights (CreativeML OpenRAIL-M for 1.5's own) goes with every
         model that is made of them.
Train    python train.py configs/celebahq512_sd.py
Judge    python evaluate.py configs/celebahq512_sd.py

Cost     864 M parameters, 786 GFLOP a forward pass. A step of 32 is 235 TFLOP (7.4 an example): 60% to encode four
         pictures of each, as in celebahq512_latent.py, and the rest the UNet forwards, backwards and, for `remat`, in
         part forwards again. The state is 13.8 GB, which `devices.fsdp` shares out. At an effective 150 TFLOP/s, 20
         examples a second, and 44 hours for these 3.2 million on one large GPU. A model folder holds 3.4 GB of UNet, a
         checkpoint four times that.
"""

from dataclasses import replace
from pathlib import Path

from idfsr_jax.config import DiffusionConfig, ModelConfig, UNetConfig, load_config

base = load_config(Path(__file__).parent / "celebahq512_latent.py")
config = replace(
    base,
    name="celebahq512_sd",
    model=ModelConfig(
        recognisers=base.model.recognisers,
        references=1,
        autoencoder="weights/stable-diffusion-v1-5",
        latent_channels=4,
        latent_reduction=8,
        # Of Stable Diffusion 1.5's shape by default, which predicts noise.
        unet=UNetConfig(folder="weights/stable-diffusion-v1-5"),
        identity_tokens=16,
        embedding=768,  # the width of the UNet's tokens
        dtype="bfloat16",
        remat=True,
    ),
    # The thousand timesteps that the UNet was trained on.
    diffusion=DiffusionConfig(schedule="scaled_linear"),
    train=replace(
        base.train,
        out="runs/celebahq512_sd",
        steps=100_000,
        learning_rate=2e-5,
        warmup_steps=1_000,
        weight_decay=1e-2,
        ema_halflife_images=200_000.0,
        keep_checkpoints=2,
    ),
)
