"""512 px on CelebA-HQ, in the latents of Stable Diffusion's autoencoder. Not yet run at full size.

What is known to work is the code: a step of this config, made small, is part of the tests, and lfw64_latent_tiny.py is
the same path trained for minutes (docs/latents.md). The numbers below the commands are counted or guessed, none is
measured.

Data     CelebA-HQ: 30,000 photographs of celebrities, 1024 px, for research that is not commercial. CelebA's
         `identity_CelebA.txt`, through CelebA-HQ's `CelebA-HQ-to-CelebA-mapping.txt`, says who is on each. Put
         them into a folder for each identity, write the identities of train, val and test into lists, and
             idfsr prepare --photos celebahq/images --splits celebahq --out data/celebahq
Latents  A folder that diffusers saved, 8 pixels to a latent, 4 channels, such as stabilityai/sd-vae-ft-mse (MIT):
         config.json and diffusion_pytorch_model.safetensors, in weights/sd-vae-ft-mse
Train    python train.py configs/celebahq512_latent.py
Judge    python evaluate.py configs/celebahq512_latent.py

Cost     136 M parameters, 92 GFLOP a forward pass. Each example has four pictures to be encoded (target, LR picture
         without its face, warped reference, paste), at 1,110 GFLOP each: they are 94% of a step's arithmetic, as what
         the reference is warped onto is drawn anew every time. At an effective 150 TFLOP/s, 30 examples a second, and
         60 hours for these 6.4 million examples on one large GPU. `accumulate` keeps 8 pictures at a time in the
         encoder, in float32.
         The identity loss is off: it would decode its estimates at 512 px and hold the decoder's activations, some 5
         GB a picture. `--train.identity-loss 0.1 --train.identity-loss-fraction 0.125` turns it on, for 20% more
         arithmetic.
"""

from idfsr_jax.config import (
    Config,
    DataConfig,
    EvaluateConfig,
    FitConfig,
    LandmarkConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)

config = Config(
    name="celebahq512_latent",
    # LR pictures are 64 to 16 px wide.
    data=DataConfig(dataset="data/celebahq", size=512, scales=(8, 16, 32), scale_weights=(1.0, 2.0, 2.0), workers=16),
    model=ModelConfig(
        autoencoder="weights/sd-vae-ft-mse",
        latent_channels=4,
        latent_reduction=8,
        patch=1,
        channels=(192, 320, 448, 640),
        blocks=(2, 2, 2, 2),
        head_width=64,
        embedding=512,
        # As the ablations at 64 px advise.
        warp="similarity",
        # Latents have unit variance. Those of pastes are 0.66 off at 64 px (lfw64_latent_tiny.py); here it is a guess.
        prior_std=0.7,
        dtype="bfloat16",
    ),
    landmarks=LandmarkConfig(low_resolution_widths=(8, 16, 32, 64), batch=64),
    train=TrainConfig(
        out="runs/celebahq512_latent",
        steps=200_000,
        batch=32,
        accumulate=4,
        learning_rate=1e-4,
        warmup_steps=2_000,
        ema_halflife_images=500_000.0,
        checkpoint_every=2_000,
    ),
    sample=SampleConfig(steps=20),
    fit=FitConfig(steps=100, scales=(8, 16)),
    evaluate=EvaluateConfig(batch=4),
)
