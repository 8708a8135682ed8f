"""Commands that train and measure models: `train` and `evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from idfsr_jax.commands.options import Distributed
from idfsr_jax.config import Config, typed_fields
from idfsr_jax.config.checks import check_config, check_use, read_config
from idfsr_jax.io.arguments import require_writable
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.runtime.compile_cache import use_compile_cache

_EVALUATED = ("name", "data.dataset", "data.val_split", "train.out")
"""What an evaluation reads of a config beside whole sections."""


def train(config: tyro.conf.Positional[Path], distributed: Distributed = "") -> int:
    """Trains the denoiser; the same command goes on with a run that was stopped.

    SIGTERM and Ctrl-C end the run after the current step: it is saved, and the exit code is 128 + the signal's number
    (143 for SIGTERM, 130 for Ctrl-C). Killed otherwise, it goes on from its newest checkpoint.

    Args:
      config: A config file such as configs/lfw128.py. `idfsr train CONFIG --help` lists what can be overridden.
      distributed: Where this process finds the others of its run: auto, slurm, mpi, or HOST:PORT,INDEX,COUNT.
    """
    return run_training(read_config(config), distributed)


def evaluate(config: tyro.conf.Positional[Path]) -> int:
    """Measures a trained model on people it has never seen.

    Every model samples and fits as its own folder says; `--sample...` and `--fit...` are for all of them.

    Args:
      config: The config file that it was trained with. `idfsr evaluate CONFIG --help` lists what can be overridden.
    """
    return run_evaluation(read_config(config), {})


def run_training(config: Config, distributed: str = "") -> int:
    """Trains as configured; returns the exit code, 128 + the number of the signal that stopped it, or 0.

    Args:
      config: the run.
      distributed: where the other processes of it are; see `idfsr_jax.training.distributed.start_processes`.
    """
    check_config(config)
    require_writable(Path(config.train.out))
    use_compile_cache()
    from idfsr_jax.training.distributed import is_main, start_processes

    # Before anything touches a device.
    start_processes(distributed)
    from idfsr_jax.training.run import train as train_model

    number = train_model(config)
    if number == 0 and is_main():
        model = Path(config.train.out) / "model"
        print(f"{model}: the model of this run, which goes on with a larger --train.steps.")
    return 128 + number if number else 0


def changes_for_evaluation(options: Sequence[str], config: Config) -> dict[str, Any]:
    """The fields that options give for the models that are evaluated, by their dotted names.

    Also those that are as the config file has them: the models' own folders may say otherwise.

    Args:
      options: the command line after the config file.
      config: what came of it.

    Raises:
      BadConfig: an option says how a model is made.
    """
    fields = dict(typed_fields(config))
    given = []
    for option in options:
        name = option.partition("=")[0].removeprefix("--").replace("-", "_")
        if option.startswith("--") and name in fields:
            given.append(name)
    for name in given:
        if name not in _EVALUATED and name.split(".")[0] not in ("sample", "fit", "devices", "evaluate"):
            raise BadConfig(f"--{name}: an evaluation takes this from the model's folder; leave it out.")
    return {name: fields[name] for name in given if name.startswith(("sample.", "fit."))}


def run_evaluation(config: Config, changes: Mapping[str, Any]) -> int:
    """Evaluates as configured; returns the exit code, 0.

    Args:
      config: what is evaluated.
      changes: of `changes_for_evaluation`.
    """
    check_use(config)
    require_writable(Path(config.evaluate.inputs or config.evaluate.out or config.train.out))
    use_compile_cache()
    from idfsr_jax.evaluation.run import evaluate as evaluate_model

    evaluate_model(config, changes)
    return 0
