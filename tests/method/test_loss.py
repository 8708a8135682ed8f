"""The training loss and the fit, with the shipped recogniser, on a network of a few thousand weights."""

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
    FitConfig,
    LandmarkConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)
from idfsr_jax.interop.lpips_weights import read_lpips
from idfsr_jax.io.images import to_float
from idfsr_jax.method.degrade import resampling_tables
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.fit import IDEmbedding, fit, make_album
from idfsr_jax.method.landmarks import MEAN_SHAPE, init_landmark_net
from idfsr_jax.method.loss import Frozen, draw_examples, noised_count, picture_loss, step_inputs, training_loss
from idfsr_jax.networks.recognisers import dimensions, load_recognisers

# What is compiled here takes a minute or two of the compiler's time.
pytestmark = pytest.mark.timeout(1200)

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
    fit=FitConfig(steps=3, batch=2, learning_rate=0.02, max_distance=0.5),
)  # fmt: skip
SIZES = (192,)
FACE = (MEAN_SHAPE * 0.35 + np.array([0.5, 0.42])).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _hasty(hasty_compiler):
    with hasty_compiler():
        yield


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
def params():
    fresh = init_denoiser(jax.random.key(0), CONFIG, SIZES)
    leaves, structure = jax.tree.flatten(fresh)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


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


def test_a_picture_beyond_the_photograph_is_not_judged(examples, frozen):
    half = jnp.zeros_like(examples.inside).at[:, :, : SIDE // 2].set(1.0)
    told = examples.replace(inside=half)
    level = jnp.full((B,), -1.0)
    loss = jax.jit(lambda estimate: picture_loss(estimate, told, level, frozen, CONFIG)[1]["pixel_loss"])
    spoilt = told.x0.at[:, :, SIDE // 2 :].add(0.5)
    assert float(loss(spoilt)) == float(loss(told.x0)) == 0.0
    assert float(loss(told.x0.at[:, :, : SIDE // 2].add(0.5))) > 0.01


def test_a_covered_target_bears_no_identity_loss(frozen):
    covered = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, covered=1.0))
    drawn = jax.jit(partial(draw_examples, config=covered))(batch_of(), frozen, key=jax.random.key(5))
    np.testing.assert_array_equal(drawn.bare, 0.0)


def test_the_truth_is_asked_of_people_with_one_photograph(examples):
    np.testing.assert_array_equal(examples.bare, 1.0)
    np.testing.assert_allclose(examples.towards_others, [0.5, 0.5, 0.0, 0.5])


def album_of(count, length=1):
    batch = batch_of(7)
    take = (np.arange(count) % B, np.arange(count) // B)
    pictures = np.concatenate([batch["target"][:, None], batch["references"]], axis=1)[take]
    points = np.concatenate([batch["target_landmarks"][:, None], batch["reference_landmarks"]], axis=1)[take]
    units = np.random.default_rng(8).normal(size=(count, 192)).astype(np.float32)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    frames = np.tile(np.eye(3, dtype=np.float32)[:2], (count, 1, 1))
    return make_album(pictures, points, frames, units, SIZES, K, length)


def start_of(album):
    model = CONFIG.model
    offsets = jnp.zeros((model.identity_tokens, model.embedding))
    return IDEmbedding(jnp.asarray(album.units[: int(album.count)].mean(axis=0)), offsets)


def test_a_fit_moves_the_embedding_within_its_bound(params, frozen):
    album = album_of(3)
    start = start_of(album)
    fitted, losses = fit(start, album, params, frozen, CONFIG)
    assert losses.shape == (3,) and np.isfinite(losses).all()
    for moved, before in zip(fitted, start, strict=True):
        assert 1e-4 < float(jnp.linalg.norm(moved - before)) <= 0.5 + 1e-5


def test_several_people_are_fitted_as_each_alone(params, frozen):
    albums = [album_of(3, 4), album_of(1, 4)]
    starts = [start_of(album) for album in albums]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *albums)
    many, courses = jax.vmap(lambda s, a: fit(s, a, params, frozen, CONFIG))(
        jax.tree.map(lambda *x: jnp.stack(x), *starts), stacked
    )
    for i, (start, album) in enumerate(zip(starts, (album_of(3, 4), album_of(1, 4)), strict=True)):
        alone, course = fit(start, album, params, frozen, CONFIG)
        np.testing.assert_allclose(course, courses[i], rtol=1e-4)
        for begun, one, other in zip(start, alone, many, strict=True):
            # Adam makes of the rounding of a gradient near zero a share of a whole step, so single numbers differ.
            way, beside = np.ravel(one - begun), np.ravel(other[i] - begun)
            assert np.linalg.norm(way - beside) < 0.03 * np.linalg.norm(way)


def test_an_album_ranks_the_others_and_never_the_photograph_itself():
    album = album_of(4)
    for i in range(4):
        assert i not in album.order[i][album.present[i] > 0]
    alone = album_of(1)
    assert alone.present.sum() == 0.0
    np.testing.assert_allclose(alone.others, alone.units, atol=1e-6)
    assert to_float(alone.images).shape == (1, SIDE, SIDE, 3)
