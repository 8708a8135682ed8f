import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.face.chip import ARCFACE_CHIP
from idfsr_jax.method.denoiser import empty_condition
from idfsr_jax.method.guidance import SMOOTHING, STRIDE, Guide, guidance_share, likeness, make_guide, pull
from idfsr_jax.method.landmarks import MEAN_SHAPE
from idfsr_jax.networks.id_encoder import IdEncoder, identity_of
from idfsr_jax.networks.iresnet import IResNet
from idfsr_jax.networks.resample import smoothed

SIDE = 32
WHOLE = jnp.ones(3)


class Linear(IResNet):
    """A recogniser that is quick to compile."""

    @nn.compact
    def __call__(self, chips):
        return nn.Dense(self.dimension)(chips.reshape(len(chips), -1) / 255.0)


def linear(dimension: int) -> Linear:
    return Linear(blocks=(), dimension=dimension)


@pytest.fixture(scope="module")
def guide() -> Guide:
    network = linear(6)
    params = network.init(jax.random.key(0), jnp.zeros((1, 112, 112, 3)))["params"]
    return Guide(IdEncoder(params, "linear", network), 0.1 * jax.random.normal(jax.random.key(1), (6,)))


@pytest.fixture(scope="module")
def condition(tiny_config):
    empty = empty_condition(3, SIDE, 2, tiny_config.model, (4, 6))
    mask = jnp.zeros((3, SIDE, SIDE, 1)).at[:, 4:28, 6:26].set(1.0)
    landmarks = jnp.asarray(0.5 + 0.3 * MEAN_SHAPE) + jnp.array([0.0, 0.02, -0.02])[:, None, None]
    start = jax.random.normal(jax.random.key(2), (3, 10))
    return empty.replace(mask=mask, landmarks=landmarks, start=start)


@pytest.fixture(scope="module")
def pictures():
    return jax.random.uniform(jax.random.key(3), (3, SIDE, SIDE, 3), minval=-0.8, maxval=0.8)


def test_likeness_is_the_cosine_to_the_last_part_of_what_the_photographs_show(guide, condition, pictures):
    seen = identity_of(guide.recogniser, smoothed(pictures, SMOOTHING), condition.landmarks, guide.center)
    wanted = condition.start[:, 4:]
    expected = [np.dot(a, b) / np.linalg.norm(b) for a, b in zip(np.asarray(seen), np.asarray(wanted), strict=True)]
    np.testing.assert_allclose(likeness(pictures, condition, guide), expected, atol=1e-5)


def test_it_pulls_towards_the_person_and_nowhere_else(guide, condition, pictures):
    moved = pull(pictures, lambda x: x, condition, guide, 4, WHOLE)
    assert np.all(likeness(moved, condition, guide) > likeness(pictures, condition, guide) + 0.01)
    outside = np.broadcast_to(condition.mask == 0, pictures.shape)
    np.testing.assert_array_equal(np.asarray(moved)[outside], np.asarray(pictures)[outside])


def test_one_step_has_the_length_that_it_is_said_to_have(guide, condition, pictures):
    way = pull(pictures, lambda x: x, condition, guide, 1, WHOLE) - pictures
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(way**2, axis=(1, 2, 3))), STRIDE, rtol=1e-4)


def test_it_pulls_a_picture_by_what_becomes_of_it(guide, condition, pictures):
    """Along the gradient by the state: of a darker half of the states nothing comes, so that nothing there moves."""
    left = jnp.ones((SIDE, SIDE, 1)).at[:, : SIDE // 2].set(0.0)
    way = pull(pictures, lambda x: left * x, condition, guide, 2, WHOLE) - pictures
    assert np.all(way[:, :, : SIDE // 2] == 0.0) and np.any(way[:, :, SIDE // 2 :] != 0.0)


def test_nobody_and_what_cannot_be_moved_stay(guide, condition, pictures):
    nobody = condition.replace(identity_present=jnp.array([1.0, 0.0, 1.0]))
    moved = pull(pictures, lambda x: x, nobody, guide, 2, WHOLE)
    np.testing.assert_array_equal(moved[1], pictures[1])
    assert jnp.any(moved[0] != pictures[0])
    np.testing.assert_array_equal(pull(pictures, jnp.zeros_like, condition, guide, 2, WHOLE), pictures)


def test_no_picture_depends_on_the_others(guide, condition, pictures):
    together = pull(pictures, lambda x: x, condition, guide, 3, WHOLE)
    one = jax.tree.map(lambda rows: rows[1:2], condition)
    np.testing.assert_allclose(pull(pictures[1:2], lambda x: x, one, guide, 3, WHOLE[:1]), together[1:2], atol=1e-5)


def test_it_fades_where_the_input_says_who_it_is_and_is_believed(guide, condition, pictures):
    n = jnp.array([8.0, 32.0, 32.0 * 2**0.5, 64.0, 64.0, 64.0])
    shares = guidance_share(n, jnp.array([0.9, 0.9, 0.8, 1.0, 0.5, 0.0]))
    np.testing.assert_allclose(shares, [1.0, 1.0, 0.6, 0.0, 0.5, 1.0], atol=1e-4)
    way = pull(pictures, lambda x: x, condition, guide, 1, jnp.array([1.0, 0.25, 0.0])) - pictures
    lengths = jnp.sqrt(jnp.mean(way**2, axis=(1, 2, 3)))
    np.testing.assert_allclose(lengths, [STRIDE, 0.25 * STRIDE, 0.0], rtol=1e-4)


def test_the_last_recogniser_guides():
    first, last = (IdEncoder({}, name, linear(size)) for name, size in (("a", 4), ("b", 6)))
    guide = make_guide((first, last), jnp.arange(10.0))
    assert guide.recogniser is last and guide.recogniser.chip is ARCFACE_CHIP
    np.testing.assert_array_equal(guide.center, np.arange(4.0, 10.0))
