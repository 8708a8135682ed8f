from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config, load_config
from idfsr_jax.models.id_encoder import load_id_encoder
from idfsr_jax.models.latent import autoencoder_of
from idfsr_jax.training.start import initial_state
from idfsr_jax.training.state import make_optimizer
from idfsr_jax.training.step import Frozen, train_step

# diffusers' own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.py"))


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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_shrunk_training_step_has_a_finite_loss(
    path, shrink, tiny_weights, face_crop, write_autoencoder_of, tmp_path
):
    config: Config = shrink(load_config(path))
    if config.model.autoencoder:
        levels = config.model.latent_reduction.bit_length()
        write_autoencoder_of(tmp_path, levels=levels, latent_channels=config.model.latent_channels)
        config = replace(config, model=replace(config.model, autoencoder=str(tmp_path)))
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
    frozen = Frozen(tiny_weights[1], encoder, jnp.zeros(128), autoencoder_of(config.model))
    state = initial_state(config)
    step = partial(train_step, config=config, optimizer=make_optimizer(config.train))
    # Leaves alone, as JAX's descriptions of arguments are no arrays to the types of `Frozen`.
    leaves, structure = jax.tree.flatten((state, batch, frozen))
    traced = jax.jit(lambda *leaves: step(*jax.tree.unflatten(structure, leaves))).trace(*leaves)
    # Ours is strict; JAX itself promotes types when it lowers its attention in bfloat16.
    with jax.numpy_dtype_promotion("standard"):
        compiled = traced.lower().compile()
    after, metrics = compiled(*leaves)
    assert int(after.step) == 1
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["loss"] > 0 and metrics["gradient_norm"] > 0
    assert ("identity_loss" in metrics) == (config.train.identity_loss > 0)
