"""Fitting many people at once against one by one, with the shipped model, on albums of noise.

python -m benchmarks.fit_many [--people 64] [--photographs 5] [--out FILE]

What is in a photograph changes nothing about how long a fit takes.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import publish
from idfsr_jax.evaluation.fits import fit_people
from idfsr_jax.restorer import Restorer
from idfsr_jax.training.fit import Album


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--photographs", type=int, default=5, help="of each person")
    parser.add_argument("--steps", type=int, help="of fitting; as the model fits if not given")
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one if not given")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    restorer = Restorer.load(options.weights)
    config = restorer.config
    if options.steps is not None:
        config = replace(config, fit=replace(config.fit, steps=options.steps))
    rng = np.random.default_rng(0)
    size, dimension = config.data.size, config.model.identity_dim

    def unit(*shape: int) -> jax.Array:
        vectors = rng.normal(size=(*shape, dimension)).astype(np.float32)
        return jnp.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))

    def album() -> Album:
        count = options.photographs
        images = rng.uniform(-1, 1, (count, size, size, 3)).astype(np.float32)
        landmarks = rng.uniform(0.3, 0.7, (count, 68, 2)).astype(np.float32)
        return Album(jnp.asarray(images), jnp.asarray(landmarks), unit(count))

    def seconds_of(people: int) -> tuple[float, np.ndarray]:
        began = perf_counter()
        fitted, _, _ = fit_people(starts[:people], albums[:people], restorer, config)
        return perf_counter() - began, fitted

    albums = [album() for _ in range(options.people)]
    starts = np.asarray(unit(options.people))
    rows, facts = [], []
    groups = [count for count in (1, 4, 16, 64) if count < options.people] + [options.people]
    alone = None
    for count in groups:
        cold, first = seconds_of(count)
        warm, _ = seconds_of(count)
        alone = first[0] if alone is None else alone
        per_person = warm / count
        facts.append({"people": count, "cold": cold, "warm": warm, "difference": float(np.abs(first[0] - alone).max())})
        rate = facts[0]["warm"] / per_person
        rows.append([str(count), f"{cold:.1f}", f"{warm:.1f}", f"{per_person:.2f}", f"{rate:.2f}"])
    title = f"Fitting {config.fit.steps} steps on {options.photographs} photographs each, {size} px"
    header = ["people at once", "first time, s", "again, s", "a person, s", "rate against one by one"]
    publish(title, header, rows, facts, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
