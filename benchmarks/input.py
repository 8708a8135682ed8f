"""Examples a second that the host makes, with their pictures and without, against what a training step uses up.

python -m benchmarks.input configs/lfw128.py [--batches 20] [--out FILE]

Needs the data set of the config. All are measured apart, on the same machine, so the smaller one is the bound; with
`data.on_device` the host makes examples without their pictures.
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np

from benchmarks.table import publish
from idfsr_jax.config.checks import read_config
from idfsr_jax.data.examples import load_people, training_examples
from idfsr_jax.data.faces import load_faces
from idfsr_jax.io.errors import InputError
from idfsr_jax.networks.recognisers import dimensions, load_recognisers
from idfsr_jax.training.invented import invented_frozen
from idfsr_jax.training.loop import compiled_step
from idfsr_jax.training.step import initial_state, train_step


def main() -> int:
    """Prints the table; 2 if there is no data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a config file such as configs/lfw128.py")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    try:
        config = read_config(options.config)
        recognisers = load_recognisers(config.model.recognisers)
        sizes = dimensions(recognisers)
        faces = load_faces(config.data.dataset, config.data.train_split, config.data.size)
        center = np.asarray(faces.index.embeddings, np.float32).mean(0)
        people = load_people(faces, center, sizes, config.model.references)
    except InputError as error:
        print(f"input: {error}", file=sys.stderr)
        return 2
    batch, rates = config.train.batch, {}
    kept: list[Any] = []
    for name, pictures in (("made with pictures", True), ("made without", False)):
        batches = iter(training_examples(people, 0, batch, threads=config.data.workers, pictures=pictures))
        kept = kept or [next(batches) for _ in range(3)]
        began = perf_counter()
        for _ in range(options.batches):
            next(batches)
        rates[name] = options.batches * batch / (perf_counter() - began)

    frozen = invented_frozen(config, recognisers, people)
    step, state = compiled_step(config, train_step), initial_state(config, sizes)
    state, _ = step(state, kept[0], frozen)
    jax.block_until_ready(state)
    began = perf_counter()
    for number in range(options.batches):
        state, _ = step(state, kept[number % len(kept)], frozen)
    jax.block_until_ready(state)
    rates["used up by the step"] = used = options.batches * batch / (perf_counter() - began)
    rows = [[name, f"{rate:.1f}", f"{rate / used:.2f}"] for name, rate in rates.items()]
    title = f"{config.name}: examples a second, batches of {batch}"
    publish(title, ["", "examples a second", "of what is used up"], rows, rates, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
