"""The command `plan`: what a training run will need and how fast it may be, before there is a machine for it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from idfsr_jax.arguments import require_between, require_writable
from idfsr_jax.commands.options import OptionalFloat, OptionalInt, OptionalPath, say
from idfsr_jax.compile_cache import use_compile_cache
from idfsr_jax.config import Config
from idfsr_jax.config_checks import check_config, read_config
from idfsr_jax.errors import InputError
from idfsr_jax.files import write_atomically

if TYPE_CHECKING:
    from idfsr_jax.training.plan import Plan

_MAX_DEVICES = 65_536


@dataclass(frozen=True)
class PlanOptions:
    """What to plan for."""

    devices: int = 8
    """How many devices there will be, all together."""
    fsdp: OptionalInt = None
    """How many of them share a copy of the state; the config's devices.fsdp if not given."""
    peak: Annotated[str, tyro.conf.arg(metavar="NAME|TFLOPS")] = "h100"
    """Kind of device (h200, h100, a100, l40, l4, v4, v5e, v5p, v6e), or its peak in TFLOP a second."""
    memory: OptionalFloat = None
    """Memory of each device, GiB; that of its kind if not given."""
    share: float = 0.3
    """Part of the peak that is assumed to be reached."""
    json: OptionalPath = None
    """File to write the plan to as well."""


def plan(
    config: tyro.conf.Positional[Path], options: Annotated[PlanOptions, tyro.conf.arg(name="")] = PlanOptions()
) -> int:
    """Says what a training run will need: parameters, arithmetic, memory a device, and images a second.

    Neither data nor an accelerator is needed: shapes are worked out, and the step is compiled for this CPU.

    Args:
      config: A config file such as configs/lfw64.py. `idfsr plan CONFIG --help` lists what can be overridden.
      options: What to plan for.
    """
    return run_plan(read_config(config), options)


def run_plan(config: Config, options: PlanOptions) -> int:
    """Plans as asked for, prints, and returns the exit code, 0."""
    require_between(1, _MAX_DEVICES, devices=options.devices)
    if config.model.recognisers:
        raise InputError(
            "model.recognisers: the step of a model of several recognisers cannot be planned; train it for ten steps "
            "(--train.steps 10) and read its log."
        )
    require_between(1, options.devices, fsdp=options.fsdp)
    if not 0 < options.share <= 1:
        raise InputError(f"--share {options.share:g}: give a part of the peak, above 0 and up to 1.")
    if options.json is not None and options.json.is_dir():
        raise InputError(f"--json {options.json}: is a folder; give the name of a file.")
    if options.json is not None:
        require_writable(options.json.parent)
    # The number of devices is the command line's, whatever groups the config would make of them.
    fsdp = config.devices.fsdp if options.fsdp is None else options.fsdp
    config = dataclasses.replace(config, devices=dataclasses.replace(config.devices, data=0, fsdp=1))
    check_config(config)
    config = dataclasses.replace(config, devices=dataclasses.replace(config.devices, fsdp=fsdp))
    import jax

    # Not even looked for: a plan must not take the memory of a device that others work on.
    jax.config.update("jax_platforms", "cpu")
    use_compile_cache()
    from idfsr_jax.training.plan import plan_run
    from idfsr_jax.training.speed import ACCELERATORS

    peak, memory = _device(options, {name: (each.peak, each.memory) for name, each in ACCELERATORS.items()})
    planned = plan_run(config, options.devices, peak=peak, memory=memory, share=options.share)
    _show(planned, options.peak)
    if options.json is not None:
        facts = dataclasses.asdict(planned) | {"device_bytes": planned.device_bytes, "fits": planned.fits}
        text = json.dumps(facts, indent=2) + "\n"
        write_atomically(options.json, lambda file: file.write(text.encode()))
    return 0


def _device(options: PlanOptions, known: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """Peak (operations a second) and memory (GiB) of a device."""
    named = known.get(options.peak.lower())
    try:
        peak = named[0] if named else float(options.peak) * 1e12
    except ValueError:
        peak = math.nan
    if not 0 < peak < math.inf:
        raise InputError(f"--peak {options.peak}: give TFLOP a second, or one of {', '.join(known)}.")
    memory = options.memory if options.memory is not None else named[1] if named else None
    if memory is None:
        raise InputError("--memory is missing; give the GiB of each device, or the device's name as --peak.")
    if not 0 < memory < math.inf:
        raise InputError(f"--memory {memory:g}: give the GiB of each device, a number above 0.")
    return peak, memory


def _show(planned: "Plan", device: str) -> None:
    from rich.console import Console
    from rich.table import Table

    named = device if not device[:1].isdigit() else f"{planned.peak / 1e12:g} TFLOP/s"
    table = Table(title=f"{planned.name} on {planned.devices} x {named}", title_justify="left", show_header=False)
    parts = f" in {planned.accumulate} parts" if planned.accumulate > 1 else ""
    per_device = planned.batch / planned.devices
    step, image = planned.step_flops / 1e12, planned.step_flops / planned.batch / 1e9
    seconds = planned.batch / planned.images_per_second
    rows = [
        ("batch", f"{planned.batch}, {per_device:g} a device{parts}"),
        ("parameters", f"{planned.parameters / 1e6:.2f} M"),
        ("arithmetic", f"{step:.2f} TFLOP a step, {image:.1f} GFLOP an image"),
        ("state", f"{_size(planned.state_bytes)} a device, {planned.fsdp} sharing a copy"),
        ("frozen networks", _size(planned.frozen_bytes)),
        ("activations, gradients", f"{_size(planned.working_bytes)} (estimate: compiled for a CPU)"),
        ("in all", f"{_size(planned.device_bytes)} of {_size(planned.memory_bytes)} a device"),
        (
            "exchange",
            f"{_size(planned.exchanged_bytes)} of gradients a device and step, "
            f"{planned.exchanged_bytes / seconds / 1e9:.0f} GB/s at the speed below",
        ),
        (
            "expected",
            f"{planned.images_per_second:,.0f} images/s at {planned.share:.0%} of "
            f"{planned.devices * planned.peak / 1e12:,.0f} TFLOP/s, "
            f"{1e3 * seconds:.3g} ms a step",
        ),
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
