import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.method.denoiser import empty_condition
from idfsr_jax.method.guidance import LIPS, SMOOTHING, STRIDE, Guide, guidance_share, likeness, lips, make_guide, pull
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
    return Guide((IdEncoder(params, "linear", network),), 0.1 * jax.random.normal(jax.random.key(1), (6,)))


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
    seen = identity_of(guide.recognisers[0], smoothed(pictures, SMOOTHING), condition.landmarks, guide.center)
    wanted = condition.start[:, 4:]
    expected = [np.dot(a, b) / np.linalg.norm(b) for a, b in zip(np.asarray(seen), np.asarray(wanted), strict=True)]
    np.testing.assert_allclose(likeness(pictures, condition, guide), expected, atol=1e-5)


def test_it_pulls_towards_the_person_and_nowhere_else(guide, condition, pictures):
    moved = pull(pictures, lambda x: x, condition, guide, 4, WHOLE)
    assert np.all(likeness(moved, condition, guide) > likeness(pictures, condition, guide) + 0.01)
    outside = np.broadcast_to(condition.mask == 0, pictures.shape)
    np.testing.assert_array_equal(np.asarray(moved)[outside], np.asarray(pictures)[outside])


def test_several_recognisers_are_asked_in_equal_parts(condition, pictures):
    networks = [linear(4), linear(6)]
    params = [
        network.init(jax.random.key(seed), jnp.zeros((1, 112, 112, 3)))["params"]
        for seed, network in enumerate(networks)
    ]
    both = tuple(IdEncoder(each, "linear", network) for each, network in zip(params, networks, strict=True))
    center = 0.1 * jax.random.normal(jax.random.key(1), (10,))

    def alone(part: slice) -> object:
        units = condition.reference_identities[..., part]
        return condition.replace(
            start=condition.start[:, part], identity=condition.identity[:, part], reference_identities=units
        )

    one = likeness(pictures, alone(slice(0, 4)), Guide(both[:1], center[:4]))
    other = likeness(pictures, alone(slice(4, 10)), Guide(both[1:], center[4:]))
    np.testing.assert_allclose(likeness(pictures, condition, Guide(both, center)), (one + other) / 2, atol=1e-5)


def test_one_step_has_the_length_that_it_is_said_to_have_and_less_on_the_lips(guide, condition, pictures):
    """Without the lips' share it is `STRIDE` long; nowhere is it longer for what they are spared."""
    way = pull(pictures, lambda x: x, condition, guide, 1, WHOLE) - pictures
    left = 1.0 - (1.0 - LIPS) * lips(condition.landmarks, SIDE)
    np.testing.assert_allclose(jnp.sqrt(jnp.mean((way / left) ** 2, axis=(1, 2, 3))), STRIDE, rtol=1e-4)


def test_the_lips_are_where_the_mouth_is(condition):
    found = np.asarray(lips(condition.landmarks, 128))
    for where, points in zip(found[..., 0], np.asarray(condition.landmarks), strict=True):
        columns, rows = np.floor(points * 128).astype(int).T
        assert where[rows[48:68], columns[48:68]].min() > 0.9  # the lips
        others = where[rows[:48], columns[:48]]
        assert others[:31].max() < 0.05 and others[36:].max() < 0.05  # jaw, brows, the bridge of the nose, eyes
        assert others[31:36].max() < 0.6  # its tip's lower edge is near


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
    way = way / (1.0 - (1.0 - LIPS) * lips(condition.landmarks, SIDE))
    lengths = jnp.sqrt(jnp.mean(way**2, axis=(1, 2, 3)))
    np.testing.assert_allclose(lengths, [STRIDE, 0.25 * STRIDE, 0.0], rtol=1e-4)


def test_all_recognisers_but_the_first_guide():
    all_three = tuple(IdEncoder({}, name, linear(size)) for name, size in (("a", 4), ("b", 6), ("c", 2)))
    guide = make_guide(all_three, jnp.arange(12.0))
    assert guide.recognisers == all_three[1:]
    np.testing.assert_array_equal(guide.center, np.arange(4.0, 12.0))
    alone = make_guide(all_three[:1], jnp.arange(4.0))
    assert alone.recognisers == all_three[:1] and alone.center.shape == (4,)
