"""Every network of latents in configs/: one step of it, made small, goes through `train.py` to a model."""

import math
import runpy
import sys
from pathlib import Path

import jax
import pytest

from benchmarks.small_run import newest_checkpoint, noise_faces, read_log
from idfsr_jax.config import load_config
from idfsr_jax.method.model import load_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # diffusers' own
    pytest.mark.timeout(1200),
]

ROOT = Path(__file__).parents[2]
LATENT = [path for path in sorted((ROOT / "configs").glob("*.py"), reverse=True) if load_config(path).model.autoencoder]
# Of those that differ in their data alone, one.
CONFIGS = sorted({load_config(path).model: path for path in LATENT}.values())
SMALL = """
    --data.size 32 --data.workers 1 --data.covered 0 --model.identity-tokens 1 --model.recognisers dlib
    --landmarks.size 32 --landmarks.channels 4 4 4
    --train.steps 1 --train.batch 2 --train.warmup-steps 1 --train.identity-losses 0
    --sample.steps 2 --devices.data 1
"""
OWN = "--model.channels 8 8 --model.blocks 1 1 --model.head-width 8 --model.embedding 16 --model.attention-at 4"
UNET = """
    --model.unet.block-out-channels 4 8 --model.unet.layers-per-block 1 --model.unet.attention-head-dim 2
    --model.unet.down-block-types CrossAttnDownBlock2D DownBlock2D
    --model.unet.up-block-types UpBlock2D CrossAttnUpBlock2D
    --model.unet.cross-attention-dim 12 --model.unet.norm-num-groups 4 --model.embedding 12
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory, face_crop):
    return noise_faces(tmp_path_factory.mktemp("faces"), face_crop.landmarks)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_small_step_leaves_a_checkpoint_and_a_model(
    path, faces, tiny_model, tmp_path, write_autoencoder_of, write_unet_of
):
    config, out = load_config(path), tmp_path / "run"
    levels = config.model.latent_reduction.bit_length()
    write_autoencoder_of(tmp_path / "vae", levels=levels, latent_channels=config.model.latent_channels)
    options = [*SMALL.split(), "--data.dataset", str(faces), "--train.out", str(out)]
    options += ["--model.autoencoder", str(tmp_path / "vae")]
    options += ["--train.landmark-net", str(tiny_model / "landmark_net.safetensors")]
    if config.model.unet.folder:
        write_unet_of(tmp_path / "pipeline", schedule={}, block_out_channels=(4, 8))
        options += ["--model.unet.folder", str(tmp_path / "pipeline"), *UNET.split()]
    else:
        options += OWN.split()
    # Ours is strict; JAX itself promotes types when it lowers its attention in bfloat16.
    promotion = "strict" if config.model.dtype == "float32" else "standard"
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion(promotion):
        patch.setattr(sys, "argv", ["train.py", str(path), *options])
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert exit.value.code == 0
    (line,) = read_log(out)
    assert line["step"] == 1 and all(math.isfinite(value) for value in line.values())
    # No picture is judged, and none is decoded.
    assert line["loss"] == line["v_loss"] > 0 and "pixel_loss" not in line and line["gradient_norm"] > 0
    assert newest_checkpoint(out) == 1 and (out / "samples" / "0000001.png").exists()
    model = load_model(out / "model")
    assert model.steps == 1 and model.config.name == config.name and model.autoencoder is not None
    assert ("unet" in model.denoiser and "references" not in model.denoiser) == bool(config.model.unet.folder)
