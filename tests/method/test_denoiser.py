"""The denoiser: where it begins, what it looks at, and that it does with or without references."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config, DataConfig, ModelConfig
from idfsr_jax.method.condition import References, make_condition, tone_share
from idfsr_jax.method.denoiser import Denoiser, agreements, denoiser_of, empty_condition, init_denoiser
from idfsr_jax.method.landmarks import MEAN_SHAPE

SIZE, SIZES, K = 64, (5, 7), 3
MODEL = ModelConfig(
    patch=4, channels=(16, 32), blocks=(1, 1), head_width=16, embedding=16, identity_tokens=2,
    prior_detail_std=0.08, attention_at=8, references=K,
)  # fmt: skip
CONFIG = Config(data=DataConfig(size=SIZE), model=MODEL)
FACE = (MEAN_SHAPE * 0.35 + np.array([0.5, 0.42])).astype(np.float32)


@pytest.fixture(scope="module")
def params(random_weights):
    return random_weights(lambda: init_denoiser(jax.random.key(0), CONFIG, SIZES), 0.25)


def condition_of(present=(1.0, 1.0, 0.0), reveal=0.5):
    return _condition_of(jnp.array(present), jnp.full((2,), reveal))


@jax.jit
def _condition_of(present, shown):
    batch = 2
    keys = jax.random.split(jax.random.key(2), 5)
    points = jnp.broadcast_to(jnp.asarray(FACE), (batch, K, 68, 2))
    references = References(
        jax.random.uniform(keys[0], (batch, K, SIZE, SIZE, 3), minval=-1.0),
        points + 0.01 * jax.random.normal(keys[1], points.shape),
        jnp.broadcast_to(jnp.eye(3)[:2], (batch, K, 2, 3)),
        jnp.broadcast_to(present, (batch, K)),
        jax.random.normal(keys[4], (batch, K, sum(SIZES))),
    )
    identity = jax.random.normal(keys[2], (batch, sum(SIZES)))
    y_up = jax.random.uniform(keys[3], (batch, SIZE, SIZE, 3), minval=-1.0)
    landmarks = jnp.broadcast_to(jnp.asarray(FACE), (batch, 68, 2))
    scale = jnp.full((batch,), 8.0)
    return make_condition(y_up, landmarks, references, identity, scale, shown, patch=MODEL.patch)


def predict(params, condition):
    x_t = jax.random.normal(jax.random.key(3), condition.hidden.shape)
    return np.asarray(_predict(params, x_t, jnp.array([0.3, -2.0]), condition))


@jax.jit
def _predict(params, x_t, log_snr, condition):
    return Denoiser(MODEL, SIZES).apply({"params": params}, x_t, log_snr, condition)


def test_an_absent_reference_changes_nothing(params):
    condition = condition_of((1.0, 1.0, 0.0))
    other = condition_of((1.0, 1.0, 0.0))
    noisy = other.references.at[:, 2].set(0.0)
    np.testing.assert_allclose(predict(params, condition), predict(params, other.replace(references=noisy)), atol=1e-5)


def test_all_but_the_nearest_may_come_in_any_order(params):
    condition = condition_of((1.0, 1.0, 1.0))
    order = jnp.array([0, 2, 1])
    names = ("references", "valid", "reference_identities")
    turned = condition.replace(**{name: getattr(condition, name)[:, order] for name in names})
    np.testing.assert_allclose(predict(params, condition), predict(params, turned), atol=1e-4)


def test_agreement_is_the_cosine_by_each_recogniser():
    condition = condition_of((1.0, 1.0, 0.0))
    parts = np.split(np.asarray(condition.identity), [SIZES[0]], axis=-1)
    units = [part / np.linalg.norm(part, axis=-1, keepdims=True) for part in parts]
    e = jnp.asarray(np.concatenate(units, axis=-1))
    own, opposite = jnp.stack([e, -e, e], axis=1), condition.replace(identity=e)
    found = agreements(opposite.replace(reference_identities=own), SIZES)
    np.testing.assert_allclose(found[0], [[1.0, 1.0, 1.0], [-1.0, -1.0, 1.0], [0.0, 0.0, 0.0]], atol=1e-5)
    nobody = opposite.replace(reference_identities=own, identity_present=jnp.zeros(2))
    np.testing.assert_array_equal(agreements(nobody, SIZES), 0.0)


def test_who_a_reference_shows_matters(params):
    condition = condition_of((1.0, 0.0, 0.0))
    another = condition.replace(reference_identities=-condition.reference_identities)
    assert np.abs(predict(params, condition) - predict(params, another)).max() > 1e-3


def test_every_reference_counts(params):
    one, two = condition_of((1.0, 0.0, 0.0)), condition_of((1.0, 1.0, 0.0))
    assert np.abs(predict(params, one) - predict(params, two)).max() > 1e-3


def test_features_may_be_computed_once(params):
    condition = condition_of()
    network = Denoiser(MODEL, SIZES)
    features = jax.jit(partial(network.apply, method="encode"))({"params": params}, condition)
    x_t = jax.random.normal(jax.random.key(3), condition.hidden.shape)
    once = jax.jit(network.apply)({"params": params}, x_t, jnp.array([0.3, -2.0]), condition, features)
    np.testing.assert_allclose(predict(params, condition), once, atol=1e-5)


def test_the_embedding_matters(params):
    condition = condition_of((0.0, 0.0, 0.0))
    other = condition.replace(identity=condition.identity[::-1])
    assert np.abs(predict(params, condition) - predict(params, other)).max() > 1e-3


def test_without_references_the_guess_is_what_the_picture_shows():
    condition = condition_of((0.0, 0.0, 0.0))
    np.testing.assert_allclose(condition.guess, condition.hidden, atol=1e-6)


def test_nothing_is_revealed_at_zero_and_more_with_more():
    hidden = [np.asarray(condition_of(reveal=reveal).hidden) for reveal in (0.0, 0.1, 1.0)]
    mask = np.asarray(condition_of().mask)[..., 0] > 0.999
    soft = np.asarray(condition_of().mask)
    y_up = np.asarray(jax.random.uniform(jax.random.split(jax.random.key(2), 5)[3], hidden[0].shape, minval=-1.0))
    np.testing.assert_allclose(hidden[0], y_up * (1.0 - soft), atol=1e-6)
    assert hidden[1][mask].std() < hidden[2][mask].std()
    share, shown = tone_share(jnp.array([0.0, 0.1, 1.0]), jnp.full((3,), 8.0), 128)
    np.testing.assert_allclose(share, [1 / 3, 1 / 3, 2.2 * 8 / 128], rtol=1e-5)
    np.testing.assert_allclose(shown[:, 0, 0, 0], [0.0, 1.0, 1.0])


def test_an_untrained_network_gives_back_the_guess():
    params = init_denoiser(jax.random.key(0), CONFIG, SIZES)
    condition = condition_of()
    level = jnp.full((2,), -9.0)
    x_t = jnp.sqrt(jax.nn.sigmoid(9.0)) * jax.random.normal(jax.random.key(3), condition.hidden.shape)
    v = _predict(params, x_t, level, condition)
    alpha, sigma = jnp.sqrt(jax.nn.sigmoid(-9.0)), jnp.sqrt(jax.nn.sigmoid(9.0))
    np.testing.assert_allclose(alpha * x_t - sigma * v, condition.guess, atol=0.03)


def test_without_bands_an_untrained_network_is_the_best_linear_estimate():
    """x0 = p + alpha s^2 / (alpha^2 s^2 + sigma^2) (x_t - alpha p), for errors of the deviation s."""
    one = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, prior_std=0.5, prior_detail_std=0.0))
    params, condition = init_denoiser(jax.random.key(0), one, SIZES), condition_of()
    x_t, level = jax.random.normal(jax.random.key(3), condition.hidden.shape), jnp.full((2,), 0.7)
    v = jax.jit(denoiser_of(one, SIZES).apply)({"params": params}, x_t, level, condition)
    alpha, sigma = (float(jnp.sqrt(jax.nn.sigmoid(sign * 0.7))) for sign in (1, -1))
    share = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
    expected = condition.guess + share * (x_t - alpha * condition.guess)
    np.testing.assert_allclose(alpha * x_t - sigma * v, expected, atol=1e-5)


def test_shapes_of_an_empty_condition():
    condition = empty_condition(2, SIZE, K, MODEL, SIZES)
    assert [x.shape for x in jax.tree.leaves(condition)] == [x.shape for x in jax.tree.leaves(condition_of())]
