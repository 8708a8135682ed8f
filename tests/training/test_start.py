"""Runs that begin with the weights of another model."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from idfsr_jax.io.errors import BadConfig, BadWeights
from idfsr_jax.io.parameters import load_tree
from idfsr_jax.models.growth import grown
from idfsr_jax.training.folder import claim_folder
from idfsr_jax.training.mesh import placed, replicated
from idfsr_jax.training.start import bring_landmark_net, initial_state, started_from
from idfsr_jax.training.state import apply_gradients, make_optimizer


def starting_from(config, folder, **train):
    return replace(config, train=replace(config.train, start_from=str(folder), **train))


def test_it_begins_with_the_models_weights_and_nothing_else_of_it(tiny_config, tiny_model, tiny_weights):
    state, net = started_from(starting_from(tiny_config, tiny_model))
    jax.tree.map(np.testing.assert_array_equal, state.params, tiny_weights[0])
    jax.tree.map(np.testing.assert_array_equal, state.ema, tiny_weights[0])
    jax.tree.map(np.testing.assert_array_equal, net, tiny_weights[1])
    assert int(state.step) == 0
    fresh = initial_state(tiny_config)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, fresh.opt_state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), fresh
    )


def test_no_device_has_the_state_that_it_begins_with_and_a_step_leaves_it_alone(tiny_config, tiny_model, tiny_weights):
    config = starting_from(tiny_config, tiny_model)
    state, _ = started_from(config)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(state))
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)

    @partial(jax.jit, donate_argnums=0)
    def step(state):
        gradients = jax.tree.map(lambda leaf: leaf + 1.0, state.params)
        return apply_gradients(state, gradients, make_optimizer(config.train), jnp.float32(0.5))

    # The average and the parameters are the same arrays on the host; donated, they must not become so on a device.
    for _ in range(2):
        last = step(step(placed(state, replicated(mesh))))
        jax.tree.map(np.testing.assert_array_equal, state.params, tiny_weights[0])
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: float(abs(a - b).max()), last.params, last.ema))) > 0


def test_another_network_is_refused(tiny_config, tiny_model):
    wide = replace(tiny_config, model=replace(tiny_config.model, channels=(16, 16)))
    with pytest.raises(BadConfig, match=r"start_from.*another network"):
        started_from(starting_from(wide, tiny_model))
    seeing = replace(tiny_config, landmarks=replace(tiny_config.landmarks, channels=(8, 8, 8)))
    with pytest.raises(BadConfig, match=r"start_from.*LandmarkNet"):
        started_from(starting_from(seeing, tiny_model))


def test_larger_pictures_in_larger_patches_begin_with_the_enlarged_weights(tiny_config, tiny_model, tiny_weights):
    model = replace(tiny_config.model, patch=2 * tiny_config.model.patch, prior_detail_std=0.1)
    large = replace(tiny_config, data=replace(tiny_config.data, size=2 * tiny_config.data.size), model=model)
    state, net = started_from(starting_from(large, tiny_model))
    wanted = grown(tiny_weights[0], tiny_config.model.patch)
    jax.tree.map(np.testing.assert_array_equal, state.params, wanted)
    jax.tree.map(np.testing.assert_array_equal, net, tiny_weights[1])
    assert jax.tree.map(np.shape, wanted) == jax.tree.map(np.shape, initial_state(large).params)
    other = replace(large, data=replace(large.data, size=4 * tiny_config.data.size))
    with pytest.raises(BadConfig, match=r"start_from.*another network"):
        started_from(starting_from(other, tiny_model))
    only_scaled = replace(tiny_config, model=replace(tiny_config.model, prior_detail_std=0.1))
    with pytest.raises(BadConfig, match=r"start_from.*scaled otherwise; give model\.prior_detail_std=0\.0, or"):
        started_from(starting_from(only_scaled, tiny_model))


def test_a_missing_model_is_named(tiny_config, tmp_path):
    with pytest.raises(BadWeights, match="nowhere"):
        started_from(starting_from(tiny_config, tmp_path / "nowhere"))


def test_a_landmark_net_that_is_there_stays(tmp_path, tiny_weights):
    bring_landmark_net(tmp_path, tiny_weights[1])
    bring_landmark_net(tmp_path, jax.tree.map(np.zeros_like, tiny_weights[1]))
    jax.tree.map(np.testing.assert_array_equal, load_tree(tmp_path / "landmark_net.safetensors"), tiny_weights[1])


def test_a_run_that_began_elsewhere_is_another_run(tiny_config, tmp_path):
    claim_folder(tmp_path, starting_from(tiny_config, "a"))
    with pytest.raises(BadConfig, match=r"train\.start_from = 'a', not 'b'"):
        claim_folder(tmp_path, starting_from(tiny_config, "b"))


def test_a_run_of_an_older_version_can_go_on(tiny_config, tmp_path):
    claim_folder(tmp_path, tiny_config)
    path = tmp_path / "config.json"
    text = path.read_text()
    assert '"start_from": "",' in text
    path.write_text(text.replace('"start_from": "",', ""))
    claim_folder(tmp_path, tiny_config)
    with pytest.raises(BadConfig, match="start_from"):
        claim_folder(tmp_path, starting_from(tiny_config, "b"))
