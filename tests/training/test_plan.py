import functools
import re
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks.small_run import noise_faces
from idfsr_jax.config import Config, DataConfig, DeviceConfig, LandmarkConfig, ModelConfig, SampleConfig, TrainConfig
from idfsr_jax.data.examples import load_people, training_examples
from idfsr_jax.data.faces import load_faces
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.networks.recognisers import dimensions, load_recognisers
from idfsr_jax.training import plan as planning
from idfsr_jax.training.mesh import make_mesh, placed, state_shardings
from idfsr_jax.training.plan import GIB, next_batch, plan_run, state_bytes, step_arguments, step_cost
from idfsr_jax.training.step import initial_state

SIZES = (192,)
TINY = Config(
    name="tiny",
    data=DataConfig(size=32, covered=0.0),
    model=ModelConfig(
        patch=4, channels=(8, 8), blocks=(1, 1), head_width=8, embedding=16, identity_tokens=1, attention_at=4,
        recognisers=("mobilefacenet",), references=2,
    ),
    landmarks=LandmarkConfig(channels=(4, 4, 4)),
    train=TrainConfig(batch=4, rollout_fraction=0.5, identity_losses=(0.0,), perceptual_loss=0.0),
    sample=SampleConfig(steps=2),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _arguments_once() -> Iterator[None]:
    """What a step takes is worked out but once for each number of examples."""
    kept = functools.cache(step_arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "step_arguments", lambda config: kept(with_train(TINY, batch=config.train.batch)))
        yield


def with_train(config: Config, **changes) -> Config:
    return replace(config, train=replace(config.train, **changes))


def with_fsdp(config: Config, fsdp: int) -> Config:
    return replace(config, devices=DeviceConfig(fsdp=fsdp, fsdp_least=16))


def plan_of(config: Config, devices: int = 4, *, memory: float = 1.0, working: int = 50_000_000):
    """A plan without a compile: each example takes so many bytes, and the gradients what they do."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(abstract_state(config).params))

    def cost(config: Config, examples: int) -> tuple[float, int]:
        return 1e9 * config.train.batch, 4 * parameters + working * examples

    return plan_run(config, devices, memory=memory, cost=cost)


def abstract_state(config: Config):
    return jax.eval_shape(functools.partial(initial_state, config, SIZES))


def test_the_bytes_of_a_state_are_those_that_real_devices_hold():
    config = with_fsdp(with_train(TINY, batch=8), 4)
    shapes = abstract_state(config)
    real = placed(initial_state(config, SIZES), state_shardings(shapes, make_mesh(config), config.devices))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(real))
    assert state_bytes(shapes, config.devices, 8, 4) == held
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(real))
    assert state_bytes(shapes, config.devices, 8, 1) == whole > 2 * held


def test_the_batch_is_what_training_makes(tmp_path, face_crop):
    faces = noise_faces(tmp_path, face_crop.landmarks, encoder="mobilefacenet-ms1m-v1", length=192)
    people = load_people(load_faces(faces, "train", TINY.data.size), np.zeros(192), SIZES, TINY.model.references)
    real = next(iter(training_examples(people, 0, TINY.train.batch)))
    _, abstract, frozen = step_arguments(TINY)
    assert {name: (x.shape, jax.dtypes.canonicalize_dtype(x.dtype)) for name, x in real.items()} == {
        name: (x.shape, x.dtype) for name, x in abstract.items()
    }
    assert dimensions(frozen.recognisers) == SIZES and frozen.people.shape[1:] == SIZES
    assert jax.tree.structure(frozen.recognisers) == jax.tree.structure(load_recognisers("mobilefacenet"))


def test_the_cost_of_a_step_is_that_of_the_program():
    # Of noised photographs alone, as what judges pictures takes a minute more to compile.
    flops, working = step_cost(with_train(TINY, rollout_fraction=0.0), 2)
    params = abstract_state(TINY).params
    # A forward pass, and twice as much backwards, over one place of each picture at the very least.
    kernels = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 4)
    assert flops > 3 * 2 * TINY.train.batch * kernels
    gradients = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    picture = 4 * 3 * TINY.data.size**2
    assert gradients + 2 * picture < working < 2**30


def test_memory_follows_from_the_parts():
    plan = plan_of(TINY, 2)
    # float32: parameters, averages, two moments; and the step and the optimiser's counts.
    assert 16 * plan.parameters <= plan.state_bytes < 16 * plan.parameters + 64
    assert plan.exchanged_bytes == 4 * plan.parameters
    assert plan.device_bytes == plan.state_bytes + plan.frozen_bytes + plan.batch_bytes + plan.working_bytes
    assert plan.fits and not plan.findings


@pytest.mark.parametrize(
    ("share", "least", "multiple", "found"), [(2 / 3, 12, 8, 16), (2 / 3, 1, 1, 2), (0.1, 2, 1, 6), (0.5, 64, 8, 64)]
)
def test_a_batch_has_both_kinds_of_examples_and_can_be_dealt_out(share, least, multiple, found):
    assert next_batch(with_train(TINY, rollout_fraction=share), least, multiple) == found


def test_a_batch_that_cannot_be_shared_is_raised_and_said():
    plan = plan_of(with_train(TINY, batch=3))
    assert plan.batch == 4 and plan.compiled_examples == 2
    assert any("train.batch is 3" in finding and "--train.batch 4" in finding for finding in plan.findings)


def test_pictures_on_the_devices_are_said_not_to_be_counted():
    (finding,) = plan_of(replace(TINY, data=replace(TINY.data, on_device=True))).findings
    assert "the pictures are not counted, 3 KiB each on every device" in finding


def test_what_does_not_fit_is_said_with_what_would():
    config = with_train(TINY, batch=32)
    plan = plan_of(config, working=10_000)
    least = plan.device_bytes - plan.state_bytes // 4
    short = plan_of(with_fsdp(config, 1), working=10_000, memory=least / GIB)
    (finding,) = [each for each in short.findings if "does not fit" in each]
    assert "--devices.fsdp 2" in finding and plan_of(with_fsdp(config, 2), working=10_000, memory=least / GIB).fits

    plan = plan_of(config)
    half = plan.state_bytes + plan.frozen_bytes + plan.batch_bytes + plan.working_bytes // 2
    short = plan_of(config, memory=half / GIB)
    (finding,) = [each for each in short.findings if "does not fit" in each]
    (smaller,) = re.findall(r"--train\.batch (\d+)", finding)
    assert "--devices.fsdp" not in finding and plan_of(with_train(config, batch=int(smaller)), memory=half / GIB).fits

    hopeless = plan_of(config, memory=1e-6)
    assert any("more memory" in finding for finding in hopeless.findings)


def test_a_gpu_that_keeps_a_quarter_back_is_told_not_to():
    plan = plan_of(TINY, 2)
    tight = plan_of(TINY, 2, memory=1.1 * plan.device_bytes / GIB)
    assert tight.fits and any("XLA_PYTHON_CLIENT_MEM_FRACTION" in finding for finding in tight.findings)


def test_groups_that_do_not_divide_the_devices_are_refused():
    with pytest.raises(BadConfig, match="does not divide 8 devices"):
        plan_of(with_fsdp(TINY, 3), 8)
