"""64 px on LFW: what two CPU cores can train in about two hours.

Data     idfsr prepare --photos lfw/images --splits lfw --out data/lfw     (about 6 minutes on two cores)
Train    python train.py configs/lfw64.py                                  (resumes by itself when run again)
Judge    python evaluate.py configs/lfw64.py
"""

from idfsr_jax.config import Config, DataConfig, EvaluateConfig, FitConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="lfw64",
    data=DataConfig(dataset="data/lfw", size=64),
    model=ModelConfig(channels=(64, 128, 192), blocks=(1, 2, 2)),
    train=TrainConfig(out="runs/lfw64", steps=9_800, batch=16, identity_loss=0.1),
    # With this little training long, hot trajectories drift; chosen on val.
    sample=SampleConfig(steps=2, temperature=0.8),
    fit=FitConfig(steps=25, learning_rate=2e-3, identity_loss=1.0),
    evaluate=EvaluateConfig(protocol="configs/protocols/lfw_val.json"),
)
