"""Training on a packed data set: `python -m idfsr_jax.training.packed CONFIG --pack FOLDER`.

Needs JAX, Flax, Optax, Orbax and Pillow (and jaxtyping, safetensors and rich, which are small), and no more. The same
command goes on with a run that was stopped. `--smoke` rehearses it and says how fast it will be.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from idfsr_jax.arguments import require_writable
from idfsr_jax.compile_cache import use_compile_cache
from idfsr_jax.config import Config
from idfsr_jax.config_checks import check_config, read_config
from idfsr_jax.errors import InputError

_TRAIN_OPTIONS = ("out", "steps", "batch", "max_minutes", "learning_rate", "identity_loss", "seed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, 2 after a user's mistake, 128 + N after signal N, the run saved."""
    # The time limit is the machine's: what comes before the first step counts.
    began = time.monotonic()
    options = _parser().parse_args(arguments)
    try:
        return _run(options, began)
    except InputError as error:
        print(f"idfsr: {error}", file=sys.stderr)
        return 2


def configured(options: argparse.Namespace) -> Config:
    """The config file with the options of the command line over it, checked.

    Raises:
      BadConfig: it makes no sense.
    """
    config = read_config(options.config)
    given = {name: getattr(options, name) for name in _TRAIN_OPTIONS if getattr(options, name) is not None}
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, **given))
    check_config(config)
    return config


def _run(options: argparse.Namespace, began: float) -> int:
    config = configured(options)
    require_writable(Path(config.train.out))
    use_compile_cache()
    if options.smoke:
        from idfsr_jax.training.smoke import smoke

        smoke(config, options.pack, began=began, batches=options.try_batch, say=_say)
        return 0
    from idfsr_jax.training.full_disk import full_disk_explained
    from idfsr_jax.training.resident import train_packed

    with full_disk_explained(Path(config.train.out)):
        number = train_packed(
            config,
            options.pack,
            began=began,
            cool_minutes=options.cool_minutes,
            start_from=options.start_from,
            say=_say,
        )
    return 128 + number if number else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m idfsr_jax.training.packed", description=__doc__)
    parser.add_argument("config", type=Path, help="a config file such as configs/lfw128.py")
    parser.add_argument("--pack", type=Path, required=True, help="folder that `idfsr pack` wrote")
    parser.add_argument("--out", help="folder of the run, instead of the config's train.out")
    parser.add_argument("--steps", type=int, help="instead of train.steps")
    parser.add_argument("--batch", type=int, help="instead of train.batch")
    parser.add_argument("--learning-rate", type=float, help="instead of train.learning_rate")
    parser.add_argument("--identity-loss", type=float, help="instead of train.identity_loss")
    parser.add_argument("--seed", type=int, help="instead of train.seed")
    parser.add_argument("--max-minutes", type=float, help="stop after so long, compiling and saving included")
    parser.add_argument(
        "--cool-minutes",
        type=float,
        default=0.0,
        help="let the learning rate fall to zero over the last minutes before the limit; only where the run ends there",
    )
    parser.add_argument("--start-from", type=Path, help="a travel folder, to go on from on another machine")
    parser.add_argument("--smoke", action="store_true", help="rehearse and measure, and train nothing")
    parser.add_argument("--try-batch", type=int, nargs="*", default=[], help="further batch sizes to measure (--smoke)")
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
