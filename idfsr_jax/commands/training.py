"""Commands that train and measure models: `train` and `evaluate`."""

from pathlib import Path

import tyro

from idfsr_jax.arguments import require_writable
from idfsr_jax.commands.options import Distributed
from idfsr_jax.compile_cache import use_compile_cache
from idfsr_jax.config import Config
from idfsr_jax.config_checks import check_config, read_config


def train(config: tyro.conf.Positional[Path], distributed: Distributed = "") -> int:
    """Trains the denoiser; the same command goes on with a run that was stopped.

    SIGTERM and Ctrl-C end the run after the current step: it is saved, and the exit code is 128 + the signal's number
    (143 for SIGTERM, 130 for Ctrl-C). Killed otherwise, it goes on from its newest checkpoint.

    Args:
      config: A config file such as configs/lfw64.py. `idfsr train CONFIG --help` lists what can be overridden.
      distributed: Where this process finds the others of its run: auto, slurm, mpi, or HOST:PORT,INDEX,COUNT.
    """
    return run_training(read_config(config), distributed)


def evaluate(config: tyro.conf.Positional[Path]) -> int:
    """Measures a trained model on people it has never seen.

    Args:
      config: The config file that it was trained with. `idfsr evaluate CONFIG --help` lists what can be overridden.
    """
    return run_evaluation(read_config(config))


def run_training(config: Config, distributed: str = "") -> int:
    """Trains as configured; returns the exit code, 128 + the number of the signal that stopped it, or 0.

    Args:
      config: the run.
      distributed: where the other processes of it are; see `idfsr_jax.training.distributed.start_processes`.
    """
    check_config(config)
    require_writable(Path(config.train.out))
    use_compile_cache()
    from idfsr_jax.training.distributed import start_processes

    # Before anything touches a device.
    start_processes(distributed)
    from idfsr_jax.training.run import train as train_denoiser

    number = train_denoiser(config)
    return 128 + number if number else 0


def run_evaluation(config: Config) -> int:
    """Evaluates as configured; returns the exit code, 0."""
    check_config(config)
    require_writable(Path(config.train.out))
    use_compile_cache()
    from idfsr_jax.evaluation.run import evaluate as evaluate_model

    evaluate_model(config)
    return 0
