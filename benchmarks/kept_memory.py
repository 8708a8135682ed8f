"""A training step with freed memory kept, as `idfsr` does it (`runtime/memory.py`), beside glibc's own way.

    python -m benchmarks.kept_memory configs/lfw128.py

Two processes train on noise and take turns, a step each.
"""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tyro

from benchmarks.table import interleaved, milliseconds, publish
from benchmarks.where_time_goes import Options, parts_of_a_step
from idfsr_jax.config.checks import read_config
from idfsr_jax.io.errors import InputError
from idfsr_jax.runtime.compile_cache import use_compile_cache
from idfsr_jax.runtime.memory import keep_memory


def main() -> int:
    """Prints the table; 2 where the config makes no sense."""
    options = tyro.cli(Options, description=__doc__)
    try:
        read_config(options.config)
    except InputError as error:
        print(f"kept_memory: {error}", file=sys.stderr)
        return 2
    context = multiprocessing.get_context("spawn")
    ends = {}
    for name, keep in (("kept", True), ("glibc", False)):
        ends[name], other = context.Pipe()
        context.Process(target=train_when_asked, args=(other, options.config, keep), daemon=True).start()
    faults: dict[str, list[int]] = {name: [] for name in ends}

    def turn(name: str) -> Callable[[], None]:
        def step() -> None:
            ends[name].send(True)
            faults[name].append(ends[name].recv())

        return step

    seconds = interleaved({name: turn(name) for name in ends}, options.rounds)
    for end in ends.values():
        end.send(False)
    middle = {name: float(np.median(each)) for name, each in seconds.items()}
    # The first step compiles.
    pages = {name: int(np.median(each[1:])) for name, each in faults.items()}
    rows = [
        [name, milliseconds(seconds[name]), f"{middle[name] / middle['glibc']:.2f}", f"{pages[name]:,}"]
        for name in ends
    ]
    header = ["memory", "a step, ms", "of glibc's time", "page faults"]
    publish(f"A training step of {options.config}", header, rows, {"seconds": middle, "faults": pages}, options.out)
    return 0


def train_when_asked(asked: Connection, config: Path, keep: bool) -> None:
    """Does a step for each True, and answers with the page faults that it took; False ends it."""
    if keep:
        keep_memory()
    use_compile_cache()
    step: Callable[[], object] | None = None
    while asked.recv():
        # Not before it is asked, so that the second process finds what the first has compiled.
        step = step or parts_of_a_step(read_config(config))["whole step"]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step()
        asked.send(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


if __name__ == "__main__":
    sys.exit(main())
