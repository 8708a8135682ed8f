"""What a training run will need and how fast it may be, told from shapes and a compiled program alone.

Nothing is read, nothing is computed, and no accelerator is needed: the state is `jax.eval_shape`'s, it is shared among
devices that need not exist (`jax.sharding.AbstractMesh`), and the step of one device is compiled for this machine's CPU
to see how much memory lies between its forward and its backward pass.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType

from idfsr_jax.config import Config, DeviceConfig
from idfsr_jax.errors import BadConfig
from idfsr_jax.training.abstract import abstract_batch, abstract_frozen
from idfsr_jax.training.loop import compiled_step
from idfsr_jax.training.mesh import DATA, FSDP, state_shardings
from idfsr_jax.training.speed import flops_of_step
from idfsr_jax.training.start import initial_state
from idfsr_jax.training.state import TrainState, make_optimizer
from idfsr_jax.training.step import Frozen, train_step

_PREALLOCATED = 0.75
"""Share of a GPU's memory that JAX takes unless told otherwise."""
_HASTY = MappingProxyType({"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})
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
      accumulate: parts that a batch is computed in.
      parameters: of the denoiser.
      step_flops: operations a step, all devices together, as XLA counts them before optimising.
      state_bytes: a device's part of parameters, averages and moments.
      frozen_bytes: LandmarkNet and recogniser, on every device.
      batch_bytes: a device's part of a batch.
      working_bytes: gradients and activations of a device, in the step that was compiled for one CPU device.
      exchanged_bytes: gradients that each device sends, and as many that it receives, a step.
      memory_bytes: of a device.
      images_per_second: all devices together, at `share` of `peak`.
      peak: operations a second of a device.
      share: assumed part of it that is reached.
      findings: what does not fit or must be known, a sentence each.
    """

    name: str
    devices: int
    fsdp: int
    batch: int
    accumulate: int
    parameters: int
    step_flops: float
    state_bytes: int
    frozen_bytes: int
    batch_bytes: int
    working_bytes: int
    exchanged_bytes: int
    memory_bytes: int
    images_per_second: float
    peak: float
    share: float
    findings: tuple[str, ...] = ()

    @property
    def device_bytes(self) -> int:
        """All that a device must hold."""
        return self.state_bytes + self.frozen_bytes + self.batch_bytes + self.working_bytes

    @property
    def fits(self) -> bool:
        """Whether a device can hold it."""
        return self.device_bytes <= self.memory_bytes


def step_cost(config: Config, devices: int) -> tuple[float, int]:
    """Operations of a step of the whole batch, and bytes that one of the devices takes for it beside its arguments.

    Operations are those of the program before it is optimised. The bytes are gradients and activations as the compiler
    for this machine's CPU places them. Other compilers keep other things, and what is bfloat16 in the model is float32
    on a CPU in part, so that of such a model this is rather too much.
    """
    # The loop over the parts of a batch would be counted once.
    whole = dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=1))
    flops = flops_of_step(_step, _arguments(whole), whole, make_optimizer(whole.train))
    one = _with_batch(config, device_batch(config, devices))
    step: Any = compiled_step(one, _step)
    memory = step.lower(*_arguments(one)).compile(compiler_options=dict(_HASTY)).memory_analysis()
    return flops, memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def device_batch(config: Config, devices: int) -> int:
    """A device's share of a batch, or the next number of examples that a step on one device alone can deal out."""
    multiple = _batch_multiple(config, 1)
    return math.ceil(config.train.batch / devices / multiple) * multiple


def plan_run(
    config: Config,
    devices: int,
    *,
    peak: float,
    memory: float,
    share: float,
    cost: Callable[[Config, int], tuple[float, int]] = step_cost,
) -> Plan:
    """Plans a run of `config` on `devices` devices, `config.devices.fsdp` of them sharing a copy of the state.

    Args:
      config: the run; `config.devices.data` is not read.
      devices: how many there will be.
      peak: operations a second of each.
      memory: GiB of each.
      share: part of the peak that is assumed to be reached.
      cost: operations of a step and working bytes of a device; see `step_cost`.

    Raises:
      BadConfig: `devices.fsdp` does not divide the number of devices.
    """
    fsdp, accumulate = config.devices.fsdp, config.train.accumulate
    if devices % fsdp:
        raise BadConfig(f"devices.fsdp is {fsdp}, which does not divide {devices} devices; give a divisor.")
    asked, multiple = config.train.batch, _batch_multiple(config, devices)
    batch = math.ceil(asked / multiple) * multiple
    config = _with_batch(config, batch)
    state = jax.eval_shape(partial(initial_state, config))
    flops, working_bytes = cost(config, devices)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    plan = Plan(
        name=config.name,
        devices=devices,
        fsdp=fsdp,
        batch=batch,
        accumulate=accumulate,
        parameters=parameters,
        step_flops=flops,
        state_bytes=state_bytes(state, config.devices, devices, fsdp),
        frozen_bytes=_bytes(abstract_frozen(config)),
        batch_bytes=_bytes(abstract_batch(config)) // devices,
        working_bytes=working_bytes,
        exchanged_bytes=round(2 * (devices - 1) / devices * _bytes(state.params)),
        memory_bytes=round(memory * GIB),
        images_per_second=batch * share * peak * devices / flops,
        peak=peak,
        share=share,
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


def _step(state: Any, batch: Any, frozen: dict[str, Any], **static: Any) -> Any:
    """`train_step` of the fields of `Frozen`, which itself takes arrays only and no shapes."""
    return train_step(state, batch, Frozen(**frozen), **static)


def _arguments(config: Config) -> tuple[Any, ...]:
    return jax.eval_shape(partial(initial_state, config)), abstract_batch(config), abstract_frozen(config)


def _with_batch(config: Config, batch: int) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch=batch))


def _batch_multiple(config: Config, devices: int, accumulate: int | None = None) -> int:
    """What a batch must be a multiple of: see `mesh.make_mesh` and `config_checks`."""
    train = config.train
    parts = train.accumulate if accumulate is None else accumulate
    bears = train.judged_every if parts > 1 else 1
    return math.lcm(devices * parts, parts * bears)


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _findings(plan: Plan, config: Config, state: TrainState, asked: int) -> list[str]:
    found = []
    if plan.batch != asked:
        found.append(
            f"train.batch is {asked}, which {plan.devices} devices cannot share evenly; planned is the next that they "
            f"can: --train.batch {plan.batch}."
        )
    if config.model.dtype == "float32":
        found.append(
            "model.dtype is float32 and the peak is bfloat16's: a GPU reaches half of it at most (TF32); "
            "--model.dtype bfloat16."
        )
    if config.train.identity_loss > 0 and config.model.encoder != "dlib":
        found.append("The recogniser is taken for an IResNet-50; its file was not opened.")
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
    fits = lambda batch, parts: plan.state_bytes + rest + _working(plan, batch, parts) <= plan.memory_bytes  # noqa: E731
    for parts in range(plan.accumulate + 1, plan.batch // plan.devices + 1):
        if plan.batch % _batch_multiple(config, plan.devices, parts) == 0 and fits(plan.batch, parts):
            changes.append(f"--train.accumulate {parts}")
            break
    multiple = _batch_multiple(config, plan.devices)
    smaller = next((b for b in range(plan.batch - multiple, 0, -multiple) if fits(b, plan.accumulate)), None)
    if smaller is not None:
        changes.append(f"--train.batch {smaller}")
    needed = f"{plan.device_bytes / GIB:.1f} GiB a device are needed, and there are {plan.memory_bytes / GIB:.1f}"
    if not changes:
        return f"It does not fit: {needed}; give more devices with a larger devices.fsdp, or ones with more memory."
    one = "this should do" if len(changes) == 1 else "each of these alone should do"
    return f"It does not fit: {needed}; {one}: {', '.join(changes)}."


def _working(plan: Plan, batch: int, accumulate: int) -> int:
    """Working memory with another batch or in more parts: gradients stay, activations go with a part's examples."""
    gradients = 4 * plan.parameters
    activations = max(plan.working_bytes - gradients * (1 + (plan.accumulate > 1)), 0)
    examples = batch / accumulate / (plan.batch / plan.accumulate)
    return round(gradients * (1 + (accumulate > 1)) + examples * activations)
