"""What a training run will need, told from shapes and a compiled program alone.

No data is read, no step is taken, and no accelerator is needed: the state is `jax.eval_shape`'s, it is shared among
devices that need not exist (`jax.sharding.AbstractMesh`), and the step of one device is compiled for this machine's CPU
to see how much memory lies between its forward and its backward pass.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType

from idfsr_jax.config import Config, DeviceConfig
from idfsr_jax.data.examples import draw_example, gather, with_pictures
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.method.examples import Frozen
from idfsr_jax.networks.recognisers import dimensions, load_recognisers
from idfsr_jax.training.flops import flops_of, of_leaves
from idfsr_jax.training.invented import invented_frozen, invented_people
from idfsr_jax.training.mesh import DATA, FSDP, state_shardings
from idfsr_jax.training.state import TrainState, make_optimizer
from idfsr_jax.training.step import initial_state, train_step

_PREALLOCATED = 0.75
"""Share of a GPU's memory that JAX takes unless told otherwise."""
_PEOPLE = 10_000
"""Training people, whose mean embeddings every device has."""
_HASTY: Mapping[str, Any] = MappingProxyType(
    {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)
"""Half the time: the program is never run, and its machine code has no say in where its buffers lie."""
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """A run on so many devices.

    Attributes:
      name: of the configuration.
      devices: all of them.
      fsdp: devices that share a copy of the state.
      batch: examples a step, all devices together; that of the configuration, or the next that can be dealt out.
      parameters: of the denoiser.
      step_flops: operations a step, all devices together, as XLA counts them before optimising.
      state_bytes: a device's part of parameters, averages and moments.
      frozen_bytes: LandmarkNet, recognisers and what else every device has whole, but for the pictures.
      batch_bytes: a device's part of a batch.
      compiled_examples: of the step that was compiled: a device's part of a batch, or the fewest that a step can have.
      working_bytes: gradients and activations of that step.
      exchanged_bytes: gradients that each device sends, and as many that it receives, a step.
      memory_bytes: of a device.
      findings: what does not fit or must be known, a sentence each.
    """

    name: str
    devices: int
    fsdp: int
    batch: int
    parameters: int
    step_flops: float
    state_bytes: int
    frozen_bytes: int
    batch_bytes: int
    compiled_examples: int
    working_bytes: int
    exchanged_bytes: int
    memory_bytes: int
    findings: tuple[str, ...] = ()

    @property
    def device_bytes(self) -> int:
        """All that a device must hold."""
        return self.state_bytes + self.frozen_bytes + self.batch_bytes + self.working_bytes

    @property
    def fits(self) -> bool:
        """Whether a device can hold it."""
        return self.device_bytes <= self.memory_bytes


def step_arguments(config: Config) -> tuple[TrainState, dict[str, jax.ShapeDtypeStruct], Frozen]:
    """What `train_step` takes: shapes of the state and of a batch, and what it never changes."""
    recognisers = load_recognisers(config.model.recognisers)
    sizes = dimensions(recognisers)
    people = invented_people(config, sizes)
    frozen = invented_frozen(config, recognisers, people)
    frozen = frozen.replace(people=jnp.zeros((_PEOPLE, sum(sizes))))  # type: ignore[attr-defined]
    example = gather(people.faces.index, [draw_example(people, 0, np.random.default_rng(0))])
    one = jax.tree.map(jnp.asarray, with_pictures(example, people.faces.images))
    return jax.eval_shape(partial(initial_state, config, sizes)), _of_length(one, config.train.batch), frozen


def step_cost(config: Config, examples: int) -> tuple[float, int]:
    """Operations of a step of the whole batch, and bytes that one device takes for `examples` beside its arguments.

    Operations are those of the program before it is optimised. The bytes are gradients and activations as the compiler
    for this machine's CPU places them. Other compilers keep other things, and what is bfloat16 in the model is float32
    on a CPU in part, so that of such a model this is rather too much.
    """
    step = partial(train_step, config=config, optimizer=make_optimizer(config.train))
    state, batch, frozen = step_arguments(config)
    flat, leaves = of_leaves(step, (state, _of_length(batch, examples), frozen))
    donated = tuple(range(len(jax.tree.leaves(state))))
    compiled = jax.jit(flat, donate_argnums=donated).lower(*leaves).compile(compiler_options=dict(_HASTY))
    memory: Any = compiled.memory_analysis()
    working = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return flops_of(step, state, batch, frozen), working


def next_batch(config: Config, least: int, multiple: int) -> int:
    """The smallest batch of `least` or more that is such a multiple, and that `train.rollout_fraction` can divide."""
    batch, share = math.ceil(least / multiple) * multiple, config.train.rollout_fraction
    while share > 0 and not 0 < round(batch * share) < batch:
        batch += multiple
    return batch


def plan_run(
    config: Config,
    devices: int,
    *,
    memory: float,
    cost: Callable[[Config, int], tuple[float, int]] = step_cost,
) -> Plan:
    """Plans a run of `config` on `devices` devices, `config.devices.fsdp` of them sharing a copy of the state.

    Args:
      config: the run; `config.devices.data` is not read.
      devices: how many there will be.
      memory: GiB of each.
      cost: operations of a step and working bytes of so many examples on a device; see `step_cost`.

    Raises:
      BadConfig: `devices.fsdp` does not divide the number of devices, or there is no such recogniser.
    """
    fsdp = config.devices.fsdp
    if fsdp < 1 or devices % fsdp:
        raise BadConfig(f"devices.fsdp is {fsdp}, which does not divide {devices} devices; give a divisor.")
    asked = config.train.batch
    train = dataclasses.replace(config.train, batch=next_batch(config, asked, devices))
    config = dataclasses.replace(config, train=train)
    state, batch, frozen = step_arguments(config)
    examples = next_batch(config, config.train.batch // devices, 1)
    flops, working_bytes = cost(config, examples)
    plan = Plan(
        name=config.name,
        devices=devices,
        fsdp=fsdp,
        batch=config.train.batch,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        step_flops=flops,
        state_bytes=state_bytes(state, config.devices, devices, fsdp),
        frozen_bytes=_bytes(frozen),
        batch_bytes=_bytes(batch) // devices,
        compiled_examples=examples,
        working_bytes=working_bytes,
        exchanged_bytes=round(2 * (devices - 1) / devices * _bytes(state.params)),
        memory_bytes=round(memory * GIB),
    )
    return dataclasses.replace(plan, findings=tuple(_findings(plan, config, state, asked)))


def state_bytes(state: TrainState, config: DeviceConfig, devices: int, fsdp: int) -> int:
    """Bytes of a training state on each of some devices, `fsdp` of which share a copy; see `mesh.state_shardings`.

    Args:
      state: arrays or their shapes.
      config: says which arrays are too small to be shared.
      devices: all of them.
      fsdp: a divisor of `devices`.
    """
    mesh = AbstractMesh((devices // fsdp, fsdp), (DATA, FSDP), axis_types=(AxisType.Auto,) * 2)
    leaves, shardings = jax.tree.leaves(state), jax.tree.leaves(state_shardings(state, mesh, config))
    shards = [sharding.shard_shape(leaf.shape) for leaf, sharding in zip(leaves, shardings, strict=True)]
    return sum(math.prod(shape) * leaf.dtype.itemsize for leaf, shape in zip(leaves, shards, strict=True))


def _of_length(batch: Mapping[str, Any], length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a batch of so many examples."""
    return {name: jax.ShapeDtypeStruct((length, *x.shape[1:]), x.dtype) for name, x in batch.items()}


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _findings(plan: Plan, config: Config, state: TrainState, asked: int) -> list[str]:
    found = []
    if plan.batch != asked:
        found.append(
            f"train.batch is {asked}, which {plan.devices} devices cannot share evenly; planned is the next that they "
            f"can: --train.batch {plan.batch}."
        )
    if config.data.on_device:
        found.append(
            f"data.on_device: the pictures are not counted, {3 * config.data.size**2 / 1024:g} KiB each on every "
            "device, as no data is read."
        )
    if not plan.fits:
        found.append(_remedy(plan, config, state))
    elif plan.device_bytes > _PREALLOCATED * plan.memory_bytes:
        found.append(
            f"It fits, but needs more than the {_PREALLOCATED:.0%} of a GPU's memory that JAX takes by itself; set "
            "XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 there."
        )
    return found


def _remedy(plan: Plan, config: Config, state: TrainState) -> str:
    """What does not fit, and each single change that would make it, by the estimate of `_working`."""
    changes = []
    rest = plan.frozen_bytes + plan.batch_bytes
    for fsdp in (n for n in range(plan.fsdp + 1, plan.devices + 1) if plan.devices % n == 0):
        if state_bytes(state, config.devices, plan.devices, fsdp) + rest + plan.working_bytes <= plan.memory_bytes:
            changes.append(f"--devices.fsdp {fsdp}")
            break
    for batch in (n for n in range(plan.batch - 1, 0, -1) if next_batch(config, n, plan.devices) == n):
        working = _working(plan, next_batch(config, batch // plan.devices, 1))
        if plan.state_bytes + rest + working <= plan.memory_bytes:
            changes.append(f"--train.batch {batch}")
            break
    needed = f"{plan.device_bytes / GIB:.1f} GiB a device are needed, and there are {plan.memory_bytes / GIB:.1f}"
    if not changes:
        return f"It does not fit: {needed}; give more devices with a larger devices.fsdp, or ones with more memory."
    one = "this should do" if len(changes) == 1 else "each of these alone should do"
    return f"It does not fit: {needed}; {one}: {', '.join(changes)}."


def _working(plan: Plan, examples: int) -> int:
    """Working memory of another number of examples: gradients stay, activations go with the examples."""
    gradients = 4 * plan.parameters
    activations = max(plan.working_bytes - gradients, 0)
    return round(gradients + examples / plan.compiled_examples * activations)
