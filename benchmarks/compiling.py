"""The sampler's program compiled with XLA's own settings against the settings that the product uses on a CPU.

python -m benchmarks.compiling [--weights FOLDER] [--rounds 3] [--out FILE]

Compiled anew in every round, in turns, and run once for each compilation; the second run counts.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np

from benchmarks.table import publish
from idfsr_jax.method.denoiser import empty_condition
from idfsr_jax.method.sample import sample_pictures
from idfsr_jax.restore.conditions import agreement_of
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.restore.sampling import CPU_OPTIONS, starting_noise


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one if not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    restorer = Restorer.load(options.weights)
    config, size, networks = restorer.config, restorer.config.data.size, restorer.networks
    condition = empty_condition(1, size, config.model.references, config.model, restorer.sizes)
    noise = starting_noise(jax.random.key(0), 0, (size, size, 3))[None]
    held = agreement_of([np.zeros((8, 8, 3), np.uint8)], None, config)
    given, tree = jax.tree.flatten((networks.denoiser, condition, noise, held, networks.guide))

    def draw(*leaves: Any) -> Any:
        denoiser, condition, noise, held, guide = jax.tree.unflatten(tree, leaves)
        return sample_pictures(denoiser, condition, noise, config, restorer.sizes, held, guide=guide)

    lowered = jax.jit(draw).lower(*given)
    ways: dict[str, dict[str, Any]] = {"XLA's own": {}, "the product's": dict(CPU_OPTIONS)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, settings in ways.items():
            began = perf_counter()
            compiled = lowered.compile(compiler_options=settings)
            compiling = perf_counter() - began
            run = partial(lambda compiled: jax.block_until_ready(compiled(*given)), compiled)
            run()
            began = perf_counter()
            run()
            seconds[name].append((compiling, perf_counter() - began))
    medians = {name: [statistics.median(part) for part in zip(*each, strict=True)] for name, each in seconds.items()}
    base = medians["XLA's own"]
    rows = [[name, *(f"{part:.2f}" for part in each), f"{each[0] / base[0]:.2f}"] for name, each in medians.items()]
    title = f"The sampler of one face, {size} px, {config.sample.steps} steps, {config.sample.guidance} of guidance"
    publish(title, ["settings", "compiling, s", "a run, s", "compiling, ratio"], rows, medians, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
