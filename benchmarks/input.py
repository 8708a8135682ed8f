"""Examples a second that the input pipeline makes, against what a training step uses up.

python -m benchmarks.input configs/lfw64.py [--batches 20] [--out FILE]

Needs the data set of the config. Both are measured apart, on the same machine, so the smaller one is the bound.
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import publish
from idfsr_jax.config_checks import check_config, read_config
from idfsr_jax.data.pipeline import load_index, training_examples
from idfsr_jax.errors import InputError
from idfsr_jax.models.landmark_net import LandmarkNet
from idfsr_jax.networks.id_encoder import load_id_encoder
from idfsr_jax.training.loop import compiled_step
from idfsr_jax.training.start import initial_state
from idfsr_jax.training.step import Frozen


def main() -> int:
    """Prints the table; 2 if there is no data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a config file such as configs/lfw64.py")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    try:
        config = read_config(options.config)
        check_config(config)
        index = load_index(config.data.dataset, config.data.train_split)
        batches = iter(training_examples(config.data, 0, config.train.batch, config.data.train_split))
        kept = [next(batches) for _ in range(3)]
    except InputError as error:
        print(f"input: {error}", file=sys.stderr)
        return 2
    began = perf_counter()
    for _ in range(options.batches):
        next(batches)
    made = options.batches * config.train.batch / (perf_counter() - began)

    side = config.landmarks.size
    net = LandmarkNet(config.landmarks).init(jax.random.key(0), jnp.zeros((1, side, side, 3)))["params"]
    encoder = load_id_encoder() if config.train.identity_loss > 0 else None
    frozen = Frozen(net, encoder, jnp.asarray(np.asarray(index.embeddings, np.float32).mean(0)))
    step, state = compiled_step(config), initial_state(config)
    state, _ = step(state, kept[0], frozen)
    jax.block_until_ready(state)
    began = perf_counter()
    for number in range(options.batches):
        state, _ = step(state, kept[number % len(kept)], frozen)
    jax.block_until_ready(state)
    used = options.batches * config.train.batch / (perf_counter() - began)
    rows = [["made by the pipeline", f"{made:.1f}", ""], ["used up by the step", f"{used:.1f}", f"{made / used:.2f}"]]
    title = f"{config.name}: examples a second, batches of {config.train.batch}"
    publish(title, ["", "examples a second", "made / used"], rows, {"made": made, "used": used}, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
