from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idfsr_jax.errors import BadConfig, BadWeights
from idfsr_jax.training.start import initial_state
from idfsr_jax.training.travel import factored, load_travel, save_travel, unfactored
from idfsr_jax.weights import load_model, save_model


@pytest.fixture(scope="module")
def state(packed_config, tiny_weights):
    """A state in the middle of a run, every array different."""
    state = initial_state(packed_config)
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    drawn = [jax.random.uniform(key, leaf.shape) if leaf.ndim else leaf for key, leaf in zip(keys, leaves, strict=True)]
    state = jax.tree.unflatten(structure, drawn)
    return state.replace(step=jnp.asarray(40, jnp.int32), ema=jax.tree.map(jnp.asarray, tiny_weights[0]))


@pytest.fixture
def folder(tmp_path, packed_config, state, tiny_weights):
    save_travel(tmp_path / "travel", packed_config, state, tiny_weights[1], np.zeros(128, np.float32), {"note": "x"})
    return tmp_path / "travel"


def test_it_is_a_model(folder, packed_config, tiny_weights):
    model = load_model(folder)
    assert model.steps == 40 and model.config == packed_config
    for found, expected in zip(jax.tree.leaves(model.denoiser), jax.tree.leaves(tiny_weights[0]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2**-8)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["travel"]


def test_training_goes_on_from_it(folder, packed_config, state):
    found, net = load_travel(folder, packed_config, initial_state(packed_config))
    assert jax.tree.structure(found) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert int(found.step) == 40
    counts = optax.tree.get_all_with_path(found.opt_state, "count")
    assert len(counts) == 2 and all(int(count) == 40 for _, count in counts)
    for params, ema in zip(jax.tree.leaves(found.params), jax.tree.leaves(found.ema), strict=True):
        np.testing.assert_array_equal(params, ema)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(optax.tree.get(found.opt_state, "mu")))
    before, after = (optax.tree.get(each.opt_state, "nu") for each in (state, found))
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(new.mean(), old.mean(), rtol=1e-5)
    assert net


def test_second_moments_of_rank_one_come_back_exactly():
    rng = np.random.default_rng(0)
    rows, columns = rng.uniform(1e-8, 1e-4, (3, 3, 4, 1)), rng.uniform(0.1, 1.0, 5)
    moments = {"a": {"kernel": jnp.asarray(rows * columns, jnp.float32), "bias": jnp.asarray(columns, jnp.float32)}}
    found = unfactored(factored(moments), moments)
    np.testing.assert_allclose(found["a"]["kernel"], moments["a"]["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(found["a"]["bias"], moments["a"]["bias"])


def test_moments_of_zero_stay_finite():
    moments = {"kernel": jnp.zeros((3, 4))}
    np.testing.assert_array_equal(unfactored(factored(moments), moments)["kernel"], 0.0)


def test_a_damaged_one_is_refused(folder, packed_config, state):
    path = folder / "resume.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadWeights, match=r"resume\.safetensors"):
        load_travel(folder, packed_config, state)


def test_another_network_is_refused(folder, packed_config, state):
    other = replace(packed_config, model=replace(packed_config.model, embedding=32))
    with pytest.raises(BadConfig, match="model"):
        load_travel(folder, other, state)


def test_a_model_alone_is_not_enough(tmp_path, packed_config, state, tiny_weights):
    save_model(tmp_path, packed_config, *tiny_weights, np.zeros(128, np.float32), steps=1)
    with pytest.raises(BadWeights, match="travel"):
        load_travel(tmp_path, packed_config, state)
