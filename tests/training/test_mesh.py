"""One training step on many fake devices, and in many parts, against one device and one part."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from idfsr_jax.config import Config, DataConfig, DeviceConfig, LandmarkConfig, ModelConfig, TrainConfig
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.networks.landmark_net import LandmarkNet
from idfsr_jax.training import loop, step
from idfsr_jax.training.loop import compiled_step, train_denoiser
from idfsr_jax.training.mesh import (
    abstract_state,
    batch_sharding,
    born_sharded,
    global_batch,
    make_mesh,
    microbatches,
    placed,
    replicated,
    state_shardings,
    whole,
)
from idfsr_jax.training.start import initial_state
from idfsr_jax.training.step import Frozen, draw_examples, mean_gradients

BATCH, STEPS, SIDE = 16, 4, 16
TINY = Config(
    data=DataConfig(size=SIDE, scales=(4, 8), scale_weights=(1.0, 1.0), embedding_noise=0.5),
    model=ModelConfig(channels=(8,), blocks=(1,), attention_at=1, embedding=16, identity_tokens=1),
    landmarks=LandmarkConfig(size=SIDE, channels=(4,)),
    train=TrainConfig(batch=BATCH, steps=STEPS, warmup_steps=2, log_every=1, samples_every=1000, checkpoint_every=2),
)


def configured(data: int, fsdp: int = 1, **train) -> Config:
    return replace(TINY, train=replace(TINY.train, **train), devices=DeviceConfig(data, fsdp, fsdp_least=64))


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    net = LandmarkNet(TINY.landmarks).init(jax.random.key(1), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    ring = 0.5 + 0.3 * np.stack([np.cos(angle), np.sin(angle)], -1) * (1 + 0.1 * np.cos(3 * angle))[:, None]
    net["points"]["bias"] = jnp.asarray((ring - 0.5) / 0.1, jnp.float32).reshape(-1)
    return Frozen(net, None, jnp.zeros(128))


def batch_of(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    ring = 0.5 + 0.3 * np.stack([np.cos(angle), np.sin(angle)], -1) * (1 + 0.1 * np.cos(3 * angle))[:, None]
    landmarks = (ring + rng.normal(scale=0.01, size=(2, BATCH, 68, 2))).astype(np.float32)
    images = rng.integers(0, 256, (2, BATCH, SIDE, SIDE, 3), np.uint8)
    descriptors = rng.normal(size=(2, BATCH, 128)).astype(np.float32)
    return {
        "target": images[0],
        "target_landmarks": landmarks[0],
        "reference": images[1],
        "reference_landmarks": landmarks[1],
        "embedding": descriptors[0],
        "target_embedding": descriptors[1],
        "scale": rng.integers(0, 2, BATCH).astype(np.int32),
    }


class NumberedBatches:
    """Batches that are functions of their number."""

    def __init__(self) -> None:
        self.next = 0

    def __next__(self) -> dict[str, np.ndarray]:
        self.next += 1
        return batch_of(self.next - 1)

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


def stepped(config: Config, frozen: Frozen) -> tuple:
    """The state and its description, the losses of some steps, and the step function."""
    mesh, make = make_mesh(config), partial(initial_state, config)
    like = abstract_state(make, mesh, config.devices)
    function, state = compiled_step(config, like=like), born_sharded(make, like)
    frozen, losses = placed(frozen, replicated(mesh)), []
    for number in range(STEPS):
        before = state
        state, metrics = function(state, global_batch(batch_of(number), mesh), frozen)
        losses.append(metrics)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before)), "the state's buffers are not taken over"
    return state, like, [float(metrics["loss"]) for metrics in losses], function


@pytest.fixture(scope="module")
def alone(frozen) -> tuple:
    """One device, one part: the state as NumPy arrays, and the losses."""
    state, _, losses, _ = stepped(configured(1), frozen)
    return whole(state), losses


@pytest.mark.parametrize(
    "config", [configured(8), configured(1, 8), configured(2, 2, accumulate=2)], ids=["data", "fsdp", "both, in parts"]
)
def test_many_devices_train_as_one_does(config, frozen, alone):
    state, like, losses, function = stepped(config, frozen)
    expected, expected_losses = alone
    assert np.ptp(losses) > 1e-3
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=1e-6)
    for name in ("params", "ema"):
        pairs = zip(jax.tree.leaves(getattr(state, name)), jax.tree.leaves(getattr(expected, name)), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    # The shardings are kept, so that no step but the first is compiled.
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == jax.tree.map(lambda leaf: leaf.sharding, like)
    assert function._cache_size() == 1
    shares = [leaf.addressable_shards[0].data.size / leaf.size for leaf in jax.tree.leaves(state.params)]
    assert min(shares) == 1 / config.devices.fsdp


def test_only_sums_are_exchanged_where_every_device_has_the_whole_state(frozen):
    config = configured(8)
    mesh, make = make_mesh(config), partial(initial_state, config)
    like = abstract_state(make, mesh, config.devices)
    arguments = (born_sharded(make, like), global_batch(batch_of(0), mesh), placed(frozen, replicated(mesh)))
    # Leaves alone, as JAX's descriptions of arguments are no arrays to the types of `Frozen`.
    leaves, structure = jax.tree.flatten(arguments)
    function = compiled_step(config, like=like)
    text = jax.jit(lambda *leaves: function(*jax.tree.unflatten(structure, leaves))).lower(*leaves).compile().as_text()
    found = set(re.findall(r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", text))
    assert found == {"all-reduce"}


@pytest.mark.parametrize("every", [1, 2, 4])
def test_parts_one_by_one_give_the_gradients_of_the_whole(frozen, monkeypatch, every):
    # A recogniser of a few numbers stands for the real one: what counts is whose loss is taken.
    mix = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, 128)).astype(np.float32)

    def seen(encoder, images, landmarks, center):
        described = images.reshape(images.shape[0], -1) @ mix + landmarks.sum((1, 2))[:, None]
        return described / jnp.linalg.norm(described, axis=1, keepdims=True)

    monkeypatch.setattr(step, "identity_of", seen)
    config = configured(1, identity_loss=0.3, identity_loss_fraction=1 / every)
    params, key = initial_state(config).params, jax.random.key(3)
    params = jax.tree.map(lambda leaf: leaf + 0.01, params)  # nothing is zero, as it is at the start
    examples = jax.jit(partial(draw_examples, config=config))(batch_of(0), frozen, key=key)

    def gradients(accumulate: int):
        parted = replace(config, train=replace(config.train, accumulate=accumulate))
        return jax.jit(partial(mean_gradients, config=parted))(params, examples, frozen)

    (expected, parts), (found, parts_found) = gradients(1), gradients(4)
    assert set(parts_found) == {"loss", "v_loss", "identity_loss"}
    for name, value in parts.items():
        np.testing.assert_allclose(parts_found[name], value, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_dealing_out_a_batch_sends_nothing_between_devices():
    mesh = make_mesh(configured(4, 2))
    x = jax.device_put(np.arange(64 * 3, dtype=np.float32).reshape(64, 3), batch_sharding(mesh))
    compiled = jax.jit(partial(microbatches, count=4, run=2)).lower(x).compile()
    dealt = compiled(x)
    assert dealt.sharding.spec == PartitionSpec(None, ("data", "fsdp"))
    assert not re.search("all-|collective", compiled.as_text())
    numbers = np.asarray(dealt)[:, :, 0] / 3
    np.testing.assert_array_equal(np.sort(numbers.reshape(-1)), np.arange(64))
    np.testing.assert_array_equal(numbers[1, :4], [2, 3, 10, 11])
    # Every second example of a part is one of every second of the batch.
    assert np.all(numbers[:, ::2] % 2 == 0)


def test_the_state_is_the_same_however_it_is_born():
    expected = jax.device_get(initial_state(configured(1)))
    for config in (configured(1), configured(2, 4)):
        make = partial(initial_state, config)
        state = born_sharded(make, abstract_state(make, make_mesh(config), config.devices))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-7), whole(state), expected)


def test_averages_and_moments_lie_where_their_parameters_do():
    config = configured(1, 8)
    shapes = jax.eval_shape(partial(initial_state, config))
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
    config = configured(1, 8)
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert state_shardings(leaf, make_mesh(config), config.devices).spec == spec
    assert state_shardings(leaf, make_mesh(configured(8)), config.devices).spec == PartitionSpec()


def test_all_devices_are_taken_unless_told_otherwise():
    assert dict(make_mesh(configured(0)).shape) == {"data": 8, "fsdp": 1}
    assert dict(make_mesh(configured(0, 4)).shape) == {"data": 2, "fsdp": 4}
    assert dict(make_mesh(configured(3, batch=12)).shape) == {"data": 3, "fsdp": 1}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (configured(16), "devices.data=16, devices.fsdp=1: there are 8 devices; give numbers"),
        (configured(0, 3), "devices.data=0, devices.fsdp=3: there are 8 devices; give numbers"),
        (configured(0, 16), "devices.data=0, devices.fsdp=16: there are 8 devices; give numbers"),
        (configured(0, batch=12), "train.batch is 12, which cannot be spread evenly over 8 devices; give a multiple"),
        (configured(0, accumulate=4), "cannot be spread evenly over 8 devices in 4 parts; give a multiple of 32"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_in_a_sentence(config, sentence):
    with pytest.raises(BadConfig, match=re.escape(sentence)):
        make_mesh(config)


def test_a_run_goes_on_on_another_number_of_devices(tmp_path, frozen, alone, monkeypatch):
    functions = []

    def spied(*arguments, **options):
        functions.append(compiled_step(*arguments, **options))
        return functions[-1]

    monkeypatch.setattr(loop, "compiled_step", spied)
    out = {"out": str(tmp_path / "run")}
    # The schedule is that of the whole run, so that it is stopped half-way and not made shorter.
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_signal", _StopAfter(2))
        half, number = train_denoiser(configured(8, **out), frozen, NumberedBatches())
    assert (int(half.step), number) == (2, 15)
    batches = NumberedBatches()
    state, number = train_denoiser(configured(1, 8, **out), frozen, batches)
    assert (int(state.step), number, batches.next) == (STEPS, 0, STEPS)
    for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(alone[0].params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert [function._cache_size() for function in functions] == [1, 1]


class _StopAfter:
    """In the place of `stop_signal`: SIGTERM after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self):
        return self

    def __enter__(self):
        return self.ask

    def __exit__(self, *error) -> None:
        pass

    def ask(self) -> int:
        self.steps -= 1
        return 15 if self.steps <= 0 else 0


def test_a_checkpoint_of_another_run_names_the_field(tmp_path, frozen):
    config = configured(1, out=str(tmp_path / "run"), steps=1)
    train_denoiser(config, frozen, NumberedBatches())
    wider = replace(config, model=replace(config.model, embedding=32))
    with pytest.raises(BadConfig, match=r"model\.embedding = 16, not 32; choose another train\.out"):
        train_denoiser(wider, frozen, NumberedBatches())
