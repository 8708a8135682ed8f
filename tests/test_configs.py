"""Every config in configs/: it makes sense, and one step of it, made small, goes through `train.py` to a model."""

import json
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from benchmarks.small_run import newest_checkpoint, noise_faces, read_log
from idfsr_jax.config import load_config
from idfsr_jax.method.model import load_model

# diffusers' own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
# tests/training/test_run.py and tests/latent/test_configs.py have those of models with recognisers.
ONE_ENCODER = [path for path in CONFIGS if not load_config(path).model.recognisers]

SMALL = """
    --data.size 16 --data.scales 4 8 --data.scale-weights 1 1 --data.workers 1
    --model.channels 8 --model.blocks 1 --model.head-width 8 --model.embedding 16 --model.identity-tokens 1
    --landmarks.size 16 --landmarks.channels 4 --landmarks.low-resolution-widths 2 4
    --landmarks.steps 1 --landmarks.batch 2
    --train.steps 1 --train.batch 2 --train.learning-rate 1e-3 --train.warmup-steps 1
    --sample.steps 2 --fit.scales 4 8 --devices.data 1
"""


def test_there_are_configs():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_config_makes_sense(path):
    config = load_config(path)
    assert config.name == path.stem
    assert len(config.model.channels) == len(config.model.blocks)
    assert len(config.data.scales) == len(config.data.scale_weights)
    assert all(config.data.size % scale == 0 for scale in (*config.data.scales, *config.fit.scales))
    side = config.model.diffused_side(config.data.size)
    assert side % (config.model.patch * 2 ** (len(config.model.channels) - 1)) == 0
    assert all(channels % config.model.head_width == 0 for channels in config.model.channels)
    assert config.train.out == f"runs/{path.stem}"


def bears_no_identity_loss(path: Path) -> bool:
    """Ablations are spared it, as its gradient takes most of the compiler's time, and their control has it."""
    return load_config(path).train.identity_loss == 0 or (path.parent.name == "ablations" and path.stem != "control")


@pytest.fixture(scope="module")
def train_small(tmp_path_factory, face_crop, hasty_compiler) -> Callable[..., Path]:
    """A function that runs `python train.py CONFIG [MORE ...]` for one step of a small network; returns its folder.

    The model that a config starts from is that of its own config, made small as well, and trained but once.
    """
    root = tmp_path_factory.mktemp("runs")
    faces = noise_faces(root / "faces", face_crop.landmarks)

    def train(path: Path, *more: str) -> Path:
        config, out = load_config(path), root / "_".join([path.stem, *more]).replace("--", "")
        if (out / "model").exists():
            return out
        options = [*SMALL.split(), "--data.dataset", str(faces), "--train.out", str(out), *more]
        options += ["--train.accumulate", str(min(config.train.accumulate, 2))]
        # These pictures are too small for LPIPS; tests/training/test_rollout.py has it.
        options += ["--train.perceptual-loss", "0"]
        if bears_no_identity_loss(path):
            options += ["--train.identity-loss", "0"]
        if config.model.prior_detail_std > 0:
            # It grows from one of half the side.
            options += ["--data.size", "32"]
        if config.train.start_from:
            base = ROOT / "configs" / f"{Path(config.train.start_from).parent.name}.py"
            options += ["--train.start-from", str(train(base) / "model")]
        # Ours is strict; JAX itself promotes types when it lowers its attention in bfloat16.
        promotion = "strict" if config.model.dtype == "float32" else "standard"
        with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion(promotion), hasty_compiler():
            patch.setattr(sys, "argv", ["train.py", str(path), *options])
            with pytest.raises(SystemExit) as exit:
                runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        assert exit.value.code == 0
        return out

    return train


@pytest.mark.parametrize("path", ONE_ENCODER, ids=lambda path: path.stem)
def test_one_small_step_through_train_py_leaves_a_checkpoint_and_a_model(path, train_small):
    config, out = load_config(path), train_small(path)
    (line,) = read_log(out)
    assert line["step"] == 1 and all(math.isfinite(value) for value in line.values())
    assert line["loss"] > 0 and line["gradient_norm"] > 0
    assert ("identity_loss" not in line) == bears_no_identity_loss(path)
    assert newest_checkpoint(out) == 1
    assert (out / "samples" / "0000001.png").exists()
    model = load_model(out / "model")
    assert model.steps == 1 and model.config.name == config.name
    for part in (
        "mask",
        "warp",
        "use_reference",
        "use_identity",
        "use_prior",
        "dtype",
        "patch",
        "prior_detail_std",
    ):
        assert getattr(model.config.model, part) == getattr(config.model, part)
    assert json.loads((out / "config.json").read_text())["diffusion"]["shift_base"] == config.diffusion.shift_base
