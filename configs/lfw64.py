"""64 px on LFW: what two CPU cores can train in about four hours.

Data     idfsr prepare --photos lfw/images --splits configs/splits/lfw --out data/lfw     (2.5 minutes on two cores)
Train    python train.py configs/lfw64.py                                  (resumes by itself when run again)
Judge    python evaluate.py configs/lfw64.py

The weights that configs/lfw64_similarity.py goes on from, and the models after it, grew in phases, the same
command with other numbers: steps 1 to 6,200 with an identity loss of 0.02 (the cosine ending there) and an earlier
LandmarkNet; to 7,400 with 0.03; to 8,487 with 0.1; to 10,100 with 0.3 and the rest of a cosine from 1e-4. The identity
loss was raised because it kept the person over more sampling steps, as judged by a recogniser that took no part in
training, at no cost in LPIPS; so a new run starts with it.
"""

from idfsr_jax.config import Config, DataConfig, EvaluateConfig, FitConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="lfw64",
    data=DataConfig(dataset="data/lfw", size=64),
    model=ModelConfig(channels=(64, 128, 192), blocks=(1, 2, 2)),
    train=TrainConfig(out="runs/lfw64", steps=10_100, batch=16, identity_loss=0.3),
    # With this little training long, hot trajectories drift away from the person; chosen on val.
    sample=SampleConfig(steps=4, temperature=0.8),
    # A little identity loss: with none our encoder, with ten times as much another recogniser finds less of the person.
    fit=FitConfig(steps=25, learning_rate=3e-3, identity_loss=0.1),
    evaluate=EvaluateConfig(protocol="configs/protocols/lfw_val.json"),
)
