"""One training step on many fake devices against one device; a state and a checkpoint that belong to no mesh."""

import re
import signal
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from idfsr_jax.config import Config, DeviceConfig
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.training.flops import of_leaves
from idfsr_jax.training.loop import compiled_step, train_denoiser
from idfsr_jax.training.mesh import (
    abstract_state,
    born_sharded,
    global_batch,
    make_mesh,
    placed,
    replicated,
    state_shardings,
    whole,
)
from idfsr_jax.training.state import apply_gradients, create_state, make_optimizer
from idfsr_jax.training.step import initial_state

BATCH, STEPS, SIZES = 8, 4, (128,)


def on(data: int, fsdp: int = 1, config: Config | None = None, **train) -> Config:
    """A configuration on so many devices."""
    config = Config() if config is None else config
    train = {"batch": BATCH, "steps": STEPS} | train
    return replace(config, train=replace(config.train, **train), devices=DeviceConfig(data, fsdp, fsdp_least=64))


def begun(config: Config, frozen, batch) -> tuple:
    """The step's arguments on the devices, and the state's description."""
    mesh, make = make_mesh(config), partial(initial_state, config, SIZES)
    like = abstract_state(make, mesh, config.devices)
    state = born_sharded(make, like)
    return (state, global_batch(batch(0, BATCH), mesh), placed(frozen, replicated(mesh))), like


def stepped(function, arguments, batch) -> tuple:
    """The state after some steps, and their losses and norms."""
    state, first, frozen = arguments
    metrics = []
    for number in range(STEPS):
        here = first if number == 0 else jax.device_put(batch(number, BATCH), first["target"].sharding)
        before = state
        state, measured = function(state, here, frozen)
        metrics.append(measured)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before)), "the state's buffers are not taken over"
    return state, [[float(each[name]) for name in ("loss", "gradient_norm")] for each in metrics]


@pytest.fixture(scope="module")
def alone(small_config, small_frozen, small_batch) -> tuple:
    """One device: the state as NumPy arrays, and the losses."""
    config = on(1, config=small_config)
    arguments, like = begun(config, small_frozen, small_batch)
    state, metrics = stepped(compiled_step(config, like=like), arguments, small_batch)
    assert np.ptp(np.array(metrics)[:, 0]) > 1e-3
    return whole(state), metrics


def test_devices_that_share_the_state_train_as_one_does(small_config, small_frozen, small_batch, alone):
    config = on(2, 4, small_config)
    arguments, like = begun(config, small_frozen, small_batch)
    function = compiled_step(config, like=like)
    state, metrics = stepped(function, arguments, small_batch)
    expected, expected_metrics = alone
    np.testing.assert_allclose(metrics, expected_metrics, rtol=0, atol=1e-6)
    for name in ("params", "ema"):
        pairs = zip(jax.tree.leaves(getattr(state, name)), jax.tree.leaves(getattr(expected, name)), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    # The shardings are kept, so that no step but the first is compiled.
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == jax.tree.map(lambda leaf: leaf.sharding, like)
    assert function._cache_size() == 1
    shares = [leaf.addressable_shards[0].data.size / leaf.size for leaf in jax.tree.leaves(state.params)]
    assert min(shares) == 1 / 4


def test_gradients_are_all_that_devices_with_the_whole_state_exchange(small_config, small_frozen, small_batch):
    # Of noised photographs alone: examples on the sampler's course are dealt out anew, which moves them.
    config = on(8, config=small_config, rollout_fraction=0.0)
    arguments, like = begun(config, small_frozen, small_batch)
    # Leaves alone, as JAX's descriptions of arguments are no arrays to the types of `Frozen`.
    flat, leaves = of_leaves(compiled_step(config, like=like).__wrapped__, arguments)
    returned = (jax.tree.map(lambda leaf: leaf.sharding, like), None)
    text = jax.jit(flat, out_shardings=returned).lower(*leaves).compile().as_text()
    found = set(re.findall(r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text))
    assert found == {"all-reduce"}


def test_random_numbers_are_the_same_however_they_are_shared():
    config = on(2, 4)
    make = lambda: jax.random.normal(jax.random.key(0), (16, 64))  # noqa: E731
    born = born_sharded(make, abstract_state(make, make_mesh(config), config.devices))
    assert born.addressable_shards[0].data.shape == (16, 16)
    np.testing.assert_allclose(born, make(), rtol=0, atol=1e-7)


def test_averages_and_moments_lie_where_their_parameters_do(small_config):
    config = on(1, 8, small_config)
    shapes = jax.eval_shape(partial(initial_state, config, SIZES))
    shardings = state_shardings(shapes, make_mesh(config), config.devices)
    params = jax.tree.leaves(shardings.params)
    assert params == jax.tree.leaves(shardings.ema)
    moments = [each for each in jax.tree.leaves(shardings.opt_state) if each.spec != PartitionSpec()]
    assert moments == 2 * [each for each in params if each.spec != PartitionSpec()]
    assert moments


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((3, 3, 16, 32), PartitionSpec(None, None, None, "fsdp")),
        ((3, 3, 32, 16), PartitionSpec(None, None, "fsdp")),
        ((32, 32), PartitionSpec(None, "fsdp")),
        ((30, 24), PartitionSpec(None, "fsdp")),
        ((30, 30), PartitionSpec()),
        ((32,), PartitionSpec()),
        ((), PartitionSpec()),
    ],
)
def test_the_largest_axis_that_can_be_is_shared(shape, spec):
    config = on(1, 8)
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert state_shardings(leaf, make_mesh(config), config.devices).spec == spec
    assert state_shardings(leaf, make_mesh(on(8)), config.devices).spec == PartitionSpec()


def test_all_devices_are_taken_unless_told_otherwise():
    assert dict(make_mesh(on(0)).shape) == {"data": 8, "fsdp": 1}
    assert dict(make_mesh(on(0, 4)).shape) == {"data": 2, "fsdp": 4}
    assert dict(make_mesh(on(3, batch=12)).shape) == {"data": 3, "fsdp": 1}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (on(16), "devices.data=16, devices.fsdp=1: there are 8 devices; give numbers"),
        (on(0, 3), "devices.data=0, devices.fsdp=3: there are 8 devices; give numbers"),
        (on(0, 16), "devices.data=0, devices.fsdp=16: there are 8 devices; give numbers"),
        (on(0, batch=12), "train.batch is 12, which cannot be spread evenly over 8 devices; give a multiple"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_in_a_sentence(config, sentence):
    with pytest.raises(BadConfig, match=re.escape(sentence)):
        make_mesh(config)


class NumberedBatches:
    """Batches that are functions of their number; with one of them a signal may come."""

    def __init__(self, stop: int | None = None) -> None:
        self.next, self.stop = 0, stop

    def __next__(self) -> dict[str, np.ndarray]:
        self.next += 1
        if self.next - 1 == self.stop:
            signal.raise_signal(signal.SIGTERM)
        return {"values": np.random.default_rng(self.next - 1).normal(size=(BATCH, 16)).astype(np.float32)}

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


def _linear_step(state, batch, frozen, *, config, optimizer):
    """A step of a single matrix."""

    def loss_of(params):
        return jnp.mean(jnp.square(batch["values"] @ params["kernel"] - batch["values"]))

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
    return apply_gradients(state, gradients, optimizer, jnp.float32(0.5)), metrics


def _linear_state(config: Config):
    return create_state({"kernel": jnp.zeros((16, 16))}, make_optimizer(config.train))


def _trained(config: Config, batches: NumberedBatches) -> tuple:
    return train_denoiser(config, {}, batches, make=partial(_linear_state, config), step_function=_linear_step)


def test_a_run_goes_on_on_another_number_of_devices(tmp_path):
    train = {"warmup_steps": 1, "learning_rate": 0.1}
    expected, _ = _trained(on(1, out=str(tmp_path / "alone"), **train), NumberedBatches())
    out = str(tmp_path / "run")
    half, number = _trained(on(8, out=out, **train), NumberedBatches(stop=1))
    assert (int(half.step), number) == (2, signal.SIGTERM)
    batches = NumberedBatches()
    state, number = _trained(on(1, 8, out=out, **train), batches)
    assert (int(state.step), number, batches.next) == (STEPS, 0, STEPS)
    assert state.params["kernel"].addressable_shards[0].data.shape == (16, 2)
    assert np.abs(np.asarray(expected.params["kernel"])).max() > 0.1
    np.testing.assert_allclose(state.params["kernel"], expected.params["kernel"], rtol=0, atol=1e-6)


def test_a_checkpoint_of_another_run_names_the_field(tmp_path):
    config = on(1, out=str(tmp_path / "run"), steps=1)
    _trained(config, NumberedBatches())
    wider = replace(config, model=replace(config.model, embedding=32))
    with pytest.raises(BadConfig, match=r"model\.embedding = 256, not 32; choose another train\.out"):
        _trained(wider, NumberedBatches())
