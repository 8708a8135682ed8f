"""512 px on CelebA-HQ, in the latents of Stable Diffusion's autoencoder. Not yet run at full size.

What is known to work is the code: a step of this config, made small, is part of the tests, and lfw64_latent_tiny.py is
the same path trained for minutes (docs/latents.md). The numbers below the commands are counted or guessed, none is
measured.

Data     CelebA-HQ: 30,000 photographs of celebrities, 1024 px, for research that is not commercial. CelebA's
         `identity_CelebA.txt`, through CelebA-HQ's `CelebA-HQ-to-CelebA-mapping.txt`, says who is on each. Put
         them into a folder for each identity, write the identities of train, val and test into lists, and
             idfsr prepare --photos celebahq/images --splits celebahq --out data/celebahq \
                 --encoder dlib+mobilefacenet
Latents  A folder that diffusers saved, 8 pixels to a latent, 4 channels, such as stabilityai/sd-vae-ft-mse (MIT):
         config.json and diffusion_pytorch_model.safetensors, in weights/sd-vae-ft-mse
Train    python train.py configs/celebahq512_latent.py
Judge    python evaluate.py configs/celebahq512_latent.py

Cost     141 M parameters, 103 GFLOP a forward pass. Each example has four pictures to be encoded (target, LR picture
         with what is revealed of its face, moved reference, guess), at 1,110 GFLOP each: they are 93% of a step's
         arithmetic, as what the reference is moved onto is drawn anew every time. At an effective 150 TFLOP/s, 31
         examples a second, and 57 hours for these 6.4 million examples on one large GPU. Pictures of one kind are
         encoded at once, in float32; a map at their full side is 134 MB of each.
         No example is on the sampler's course, so that no picture is judged in training: it would be decoded at 512 px,
         and the decoder's activations held, some 5 GB a picture. A fit does so, two at a time.
"""

from idfsr_jax.config import Config, DataConfig, EvaluateConfig, FitConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="celebahq512_latent",
    # LR pictures are 4 to 256 px wide.
    data=DataConfig(dataset="data/celebahq", size=512, workers=16),
    model=ModelConfig(
        recognisers=("dlib", "mobilefacenet"),
        references=1,
        autoencoder="weights/sd-vae-ft-mse",
        latent_channels=4,
        latent_reduction=8,
        patch=1,
        channels=(192, 320, 448, 640),
        blocks=(2, 2, 2, 2),
        # References are attended to at half the side of the latents.
        attention_at=32,
        head_width=64,
        embedding=512,
        # Latents have unit variance. Those of pastes are 0.66 off at 64 px (lfw64_latent_tiny.py); here it is a guess.
        prior_std=0.7,
    ),
    train=TrainConfig(
        out="runs/celebahq512_latent",
        landmark_net="idfsr_jax/assets/lfw128/landmark_net.safetensors",
        steps=200_000,
        batch=32,
        learning_rate=1e-4,
        warmup_steps=2_000,
        ema_halflife_images=500_000.0,
        # What fits ask of pictures; the run itself judges none.
        rollout_fraction=0.0,
        perceptual_loss=0.8,
        identity_losses=(0.1, 0.5),
        checkpoint_every=2_000,
    ),
    sample=SampleConfig(steps=20),
    fit=FitConfig(batch=2),
    evaluate=EvaluateConfig(batch=4),
)
