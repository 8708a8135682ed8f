"""128 px on LFW, for twenty minutes on one large GPU, with the data set in its memory. Not yet run at full size.

24.1 M parameters, 29.9 GFLOP a forward pass (`--smoke` counts them). The GPU's machine needs this repository, the pack,
and JAX, Flax, Optax, Orbax and Pillow alone (with jaxtyping, rich and safetensors, which are small):

Pack     idfsr pack --data data/lfw --out data/lfw128            (here; 43 MB: crops of 128 px, encoder in 8 bits)
Rehearse python -m idfsr_jax.training.packed configs/lfw128.py --pack data/lfw128 --smoke --try-batch 512
Train    python -m idfsr_jax.training.packed configs/lfw128.py --pack data/lfw128 --max-minutes 18 --cool-minutes 4

`--max-minutes` counts from the command's start and includes compiling and saving; `--cool-minutes` lets the learning
rate fall to zero at its end, however many steps fit in. The same command goes on exactly where a run was stopped
(`runs/lfw128/checkpoints`, 16 bytes a parameter). Left running by itself, it outlives the shell that started it:

         mkdir -p runs; setsid nohup python -m idfsr_jax.training.packed configs/lfw128.py --pack data/lfw128 \
             --max-minutes 18 --cool-minutes 4 > runs/lfw128.txt 2>&1 < /dev/null &

`runs/lfw128/travel` (8 files of at most 16 MB, 54 MB in all) is what to bring home at any time: a model folder in
bfloat16, for `idfsr restore --weights`, that training can go on from on another machine, though not bit for bit:

Slice    python -m idfsr_jax.training.packed configs/lfw128.py --pack data/lfw128 --start-from travel --max-minutes 9
Judge    idfsr evaluate configs/lfw128.py --evaluate.weights travel

lfw128_rollout.py goes on from where it ends.
"""

from idfsr_jax.config import Config, DataConfig, EvaluateConfig, FitConfig, LandmarkConfig, ModelConfig, TrainConfig

config = Config(
    name="lfw128",
    data=DataConfig(dataset="data/lfw", size=128, own_embedding=0.3),
    # The warp, the mask and, as long in the face, the smoothing are what measured best at 64 px (docs/results-64px.md).
    model=ModelConfig(channels=(128, 192, 256), blocks=(1, 2, 3), dtype="bfloat16", warp="similarity", mask="tone"),
    landmarks=LandmarkConfig(batch=64),
    train=TrainConfig(
        out="runs/lfw128",
        steps=12_000,
        batch=256,
        learning_rate=5e-4,
        ema_halflife_images=50_000.0,
        identity_loss=0.1,
        identity_smoothing=4,
        checkpoint_every=1_000,
        keep_checkpoints=2,
    ),
    fit=FitConfig(steps=25, learning_rate=3e-3, identity_loss=0.1),
    evaluate=EvaluateConfig(protocol="configs/protocols/lfw_val.json"),
)
