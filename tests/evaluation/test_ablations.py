"""The ablation configs change what their names say and nothing else, and can be trained."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config_checks import read_config
from idfsr_jax.models.id_encoder import load_id_encoder
from idfsr_jax.training.loop import initial_state
from idfsr_jax.training.state import make_optimizer
from idfsr_jax.training.step import Frozen, train_step

CONFIGS = Path(__file__).parents[2] / "configs"
CHANGES = {
    "no_mask": {"model.mask": "none"},
    "tone_mask": {"model.mask": "tone"},
    "similarity_warp": {"model.warp": "similarity"},
    "no_warp": {"model.warp": "none"},
    "no_identity": {"data.embedding_noise": 1000.0},
    "plain_diffusion": {"model.mask": "none", "diffusion.condition_dropout": 1.0, "train.identity_loss": 0.0},
}


def flat(config) -> dict:
    return {
        f"{section}.{field}": value
        for section, fields in dataclasses.asdict(config).items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    }


def test_every_ablation_is_known():
    assert {path.stem for path in (CONFIGS / "ablations").glob("*.py")} == set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_changes_one_thing(name):
    base, config = (read_config(CONFIGS / path) for path in ("lfw64.py", f"ablations/{name}.py"))
    before, after = flat(base), flat(config)
    changed = {key: value for key, value in after.items() if before[key] != value}
    assert changed == CHANGES[name] | {"train.out": f"runs/{name}"}
    assert config.name == name


@pytest.mark.parametrize("name", CHANGES)
def test_one_shrunk_step_of_an_ablation(name, shrink, tiny_weights, face_crop):
    config = shrink(read_config(CONFIGS / "ablations" / f"{name}.py"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 2, 32, 32, 3), np.uint8)
    landmarks = np.stack([face_crop.landmarks] * 2)
    descriptors = rng.normal(size=(2, 2, 128)).astype(np.float32)
    batch = {
        "target": images[0],
        "target_landmarks": landmarks,
        "reference": images[1],
        "reference_landmarks": landmarks,
        "embedding": descriptors[0],
        "target_embedding": descriptors[1],
        "scale": np.array([0, 1], np.int32),
    }
    encoder = load_id_encoder() if config.train.identity_loss > 0 else None
    state = initial_state(config)
    step = jax.jit(partial(train_step, config=config, optimizer=make_optimizer(config.train)))
    after, metrics = step(state, batch, Frozen(tiny_weights[1], encoder, jnp.zeros(128)))
    assert int(after.step) == 1 and metrics["gradient_norm"] > 0
    assert all(np.isfinite(value) for value in metrics.values())
