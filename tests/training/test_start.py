"""Where a run begins: with another model's weights, with its own LandmarkNet, and in a folder of its own."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from idfsr_jax.config import TrainConfig
from idfsr_jax.data.faces import load_faces
from idfsr_jax.io.errors import BadConfig, BadWeights
from idfsr_jax.io.parameters import save_tree
from idfsr_jax.networks.recognisers import dimensions, load_recognisers, recognisers_name
from idfsr_jax.training.folder import claim_folder, landmark_net_of_run
from idfsr_jax.training.mesh import placed, replicated
from idfsr_jax.training.soundness import NonFiniteLoss
from idfsr_jax.training.start import beginning
from idfsr_jax.training.state import apply_gradients, make_optimizer, state_on_host
from idfsr_jax.training.step import initial_state


def starting_from(config, folder, **train):
    return replace(config, train=replace(config.train, start_from=str(folder), **train))


def begun(config):
    recognisers = load_recognisers(config.model.recognisers)
    return beginning(config, dimensions(recognisers), recognisers_name(recognisers), None)


def test_it_begins_with_the_models_weights_and_nothing_else_of_it(tiny_config, tiny_model, tiny_weights):
    state, net = begun(starting_from(tiny_config, tiny_model))
    jax.tree.map(np.testing.assert_array_equal, state.params, tiny_weights[0])
    jax.tree.map(np.testing.assert_array_equal, state.ema, tiny_weights[0])
    jax.tree.map(np.testing.assert_array_equal, net, tiny_weights[1])
    assert int(state.step) == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    fresh = jax.eval_shape(partial(initial_state, tiny_config, (128, 192)))
    of = partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    assert of(state) == of(fresh)


def test_without_another_model_weights_are_random_and_landmark_net_is_to_be_trained(tiny_config):
    assert begun(tiny_config) == (None, None)


def test_a_landmark_net_that_is_named_comes_before_that_of_the_model(tiny_config, tiny_model, tiny_weights, tmp_path):
    another = jax.tree.map(lambda leaf: leaf + 1, tiny_weights[1])
    save_tree(tmp_path / "net.safetensors", another)
    named = {"landmark_net": str(tmp_path / "net.safetensors")}
    for config in (starting_from(tiny_config, tiny_model, **named), starting_from(tiny_config, "", **named)):
        jax.tree.map(np.testing.assert_array_equal, begun(config)[1], another)


def test_no_device_has_the_state_that_it_begins_with_and_a_step_leaves_it_alone():
    optimizer, kernel = make_optimizer(TrainConfig(warmup_steps=0)), np.ones((4, 4), np.float32)
    state = state_on_host({"kernel": kernel.copy()}, optimizer)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(state))
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)

    @partial(jax.jit, donate_argnums=0)
    def step(state):
        return apply_gradients(state, {"kernel": state.params["kernel"] + 1.0}, optimizer, jnp.float32(0.5))

    # The average and the parameters are the same arrays on the host; donated, they must not become so on a device.
    for _ in range(2):
        last = step(step(placed(state, replicated(mesh))))
        np.testing.assert_array_equal(state.params["kernel"], kernel)
    assert np.abs(last.params["kernel"] - last.ema["kernel"]).max() > 0


@pytest.mark.parametrize(
    ("section", "fields", "sentence"),
    [
        ("model", {"channels": (16, 16)}, r"start_from=.*: is another network than this config\.model\."),
        ("model", {"recognisers": ("dlib",)}, r"start_from=.*: was trained with the recognisers .*\+.*, not dlib"),
        ("landmarks", {"channels": (8, 8, 8)}, r"start_from=.*: has another LandmarkNet than this config\.landmarks\."),
    ],
)
def test_a_model_of_another_kind_is_refused(tiny_config, tiny_model, section, fields, sentence):
    config = replace(tiny_config, **{section: replace(getattr(tiny_config, section), **fields)})
    with pytest.raises(BadConfig, match=sentence):
        begun(starting_from(config, tiny_model))


def test_a_missing_model_is_named(tiny_config, tmp_path):
    with pytest.raises(BadWeights, match="nowhere"):
        begun(starting_from(tiny_config, tmp_path / "nowhere"))


@pytest.fixture
def faces(noise_faces):
    return load_faces(noise_faces, "train", 32)


def test_landmark_net_is_trained_once_and_a_damaged_one_is_named(tiny_config, faces, tmp_path):
    net = landmark_net_of_run(tmp_path, tiny_config, faces)
    assert sorted(path.suffix for path in tmp_path.glob("landmark_net.*")) == [".safetensors", ".sha256"]
    # With another seed it would become another one.
    kept = landmark_net_of_run(tmp_path, replace(tiny_config, train=replace(tiny_config.train, seed=1)), faces)
    jax.tree.map(np.testing.assert_array_equal, kept, net)
    other = jax.tree.map(lambda leaf: leaf + 1.0, net)
    with pytest.raises(BadConfig, match="another LandmarkNet"):
        landmark_net_of_run(tmp_path, tiny_config, faces, other)
    begun = landmark_net_of_run(tmp_path / "begun", tiny_config, faces, other)
    jax.tree.map(np.testing.assert_array_equal, begun, other)
    jax.tree.map(np.testing.assert_array_equal, landmark_net_of_run(tmp_path / "begun", tiny_config, faces), other)
    path = tmp_path / "landmark_net.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadWeights, match=r"landmark_net\.safetensors"):
        landmark_net_of_run(tmp_path, tiny_config, faces)


def test_a_landmark_net_that_breaks_down_is_not_kept(tiny_config, faces, tmp_path):
    config = replace(tiny_config, landmarks=replace(tiny_config.landmarks, steps=6, learning_rate=3e38))
    with pytest.raises(NonFiniteLoss, match=r"with a lower learning rate than 3e\+38 \(--landmarks"):
        landmark_net_of_run(tmp_path, config, faces)
    assert not list(tmp_path.glob("landmark_net.*"))


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
