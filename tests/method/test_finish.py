"""The finish begins as nothing, reads nobody's identity, and what it makes agrees with the LR picture as before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.method.denoiser import empty_condition
from idfsr_jax.method.finish import Finish
from idfsr_jax.method.sample import agreement_with, sample_pictures
from idfsr_jax.restore.conditions import tables_of

SIZES = (128, 192)


@pytest.fixture(scope="module")
def condition(tiny_config):
    rng = np.random.default_rng(0)
    empty = empty_condition(2, tiny_config.data.size, tiny_config.model.references, tiny_config.model, SIZES)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.0, 1.0, leaf.shape), jnp.float32), empty)
    return drawn.replace(scale=jnp.full(2, 4.0), identity_present=jnp.ones(2))


@pytest.fixture(scope="module")
def pictures(tiny_config):
    shape = (2, tiny_config.data.size, tiny_config.data.size, 3)
    return jnp.asarray(np.random.default_rng(1).uniform(-1.0, 1.0, shape), jnp.float32)


@pytest.fixture(scope="module")
def params(condition, pictures, random_weights):
    """Random, none of them zero."""
    return random_weights(lambda: Finish().init(jax.random.key(0), pictures, condition, jnp.ones(2))["params"], 0.1)


finish = jax.jit(lambda params, *given: Finish().apply({"params": params}, *given))


def test_it_begins_by_adding_nothing(condition, pictures):
    params = jax.jit(Finish().init)(jax.random.key(0), pictures, condition, jnp.ones(2))["params"]
    np.testing.assert_array_equal(finish(params, pictures, condition, jnp.ones(2)), pictures)


def test_it_reads_what_lies_in_the_picture_and_not_who_is_shown(condition, pictures, params):
    held = jnp.ones(2)
    made = finish(params, pictures, condition, held)
    assert np.abs(made - pictures).max() > 0.01
    nobody = {name: jnp.zeros_like(getattr(condition, name)) for name in ("identity", "start", "reference_identities")}
    np.testing.assert_array_equal(finish(params, pictures, condition.replace(**nobody), held), made)
    for name in ("hidden", "mask", "pose", "references", "valid", "scale"):
        other = condition.replace(**{name: 0.5 * getattr(condition, name)})
        assert np.abs(finish(params, pictures, other, held) - made).max() > 1e-4, name
    assert np.abs(finish(params, pictures, condition, 0.5 * held) - made).max() > 1e-4


def test_a_finished_result_agrees_with_its_lr_picture(tiny_config, tiny_weights, condition, params):
    size, tables = tiny_config.data.size, tables_of(tiny_config.data.size)
    rng = np.random.default_rng(2)
    small = [rng.integers(100, 156, (8, 8, 3)).astype(np.uint8) for _ in range(2)]
    held = jax.tree.map(lambda *rows: np.concatenate(rows), *(agreement_with(y, 1.0, tables) for y in small))
    noise = jnp.asarray(rng.normal(size=(2, size, size, 3)), jnp.float32)
    draw = lambda finish: sample_pictures(tiny_weights[0], condition, noise, tiny_config, SIZES, held, finish=finish)  # noqa: E731
    plain, finished = draw(None), draw(params)
    assert np.abs(plain - finished).max() > 0.01
    for result in (plain, finished):
        means = result.reshape(2, 8, size // 8, 8, size // 8, 3).mean((2, 4))
        np.testing.assert_allclose(means, np.stack(small) / 127.5 - 1.0, atol=1e-4)
