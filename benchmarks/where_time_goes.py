"""Where the time of a forward pass goes, by kind of operation, from JAX's profiler.

    python -m benchmarks.where_time_goes --weights MODEL_FOLDER

Sums the durations of the compiled program's operations over all threads; operations that run within others, as on a
CPU's thread pool, are counted once, under the outermost.
"""

import gzip
import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.table import publish
from idfsr_jax.models.denoiser import denoiser_of, empty_inputs
from idfsr_jax.weights import load_model


@dataclass(frozen=True)
class Options:
    """What is looked at."""

    weights: Path | None = None
    """Model folder; the shipped model if not given."""
    batch: int = 1
    """Pictures at a time."""
    passes: int = 10
    """That are traced."""
    out: Path | None = None
    """Also write the table as JSON."""


def main() -> int:
    """Prints the shares."""
    options = tyro.cli(Options, description=__doc__)
    model = load_model(options.weights)
    config = model.config
    size, count = config.data.size, options.batch
    picture, log_snr, condition = empty_inputs(count, size, config.model)
    x_t = jnp.asarray(np.random.default_rng(0).normal(size=picture.shape), jnp.float32)
    network = denoiser_of(config)
    arguments = (model.denoiser, x_t, log_snr, condition)
    compiled = jax.jit(lambda params, *given: network.apply({"params": params}, *given)).lower(*arguments).compile()
    kinds = kinds_of(compiled.as_text())
    jax.block_until_ready(compiled(*arguments))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(options.passes):
                jax.block_until_ready(compiled(*arguments))
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    sums = durations(events, kinds)
    total = sum(sums.values())
    rows = [
        [kind, f"{microseconds / 1e3 / options.passes:.1f}", f"{microseconds / total:.0%}"]
        for kind, microseconds in sorted(sums.items(), key=lambda item: -item[1])
    ]
    facts = {kind: microseconds / 1e3 / options.passes for kind, microseconds in sums.items()}
    publish(f"A forward pass, {size} px, batch {count}", ["operations", "ms", "share"], rows, facts, options.out)
    return 0


def kinds_of(program: str) -> dict[str, str]:
    """The kind of every operation of a compiled program: by what is inside, where operations were fused.

    Args:
      program: HLO text.
    """
    bodies: dict[str, str] = {}
    for head, body in re.findall(r"^(?:ENTRY )?%?([\w.-]+) [^\n]*\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL):
        bodies[head] = body
    kinds = {}
    for name, rest in re.findall(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*)$", program, re.MULTILINE):
        called = re.search(r"(?:calls|to_apply)=%?([\w.-]+)", rest)
        kinds[name] = _kind(rest + (bodies.get(called[1], "") if called else ""))
    return kinds


def _kind(text: str) -> str:
    for sign, kind in (
        ("convolution(", "convolutions"),
        ("dot(", "matrix products"),
        ("custom-call(", "custom calls"),
        ("reduce(", "sums (norms, softmax)"),
    ):
        if sign in text:
            return kind
    return "element by element, copies"


def durations(events: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> dict[str, float]:
    """Microseconds of each kind of operation; of operations within others on the same thread the outer ones count."""
    sums: dict[str, float] = defaultdict(float)
    ends: dict[Any, float] = defaultdict(float)
    known = [event for event in events if event.get("ph") == "X" and event["name"] in kinds]
    for event in sorted(known, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] >= ends[event["tid"]]:
            sums[kinds[event["name"]]] += event["dur"]
            ends[event["tid"]] = event["ts"] + event["dur"]
    return dict(sums)


if __name__ == "__main__":
    sys.exit(main())
