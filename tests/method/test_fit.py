"""Fitting: only the ID embedding moves, within its bound, and several people at once as each alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config, DataConfig, FitConfig, LandmarkConfig, ModelConfig, SampleConfig, TrainConfig
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.fit import Album, fit, make_album, make_fit_optimizer, within
from idfsr_jax.method.landmarks import MEAN_SHAPE, person_shape
from idfsr_jax.networks.recognisers import load_recognisers
from idfsr_jax.training.invented import invented_frozen, invented_people

SIDE, K, SIZES = 32, 2, (192,)
CONFIG = Config(
    data=DataConfig(size=SIDE, covered=0.0),
    model=ModelConfig(
        patch=4, channels=(8, 8), blocks=(1, 1), head_width=8, embedding=16, identity_tokens=2, attention_at=4,
        recognisers=("mobilefacenet",), references=K,
    ),
    landmarks=LandmarkConfig(channels=(4, 4, 4)),
    # Judged by pixels, as networks that judge take long to compile.
    train=TrainConfig(pixel_loss=1.0, perceptual_loss=0.0, identity_losses=(0.0,)),
    sample=SampleConfig(steps=2),
    fit=FitConfig(steps=3, batch=2, learning_rate=0.02, max_distance=0.02),
)  # fmt: skip


@pytest.fixture(scope="module")
def frozen():
    return invented_frozen(CONFIG, load_recognisers(CONFIG.model.recognisers), invented_people(CONFIG, SIZES))


@pytest.fixture(scope="module")
def denoiser(random_weights):
    return random_weights(lambda: init_denoiser(jax.random.key(0), CONFIG, SIZES), 0.07)


def album_of(count: int, length: int = 1) -> Album:
    """Of photographs that are noise."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    landmarks = (0.5 + 0.3 * MEAN_SHAPE + rng.normal(scale=0.01, size=(count, 68, 2))).astype(np.float32)
    units = rng.normal(size=(count, *SIZES)).astype(np.float32)
    units /= np.linalg.norm(units, axis=-1, keepdims=True)
    frames = np.tile(np.eye(3, dtype=np.float32)[:2], (count, 1, 1))
    return make_album(images, landmarks, frames, units, SIZES, K, length)


def start_of(album: Album) -> jax.Array:
    mean = album.units[: int(album.count)].mean(axis=0)
    return jnp.asarray(mean / np.linalg.norm(mean))


def test_several_people_are_fitted_as_each_alone_and_nothing_else_moves(denoiser, frozen):
    albums = [album_of(3, 4), album_of(1, 4)]
    starts, kept = [start_of(album) for album in albums], jax.tree.map(np.array, denoiser)
    both = jax.tree.map(lambda *x: jnp.stack(x), *zip(starts, albums))
    fitted_to = lambda start, album: fit(start, album, denoiser, frozen, CONFIG)  # noqa: E731
    many, courses = jax.jit(jax.vmap(fitted_to))(*both)
    alone = list(map(jax.jit(fitted_to), starts, albums))
    jax.tree.map(np.testing.assert_array_equal, denoiser, kept)
    for i, (start, (fitted, course)) in enumerate(zip(starts, alone)):
        assert course.shape == (3,) and np.isfinite(course).all()
        np.testing.assert_allclose(course, courses[i], rtol=1e-4)
        way, beside = fitted - start, many[i] - start
        assert np.linalg.norm(way - beside) < 0.03 * np.linalg.norm(way)
        # Three steps would take it farther than the bound, which is as long as the first.
        np.testing.assert_allclose(np.linalg.norm(way), CONFIG.fit.max_distance, rtol=1e-4)


def test_an_embedding_is_pulled_back_to_its_bound_and_not_beyond():
    start = jnp.array([1.0, 0.0])
    near, far = start + 0.1, start + 3.0
    np.testing.assert_array_equal(within(near, start, 0.5), near)
    side = np.sqrt(0.5) / 2
    np.testing.assert_allclose(within(far, start, 0.5), [1 + side, side], rtol=1e-6)
    np.testing.assert_array_equal(within(start, start, 0.5), start)


def test_weights_stay_and_each_part_takes_steps_of_one_length_against_the_averaged_gradient():
    optimizer, rng = make_fit_optimizer(CONFIG), np.random.default_rng(0)
    variables = {"id_embedding": [jnp.ones(5), jnp.ones(9)], "denoiser": {"kernel": jnp.ones((2, 2))}}
    state, means = optimizer.init(variables), [np.zeros(5), np.zeros(9)]
    for step in range(CONFIG.fit.steps):
        drawn = [rng.normal(size=mean.shape).astype(np.float32) * 10.0**step for mean in means]
        gradient = {"id_embedding": [jnp.asarray(each) for each in drawn], "denoiser": {"kernel": jnp.ones((2, 2))}}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, variables)
        means = [0.8 * mean + each for mean, each in zip(means, drawn, strict=True)]
        decay = 0.1 + 0.9 * 0.5 * (1.0 + np.cos(np.pi * step / CONFIG.fit.steps))
        for update, mean in zip(updates["id_embedding"], means, strict=True):
            expected = -CONFIG.fit.learning_rate * decay * mean / np.linalg.norm(mean)
            np.testing.assert_allclose(update, expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(updates["denoiser"]["kernel"], 0.0)


def test_an_album_ranks_the_others_and_is_filled_up():
    album = album_of(4, length=6)
    assert album.images.shape == (6, SIDE, SIDE, 3) and int(album.count) == 4
    np.testing.assert_array_equal(album.images[4:], album.images[:2])
    for i in range(4):
        rest = [j for j in range(4) if j != i]
        assert set(album.order[i]) <= set(rest) and album.present[i].all()
        mean = album.units[rest].mean(axis=0)
        np.testing.assert_allclose(album.others[i], mean / np.linalg.norm(mean), atol=1e-6)
        np.testing.assert_allclose(album.shapes[i], person_shape(album.landmarks[rest]), atol=1e-6)


def test_of_a_single_photograph_there_are_no_others():
    album = album_of(1)
    assert album.present.sum() == 0.0
    np.testing.assert_allclose(album.others, album.units, atol=1e-6)
    np.testing.assert_array_equal(album.shapes[0], MEAN_SHAPE)
