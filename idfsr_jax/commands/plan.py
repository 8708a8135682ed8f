"""The command `plan`: what a training run will need, before there is a machine for it."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import tyro

from idfsr_jax.commands.options import say
from idfsr_jax.config import Config
from idfsr_jax.config.checks import check_config, read_config
from idfsr_jax.io.arguments import require_between
from idfsr_jax.io.errors import InputError
from idfsr_jax.runtime.compile_cache import use_compile_cache

if TYPE_CHECKING:
    from idfsr_jax.training.plan import Plan

_MAX_DEVICES = 65_536
_MEMORIES = MappingProxyType(
    {
        "h200": 141.0,
        "h100": 80.0,
        "a100": 80.0,
        "l40": 48.0,
        "l4": 24.0,
        "v4": 32.0,
        "v5e": 16.0,
        "v5p": 95.0,
        "v6e": 32.0,
    }
)
"""GiB of each kind of device, of the largest common variant, as its maker's data sheet has it."""


@dataclass(frozen=True)
class PlanOptions:
    """What to plan for."""

    devices: int = 8
    """How many devices there will be, all together."""
    memory: Annotated[str, tyro.conf.arg(metavar="NAME|GIB")] = "h100"
    """Memory of each device, GiB; or the kind of device: h200, h100, a100, l40, l4, v4, v5e, v5p, v6e."""


def plan(
    config: tyro.conf.Positional[Path], options: Annotated[PlanOptions, tyro.conf.arg(name="")] = PlanOptions()
) -> int:
    """Says what a training run will need: parameters, arithmetic, and memory a device.

    Neither data nor an accelerator is needed: shapes are worked out, and the step is compiled for this CPU, which takes
    some minutes.

    Args:
      config: A config file such as configs/lfw128.py. `idfsr plan CONFIG --help` lists what can be overridden.
      options: What to plan for.
    """
    return run_plan(read_config(config), options)


def run_plan(config: Config, options: PlanOptions) -> int:
    """Plans as asked for, prints, and returns the exit code, 0."""
    require_between(1, _MAX_DEVICES, devices=options.devices)
    # The number of devices is the command line's, whatever groups the config would make of them.
    check_config(replace(config, devices=replace(config.devices, data=0, fsdp=1)))
    import jax

    # Not even looked for: a plan must not take the memory of a device that others work on.
    jax.config.update("jax_platforms", "cpu")
    use_compile_cache()
    from idfsr_jax.training.plan import plan_run

    _show(plan_run(config, options.devices, memory=_memory(options.memory)))
    return 0


def _memory(given: str) -> float:
    """Memory of a device, GiB."""
    try:
        memory = _MEMORIES.get(given.lower()) or float(given)
    except ValueError:
        memory = math.nan
    if not 0 < memory < math.inf:
        raise InputError(f"--memory {given}: give the GiB of each device, or one of {', '.join(_MEMORIES)}.")
    return memory


def _show(planned: "Plan") -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{planned.name} on {planned.devices} devices of {_size(planned.memory_bytes)}"
    table = Table(title=title, title_justify="left", show_header=False)
    step, image = planned.step_flops / 1e12, planned.step_flops / planned.batch / 1e9
    rows = [
        ("batch", f"{planned.batch}, {planned.batch / planned.devices:g} a device"),
        ("parameters", f"{planned.parameters / 1e6:.2f} M"),
        ("arithmetic", f"{step:.2f} TFLOP a step, {image:.1f} GFLOP an image"),
        ("state", f"{_size(planned.state_bytes)} a device, {planned.fsdp} sharing a copy"),
        ("frozen networks", _size(planned.frozen_bytes)),
        (
            "activations, gradients",
            f"{_size(planned.working_bytes)} (estimate: {planned.compiled_examples} examples, compiled for a CPU)",
        ),
        ("in all", f"{_size(planned.device_bytes)} of {_size(planned.memory_bytes)} a device"),
        ("exchange", f"{_size(planned.exchanged_bytes)} of gradients a device and step"),
    ]
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
    for finding in planned.findings:
        say(finding)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
