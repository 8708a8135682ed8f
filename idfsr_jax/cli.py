"""The command `idfsr`: reads the command line, runs a command, and turns mistakes into a sentence and an exit code."""

import contextlib
import difflib
import errno
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Annotated, Any, get_type_hints

import tyro

import idfsr_jax
from idfsr_jax.commands.app import app
from idfsr_jax.commands.data import convert, prepare
from idfsr_jax.commands.export import export
from idfsr_jax.commands.identity import fit, identity
from idfsr_jax.commands.options import Distributed, complain
from idfsr_jax.commands.plan import PlanOptions, plan, run_plan
from idfsr_jax.commands.restore import restore
from idfsr_jax.commands.training import changes_for_evaluation, evaluate, run_evaluation, run_training, train
from idfsr_jax.config import Config, typed_fields, with_home
from idfsr_jax.config.checks import read_config
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.names import at_home

COMMANDS: Mapping[str, Callable[..., int]] = MappingProxyType(
    {
        "prepare": prepare,
        "convert": convert,
        "plan": plan,
        "train": train,
        "fit": fit,
        "identity": identity,
        "restore": restore,
        "evaluate": evaluate,
        "export": export,
        "app": app,
    }
)
_CONFIGURED = ("train", "evaluate", "plan")
"""Commands that take a config file, and any field of it as an option."""
_VALUES = MappingProxyType({"INT": ("a whole number", "whole numbers"), "FLOAT": ("a number", "numbers")})
_DESCRIPTION = "Personalised face super-resolution. `idfsr COMMAND --help` says more about each command."
# What the machine, and not this program, is to blame for.
_ENVIRONMENT_ERRORS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


@dataclass(frozen=True)
class _Training:
    """The denoiser's training; every field of the config can be overridden."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    distributed: Distributed = ""
    """Where this process finds the others of its run: auto, slurm, mpi, or HOST:PORT,INDEX,COUNT."""


@dataclass(frozen=True)
class _Planning:
    """What a training run will need; every field of the config can be overridden."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    options: Annotated[PlanOptions, tyro.conf.arg(name="")] = field(default_factory=PlanOptions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      arguments: the command line after the program's name; of this process if None.

    Returns:
      The exit code: 0; 2 after a user's mistake or where the disk is full or forbids it (said in one sentence on
      standard error); 130 after Ctrl-C and 143 after SIGTERM, of `train` once the run has been saved.
    """
    # Where a program compiles for two minutes XLA asks the user to file a bug, in the middle of what is shown; whatever
    # goes wrong comes as an exception as well. Read when JAX is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = None
    with contextlib.suppress(ValueError):  # Only the main thread may hear signals.
        before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        # A shell leaves a `~` within quotes, and after `=`, as it is.
        words = [at_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
        # tyro's hook is not public: of a version without it, its own words are shown.
        hooks = getattr(tyro, "_errors", None)
        with hooks.on_parse_error(partial(_refuse, words)) if hooks else contextlib.nullcontext():
            return _dispatch(words)
    except InputError as error:
        complain(error)
        return 2
    except OSError as error:
        if error.errno not in _ENVIRONMENT_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        complain(f"{where}{error.strerror}; make room or choose another place, and try again.")
        return 2
    except KeyboardInterrupt as error:
        print("idfsr: interrupted", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ends a command as Ctrl-C does, so that it cleans up."""
    raise KeyboardInterrupt(number)


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] in (["--version"], ["-V"]):
        print(f"idfsr {idfsr_jax.__version__}")
        return 0
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise InputError(
            f"{arguments[0]}: is no command; {_perhaps(arguments[0], COMMANDS)}`idfsr --help` lists them all."
        )
    if arguments[:1] == ["identity"] and len(arguments) == 2 and arguments[1] not in ("show", "-h", "--help"):
        arguments = ["identity", "show", arguments[1]]
    second = arguments[1] if len(arguments) > 1 else "-"
    if arguments and arguments[0] in _CONFIGURED and second.startswith("-") and second not in ("-h", "--help"):
        raise InputError(f"{arguments[0]}: give a config file after it, for example configs/lfw128.py.")
    # The config file sets the defaults that the options after it override, so it is read before the options are.
    if len(arguments) > 2 and arguments[0] in _CONFIGURED and not arguments[1].startswith("-"):
        name, path, *options = arguments
        config, program = read_config(Path(path)), f"idfsr {name} {path}"
        if name == "train":
            training: _Training = tyro.cli(_Training, default=_Training(config), args=options, prog=program)
            return run_training(with_home(training.config), training.distributed)
        if name == "plan":
            planning = tyro.cli(_Planning, default=_Planning(config), args=options, prog=program)
            return run_plan(with_home(planning.config), planning.options)
        evaluated = with_home(tyro.cli(Config, default=config, args=options, prog=program))
        return run_evaluation(evaluated, changes_for_evaluation(options, evaluated))
    _require_known_options(arguments)
    return tyro.extras.subcommand_cli_from_dict(dict(COMMANDS), prog="idfsr", description=_DESCRIPTION, args=arguments)


def _require_known_options(arguments: Sequence[str]) -> None:
    """Checks the names of a command's options, so that a mistyped one is named in a sentence, with what was meant.

    Raises:
      InputError: one is none of the command's, or a word comes first and the command takes options alone.
    """
    if not arguments or arguments[0] not in COMMANDS or arguments[0] in _CONFIGURED:
        return
    known = {"-h", "--help"}
    for name, parameter in inspect.signature(COMMANDS[arguments[0]]).parameters.items():
        option = name.replace("_", "-")
        known |= {f"--{option}", f"--no-{option}"} if isinstance(parameter.default, bool) else {f"--{option}"}
    for word in arguments[1:]:
        option = word.partition("=")[0].replace("_", "-")
        if word.startswith("--") and len(word) > 2 and option not in known:
            which = f"{_perhaps(option, known)}`idfsr {arguments[0]} --help` lists them all"
            raise InputError(f"{option}: is no option of {arguments[0]}; {which}.")
    if len(arguments) > 1 and not arguments[1].startswith("-") and not _takes_words(COMMANDS[arguments[0]]):
        # Where an identity can be given as well, the word may mean either.
        photographs = "--photos" in known and "--identity" not in known
        meant = f"--photos {arguments[1]}" if photographs else "an option's name before it"
        raise InputError(f"{arguments[1]}: give {meant}; `idfsr {arguments[0]} --help` lists the options.")


def _refuse(arguments: Sequence[str], event: Any) -> None:
    """Says in a sentence what tyro, of whose events this is one, cannot read; what is unknown here it says itself.

    Raises:
      InputError: the sentence.
    """
    sentence = None
    with contextlib.suppress(AttributeError):
        sentence = _mistake(arguments, event)
    if sentence:
        raise InputError(sentence)


def _mistake(arguments: Sequence[str], event: Any) -> str | None:
    kind, command = type(event).__name__, arguments[0] if arguments and arguments[0] in COMMANDS else ""
    program = " ".join(["idfsr", *arguments[: 2 if command in _CONFIGURED else 1 if command else 0]])
    if kind == "MissingSubcommand":
        return "a command is missing; `idfsr --help` lists them all."
    if kind == "MissingArgs":
        wanted = event.missing_arguments[-1].arg.lowered.metavar
        return f"{command}: give {wanted} after it; `{program} --help` says more."
    if kind == "UnrecognizedArgs":
        word = event.tokens[0].partition("=")[0]
        if not word.startswith("-"):
            return f"{word}: belongs to no option; `{program} --help` lists them all."
        fields = [f"--{name.replace('_', '-')}" for name, _ in typed_fields(Config())] if command in _CONFIGURED else []
        whose = f" of {command}" if command else ""
        return f"{word}: is no option{whose}; {_perhaps(word, fields)}`{program} --help` lists them all."
    if kind not in ("BadValue", "InstantiationFailure", "InvalidChoice"):
        return None
    lowered = event.argument.lowered
    option = command if event.argument.is_positional() else lowered.name_or_flags[0]
    if kind == "InvalidChoice":
        return f"{option} {event.value}: {_perhaps(event.value, event.choices)}give {' or '.join(event.choices)}."
    one, several = _VALUES.get(lowered.metavar.strip("[").partition(" ")[0], ("a value", "values"))
    wanted, given = several if lowered.metavar.startswith("[") else one, _values_of(option, arguments)
    return f"{' '.join([option, *given])}: give {wanted}{'' if given else ' after it'}."


def _values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """What was given for an option at last."""
    values: list[str] = []
    given = False
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            given = name.replace("_", "-") == option
            values = ([value] if equals else []) if given else values
        elif given:
            values.append(word)
    return values


def _takes_words(command: Callable[..., int]) -> bool:
    """Whether a command takes words that belong to no option."""
    hints = get_type_hints(command, include_extras=True).values()
    return any(tyro.conf.Positional in getattr(hint, "__metadata__", ()) for hint in hints)


def _perhaps(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), 1, 0.55)
    return f"did you mean {near[0]}? " if near else ""


if __name__ == "__main__":
    sys.exit(main())
