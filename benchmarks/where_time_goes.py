"""Where the time of a training step goes: its examples, the sampler's course, the gradient, the update.

    python -m benchmarks.where_time_goes configs/lfw128.py

Each part is a program of its own, on one device, of noise in the place of photographs; all take turns with the whole
step. A compiler that sees the whole at once may save some of it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.table import interleaved, milliseconds, publish
from idfsr_jax.config import Config
from idfsr_jax.config.checks import read_config
from idfsr_jax.data.examples import training_examples
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.examples import course_states, draw_examples, noised_count, step_inputs
from idfsr_jax.method.loss import training_loss
from idfsr_jax.networks.recognisers import dimensions, load_recognisers
from idfsr_jax.runtime.programs import compiler_options
from idfsr_jax.training.invented import invented_frozen, invented_people
from idfsr_jax.training.state import apply_gradients, make_optimizer
from idfsr_jax.training.step import initial_state, train_step


@dataclass(frozen=True)
class Options:
    """What is timed."""

    config: tyro.conf.Positional[Path]
    """A config file such as configs/lfw128.py."""
    rounds: int = 5
    """That count."""
    out: Path | None = None
    """Also write the table as JSON."""


def main() -> int:
    """Prints the table; 2 where the config makes no sense."""
    options = tyro.cli(Options, description=__doc__)
    try:
        config = read_config(options.config)
        parts = parts_of_a_step(config)
    except InputError as error:
        print(f"where_time_goes: {error}", file=sys.stderr)
        return 2
    seconds = interleaved(parts, options.rounds)
    whole = float(np.median(seconds["whole step"]))
    shares = {name: float(np.median(each)) / whole for name, each in seconds.items()}
    rows = [[name, milliseconds(each), f"{shares[name]:.0%}"] for name, each in seconds.items()]
    title = f"A step of {config.name}, {config.data.size} px, batch {config.train.batch}"
    publish(title, ["part", "ms", "of the whole"], rows, shares, options.out)
    return 0


def parts_of_a_step(config: Config) -> dict[str, Callable[[], object]]:
    """Functions that do a part of a step each, and one that does all of it."""
    recognisers = load_recognisers(config.model.recognisers)
    sizes, optimizer = dimensions(recognisers), make_optimizer(config.train)
    people = invented_people(config, sizes)
    frozen, state = invented_frozen(config, recognisers, people), initial_state(config, sizes)
    batch = jax.tree.map(jnp.asarray, next(iter(training_examples(people, 0, config.train.batch))))
    keys = (jax.random.key(0), jax.random.key(1))
    *drawn, noise, log_snr = jax.jit(partial(step_inputs, config=config, keys=keys))(state.params, batch, frozen)
    judged = jax.tree.map(lambda x: x[noised_count(config.train.batch, config) :], drawn[-1])
    loss = partial(training_loss, config=config)
    work: dict[str, tuple[Callable[..., object], tuple]] = {
        "examples": (partial(draw_examples, config=config, key=keys[0]), (batch, frozen)),
        "the sampler's course": (
            partial(course_states, sizes=sizes, config=config, key=keys[1]),
            (state.params, judged),
        ),
        "gradient": (
            jax.grad(lambda *arguments: loss(*arguments)[0]),
            (state.params, *drawn, noise, log_snr, frozen),
        ),
        "update": (
            lambda state, gradients: apply_gradients(state, gradients, optimizer, jnp.float32(0.5)),
            (state, state.params),
        ),
        "whole step": (partial(train_step, config=config, optimizer=optimizer), (state, batch, frozen)),
    }
    return {name: _compiled(function, arguments) for name, (function, arguments) in work.items()}


def _compiled(function: Callable[..., object], arguments: tuple) -> Callable[[], object]:
    jitted = jax.jit(function, compiler_options=compiler_options())
    return lambda: jax.block_until_ready(jitted(*arguments))


if __name__ == "__main__":
    sys.exit(main())
