"""64 px on LFW in latents, as small as it can be: whether the latent path works, in some minutes on two cores.

Latents of 16 x 16 with 4 channels, from an autoencoder that is trained first, on the same pictures:

Data     idfsr prepare --photos lfw/images --splits configs/splits/lfw --out data/lfw --encoder dlib+mobilefacenet
Latents  python -m idfsr_jax.latent.train_autoencoder configs/lfw64_latent_tiny.py \
             --channels 16 32 32 --batch 24 --steps 600 --learning-rate 2e-3
Train    python train.py configs/lfw64_latent_tiny.py
Use      idfsr fit --photos ANN --out ann.safetensors --weights runs/lfw64_latent_tiny/model
         idfsr restore small.png --photos ANN --identity ann.safetensors --out out.png \
             --weights runs/lfw64_latent_tiny/model

The pictures are poor, as neither network has seen much: docs/latents.md says what came of it.
"""

from idfsr_jax.config import Config, DataConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="lfw64_latent_tiny",
    data=DataConfig(dataset="data/lfw", size=64),
    model=ModelConfig(
        autoencoder="runs/lfw64_latent_tiny_autoencoder",
        latent_channels=4,
        latent_reduction=4,
        patch=1,
        channels=(64, 96, 128),
        blocks=(1, 1, 1),
        recognisers=("dlib", "mobilefacenet"),
        references=1,
        prior_std=0.7,  # measured on val: the latents of a pasted reference are 0.66 off those of the truth
    ),
    train=TrainConfig(
        out="runs/lfw64_latent_tiny",
        landmark_net="idfsr_jax/assets/lfw128/landmark_net.safetensors",
        steps=700,
        batch=8,
        learning_rate=1e-3,
        warmup_steps=50,
        # What fits ask of pictures; the run itself judges none.
        rollout_fraction=0.0,
        perceptual_loss=0.8,
        identity_losses=(0.1, 0.5),
        log_every=5,
        checkpoint_every=100,
    ),
    # With this little training the model's own distribution is mostly noise: cooler is better, by a decibel on val.
    sample=SampleConfig(steps=8, temperature=0.5),
)
