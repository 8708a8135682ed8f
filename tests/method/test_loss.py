"""The training loss, with a shipped recogniser, on a network of a few thousand weights."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import (
    Config,
    DataConfig,
    DiffusionConfig,
    LandmarkConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)
from idfsr_jax.diffusion.schedule import q_sample, v_from_x0_and_noise, x0_from_v
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.examples import Frozen, draw_examples, noised_count, step_inputs
from idfsr_jax.method.landmarks import MEAN_SHAPE, init_landmark_net
from idfsr_jax.method.loss import picture_loss, training_loss, v_error
from idfsr_jax.networks.recognisers import dimensions, load_recognisers

SIDE, K, B = 64, 2, 4
CONFIG = Config(
    name="tiny",
    data=DataConfig(size=SIDE, covered=0.0),
    model=ModelConfig(
        patch=4, channels=(16, 16), blocks=(1, 1), head_width=16, embedding=16, identity_tokens=2, attention_at=8,
        recognisers=("mobilefacenet",), references=K, prior_detail_std=0.08,
    ),
    landmarks=LandmarkConfig(channels=(8, 8, 8)),
    diffusion=DiffusionConfig(condition_dropout=0.5),
    train=TrainConfig(
        batch=B, rollout_fraction=0.5, identity_losses=(0.5,), contrastive_loss=0.02, identity_movement=0.03
    ),
    sample=SampleConfig(steps=2, temperature=0.3),
)  # fmt: skip
SIZES = (192,)
FACE = (MEAN_SHAPE * 0.35 + np.array([0.5, 0.42])).astype(np.float32)


@pytest.fixture(scope="module")
def frozen():
    recognisers = load_recognisers(CONFIG.model.recognisers)
    assert dimensions(recognisers) == SIZES
    people = np.random.default_rng(1).normal(size=(5, 192)).astype(np.float32)
    return Frozen(
        landmark_net=init_landmark_net(jax.random.key(0), CONFIG.landmarks),
        recognisers=recognisers,
        center=jnp.zeros(192),
        people=jnp.asarray(people / np.linalg.norm(people, axis=1, keepdims=True)),
        perceptual=jax.tree.map(jnp.asarray, read_lpips("alexnet")),
        tables=jax.tree.map(jnp.asarray, resampling_tables(SIDE, most=64)),
    )


@pytest.fixture(scope="module")
def params(random_weights):
    return random_weights(lambda: init_denoiser(jax.random.key(0), CONFIG, SIZES), 0.07)


def batch_of(seed=0):
    rng = np.random.default_rng(seed)
    units = rng.normal(size=(3, B, 192)).astype(np.float32)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    points = np.tile(FACE, (B, 1 + K, 1, 1)) + rng.normal(size=(B, 1 + K, 68, 2)).astype(np.float32) * 0.005
    frames = np.tile(np.eye(3, dtype=np.float32)[:2], (B, 1 + K, 1, 1))
    small = rng.integers(0, 256, (B, 1 + K, 8, 8, 3))
    images = np.repeat(np.repeat(small, 8, axis=2), 8, axis=3).astype(np.uint8)
    return {
        "target": images[:, 0], "references": images[:, 1:],
        "target_landmarks": points[:, 0].astype(np.float32), "reference_landmarks": points[:, 1:].astype(np.float32),
        "target_frame": frames[:, 0], "reference_frames": frames[:, 1:],
        "present": np.array([[1, 1], [1, 0], [0, 0], [1, 1]], np.float32),
        "reference_identities": np.random.default_rng(9).normal(size=(B, K, 192)).astype(np.float32) / 14.0,
        "identity": units[0], "truth": units[1], "others": units[2],
        "several": np.array([1, 1, 0, 1], np.float32), "known": np.array([1, 1, 0, 1], np.float32),
        "shape": np.tile(MEAN_SHAPE, (B, 1, 1)), "person": np.arange(B, dtype=np.int32), "record": np.arange(B),
    }  # fmt: skip


@pytest.fixture(scope="module")
def examples(frozen):
    draw = jax.jit(partial(draw_examples, config=CONFIG))
    return draw(batch_of(), frozen, key=jax.random.key(5))


def test_the_gradient_reaches_every_weight_and_is_finite(params, frozen):
    def loss(params, batch, frozen, keys):
        inputs = step_inputs(params, batch, frozen, CONFIG, keys)
        return training_loss(params, *inputs, frozen, CONFIG)

    keys = (jax.random.key(2), jax.random.key(3))
    gradients, parts = jax.jit(jax.grad(loss, has_aux=True))(params, batch_of(), frozen, keys)
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)}
    assert all(np.isfinite(leaf).all() for leaf in flat.values())
    still = [name for name, leaf in flat.items() if not np.any(leaf)]
    # Softmax does not feel what all keys have in common.
    assert all("key" in name and "bias" in name for name in still), still
    total = parts["v_loss"] + 0.1 * parts["pixel_loss"] + 0.2 * parts["perceptual_loss"]
    total += 0.5 * parts["identity_loss_mobilefacenet-ms1m-v1"] + 0.02 * parts["contrastive_loss"]
    assert float(parts["loss"]) == pytest.approx(float(total), rel=1e-5)
    assert noised_count(B, CONFIG) == 2


def test_the_error_of_v_is_the_truncated_one_of_x0_and_of_the_photographed_alone(examples):
    snr = np.array([0.3, 2.0, 8.0, 40.0], np.float32)
    level, (noise, v) = jnp.log(snr), jax.random.normal(jax.random.key(0), (2, *examples.x0.shape))
    inside = jnp.ones_like(examples.inside).at[:, :, : SIDE // 2].set(0.0)
    estimate = x0_from_v(q_sample(examples.x0, noise, level), v, level)
    square = np.minimum(snr, 5.0)[:, None, None, None] * np.square(estimate - examples.x0)
    found = v_error(v, examples.replace(inside=inside), noise, level, 5.0)
    assert float(found) == pytest.approx(float(np.mean(square * inside)), rel=1e-4)
    right = v_from_x0_and_noise(examples.x0, noise, level)
    assert float(v_error(right, examples, noise, level, 5.0)) == 0.0


def test_a_picture_beyond_the_photograph_is_not_judged(examples, frozen):
    half = jnp.zeros_like(examples.inside).at[:, :, : SIDE // 2].set(1.0)
    told = examples.replace(inside=half)
    level = jnp.full((B,), -1.0)
    loss = jax.jit(lambda estimate: picture_loss(estimate, told, level, frozen, CONFIG)[1]["pixel_loss"])
    spoilt = told.x0.at[:, :, SIDE // 2 :].add(0.5)
    assert float(loss(spoilt)) == float(loss(told.x0)) == 0.0
    assert float(loss(told.x0.at[:, :, : SIDE // 2].add(0.5))) > 0.01


def test_networks_of_weight_zero_do_not_look(examples, frozen):
    train = dataclasses.replace(CONFIG.train, perceptual_loss=0.0, identity_losses=(0.0,))
    blind = frozen.replace(perceptual=None, recognisers=jax.tree.map(lambda leaf: leaf * jnp.nan, frozen.recognisers))
    level, config = jnp.full((B,), -1.0), dataclasses.replace(CONFIG, train=train)
    loss, parts = picture_loss(examples.x0 + 0.1, examples, level, blind, config)
    assert set(parts) == {"pixel_loss", "contrastive_loss"} and np.isfinite(loss)


def test_a_covered_target_bears_no_identity_loss(frozen):
    covered = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, covered=1.0))
    drawn = jax.jit(partial(draw_examples, config=covered))(batch_of(), frozen, key=jax.random.key(5))
    np.testing.assert_array_equal(drawn.bare, 0.0)


def test_the_truth_is_asked_of_people_with_one_photograph(examples):
    np.testing.assert_array_equal(examples.bare, 1.0)
    np.testing.assert_allclose(examples.towards_others, [0.5, 0.5, 0.0, 0.5])
