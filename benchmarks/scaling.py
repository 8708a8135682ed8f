"""How training scales with devices: images a second and memory on 1, 2, 4, 8, ... of this machine's devices.

python -m benchmarks.scaling configs/lfw128.py [--batch 12] [--steps 10] [--fsdp 1] [--out scaling.json]

The batch is per device, of noise in the place of photographs, so that an ideal machine doubles its images a second
with its devices. Fake devices (JAX_NUM_CPU_DEVICES=8) share the same cores: there, the last column only shows that
nothing is computed twice.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path

import jax

from idfsr_jax.config import Config
from idfsr_jax.config.checks import check_config, read_config
from idfsr_jax.data.examples import training_examples
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import write_atomically
from idfsr_jax.networks.recognisers import dimensions, load_recognisers
from idfsr_jax.training.distributed import start_processes
from idfsr_jax.training.invented import invented_frozen, invented_people
from idfsr_jax.training.loop import compiled_step
from idfsr_jax.training.mesh import abstract_state, born_sharded, global_batch, make_mesh, placed, replicated
from idfsr_jax.training.step import initial_state, train_step


def main() -> int:
    """Prints the table; returns 2 where the config cannot be run on these devices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a config file such as configs/lfw128.py")
    parser.add_argument("--batch", type=int, default=12, help="examples per device")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--fsdp", type=int, default=1, help="devices that share a copy of the state")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    try:
        config, rows = read_config(arguments.config), []
        start_processes("")
        print(machine())
        print("devices | images/s | ms a step | state, MB a device | times one device")
        for count in (2**power for power in range(len(jax.devices()).bit_length())):
            if count % arguments.fsdp == 0:
                rows.append(measured(config, count, arguments))
                first = rows[0]["images_per_second"] / rows[0]["devices"]
                print(line(rows[-1], rows[-1]["images_per_second"] / first), flush=True)
    except InputError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    if arguments.out is not None:
        options = {name: str(value) for name, value in vars(arguments).items()}
        report = json.dumps({"machine": machine(), "options": options, "rows": rows}, indent=2)
        write_atomically(arguments.out, lambda file: file.write(report.encode()))
    return 0


def line(row: dict[str, float], times_one: float) -> str:
    """A line of the table."""
    return (
        f"{row['devices']:7d} | {row['images_per_second']:8.2f} | {row['step_ms']:9.1f} | "
        f"{row['state_megabytes']:18.1f} | {times_one:.2f}"
    )


def machine() -> str:
    """What this was measured on, in a line."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{len(jax.devices())} x {device.device_kind} ({device.platform}), {cores} cores, {platform.machine()}, "
        f"JAX {jax.__version__}, Python {platform.python_version()}"
    )


def measured(config: Config, count: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Times steps on the first `count` devices, the first step left out."""
    batch = arguments.batch * count
    config = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, batch=batch),
        devices=dataclasses.replace(config.devices, data=count // arguments.fsdp, fsdp=arguments.fsdp),
    )
    check_config(config)
    recognisers = load_recognisers(config.model.recognisers)
    sizes = dimensions(recognisers)
    people = invented_people(config, sizes)
    mesh, make = make_mesh(config), partial(initial_state, config, sizes)
    like = abstract_state(make, mesh, config.devices)
    step, state = compiled_step(config, train_step, like), born_sharded(make, like)
    frozen = placed(invented_frozen(config, recognisers, people), replicated(mesh))
    examples = global_batch(next(iter(training_examples(people, 0, batch))), mesh)
    state, metrics = jax.block_until_ready(step(state, examples, frozen))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    began = time.perf_counter()
    for _ in range(arguments.steps):
        state, metrics = step(state, examples, frozen)
    jax.block_until_ready((state, metrics))
    seconds = (time.perf_counter() - began) / arguments.steps
    return {
        "devices": count,
        "images_per_second": batch / seconds,
        "step_ms": 1e3 * seconds,
        "state_megabytes": held / 1e6,
    }


if __name__ == "__main__":
    sys.exit(main())
