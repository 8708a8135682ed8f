"""Fitting: only the ID embedding moves, within its bound, and several people at once as each alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config, DataConfig, FitConfig, LandmarkConfig, ModelConfig, SampleConfig, TrainConfig
from idfsr_jax.method.denoiser import init_denoiser
from idfsr_jax.method.fit import Album, IDEmbedding, fit, make_album, make_fit_optimizer, within
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
    fit=FitConfig(steps=3, batch=2, learning_rate=0.02, max_distance=0.1),
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


def start_of(album: Album) -> IDEmbedding:
    model = CONFIG.model
    mean = album.units[: int(album.count)].mean(axis=0)
    return IDEmbedding(jnp.asarray(mean / np.linalg.norm(mean)), jnp.zeros((model.identity_tokens, model.embedding)))


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
        for begun, one, other in zip(start, fitted, many, strict=True):
            # Adam makes of the rounding of a gradient near zero a share of a whole step, so single numbers differ.
            way, beside = np.ravel(one - begun), np.ravel(other[i] - begun)
            assert np.linalg.norm(way - beside) < 0.03 * np.linalg.norm(way)
            # Three steps of Adam would take it farther than the bound.
            np.testing.assert_allclose(np.linalg.norm(way), CONFIG.fit.max_distance, rtol=1e-4)


def test_an_embedding_is_pulled_back_to_its_bound_and_not_beyond():
    start = IDEmbedding(jnp.array([1.0, 0.0]), jnp.zeros((1, 2)))
    near, far = (IDEmbedding(start.identity + way, start.token_offsets + way) for way in (0.1, 3.0))
    jax.tree.map(np.testing.assert_array_equal, within(near, start, 0.5), near)
    pulled = within(far, start, 0.5)
    side = np.sqrt(0.5) / 2
    np.testing.assert_allclose(pulled.identity, [1 + side, side], rtol=1e-6)
    np.testing.assert_allclose(pulled.token_offsets, [[side, side]], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, within(start, start, 0.5), start)


def test_weights_stay_whatever_their_gradient():
    optimizer = make_fit_optimizer(CONFIG)
    variables = {"id_embedding": start_of(album_of(2)), "denoiser": {"kernel": jnp.ones((2, 2))}}
    gradient = jax.tree.map(jnp.ones_like, variables)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(gradient, optimizer.init(variables), variables)
    np.testing.assert_array_equal(updates["denoiser"]["kernel"], 0.0)
    np.testing.assert_allclose(updates["id_embedding"].identity, -CONFIG.fit.learning_rate, rtol=1e-4)


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
