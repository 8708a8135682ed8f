"""The command `idfsr`: reads the command line, runs a command, and turns mistakes into a sentence and an exit code."""

import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from idfsr_jax import commands
from idfsr_jax.config import Config
from idfsr_jax.config_checks import read_config
from idfsr_jax.errors import InputError

_DESCRIPTION = "Personalised face super-resolution. `idfsr COMMAND --help` says more about each command."
# What the machine, and not this program, is to blame for.
_ENVIRONMENT_ERRORS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


@dataclass(frozen=True)
class _Training:
    """The denoiser's training; every field of the config can be overridden."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    distributed: commands.Distributed = ""
    """Where this process finds the others of its run: auto, slurm, mpi, or HOST:PORT,INDEX,COUNT."""


@dataclass(frozen=True)
class _Planning:
    """What a training run will need; every field of the config can be overridden."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    options: Annotated[commands.PlanOptions, tyro.conf.arg(name="")] = field(default_factory=commands.PlanOptions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      arguments: the command line after the program's name; of this process if None.

    Returns:
      The exit code: 0; 2 after a user's mistake or where the disk is full or forbids it (said in one sentence on
      standard error); 130 after Ctrl-C; and of `train` 128 + N after signal N, which is 143 for SIGTERM, once the run
      has been saved.
    """
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        commands.complain(error)
        return 2
    except OSError as error:
        if error.errno not in _ENVIRONMENT_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        commands.complain(f"{where}{error.strerror}; make room or choose another place, and try again.")
        return 2
    except KeyboardInterrupt:
        print("idfsr: interrupted", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str]) -> int:
    # The config file sets the defaults that the options after it override, so it is read before the options are.
    if len(arguments) > 2 and arguments[0] in ("train", "evaluate", "plan") and not arguments[1].startswith("-"):
        name, path, *options = arguments
        config, program = read_config(Path(path)), f"idfsr {name} {path}"
        if name == "train":
            training = tyro.cli(_Training, default=_Training(config), args=options, prog=program)
            return commands.run_training(training.config, training.distributed)
        if name == "plan":
            planning = tyro.cli(_Planning, default=_Planning(config), args=options, prog=program)
            return commands.run_plan(planning.config, planning.options)
        evaluated = tyro.cli(Config, default=config, args=options, prog=program)
        return commands.run_evaluation(evaluated, commands.changes_for_evaluation(options, evaluated))
    named: dict[str, Callable[..., int]] = {
        "prepare": commands.prepare,
        "pack": commands.pack,
        "convert": commands.convert,
        "plan": commands.plan,
        "train": commands.train,
        "fit": commands.fit,
        "identity": commands.identity,
        "restore": commands.restore,
        "evaluate": commands.evaluate,
        "export": commands.export,
        "app": commands.app,
    }
    return tyro.extras.subcommand_cli_from_dict(named, prog="idfsr", description=_DESCRIPTION, args=arguments)


if __name__ == "__main__":
    sys.exit(main())
