"""128 px on LFW: for half an hour on one large GPU."""

from idfsr_jax.config import Config, DataConfig, LandmarkConfig, ModelConfig, TrainConfig

config = Config(
    name="lfw128",
    data=DataConfig(dataset="data/lfw", size=128, own_embedding=0.3),
    model=ModelConfig(channels=(128, 192, 256), blocks=(1, 2, 3), dtype="bfloat16"),
    landmarks=LandmarkConfig(batch=64),
    train=TrainConfig(
        out="runs/lfw128",
        steps=12_000,
        batch=256,
        learning_rate=5e-4,
        ema_halflife_images=50_000,
        identity_loss=0.1,
        checkpoint_every=1_000,
        keep_checkpoints=2,
    ),
)
