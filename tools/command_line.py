"""Writes docs/command-line.md from the commands themselves: their signatures, their docstrings and the config's fields.

python -m tools.command_line > docs/command-line.md
"""

import ast
import dataclasses
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from idfsr_jax import config
from idfsr_jax.cli import COMMANDS
from idfsr_jax.commands.plan import PlanOptions

_ORDER = ("fit", "identity", "restore", "app", "prepare", "convert", "plan", "train", "evaluate", "export")
"""In the order of the page: use, then data, then models."""

_OPENING = """# The command line

Every command and every option, written from the program itself (`python -m tools.command_line`); a test compares the
two. `idfsr COMMAND --help` says the same. In Python: [python.md](python.md).

- Where several paths are taken, they follow one another: `--photos a.jpg b.jpg`. Options that are on or off take no
  value: `--label`, `--no-label`.
- The exit code is 0; 2 after a mistake in what was given, which is named in one sentence on standard error
  ([troubleshooting.md](troubleshooting.md)); 130 after Ctrl-C; and of `idfsr train` 128 + N after signal N, once the
  run has been saved. Of several inputs one that cannot be used does not stop the rest; the code is then 2 as well.
- Compiled programs are kept in `~/.cache/idfsr-jax`, or below `XDG_CACHE_HOME`, so that a command starts faster from
  the second time on. `IDFSR_MODEL` names another folder for the model that commands take by default.
"""

_OVERRIDES = """## Fields of a config

`idfsr train`, `idfsr plan` and `idfsr evaluate` take a config file, a Python file that defines `config = Config(...)`,
and any field of it as an option, for example `--train.steps 100` or `--model.channels 64 128`. The defaults below are
those of `Config()`; a config file has its own, which `idfsr train CONFIG --help` shows.
"""

_WHAT = {
    "data": "What is read, and how examples are drawn from it",
    "model": "The denoiser",
    "diffusion": "Noise schedule and loss",
    "landmarks": "LandmarkNet",
    "train": "Optimisation",
    "devices": "What training is spread over",
    "sample": "Sampling",
    "fit": "Fitting",
    "evaluate": "Evaluation",
}


def page() -> str:
    """The whole page."""
    return "\n".join([_OPENING, *(_command(name) for name in _ORDER), _OVERRIDES, *_fields()])


def _command(name: str) -> str:
    function = COMMANDS[name]
    summary, described = _docstring(function)
    kinds = get_type_hints(function, include_extras=True)
    positional, rows = [], []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "options":  # of `plan`: a dataclass, whose fields are the options
            rows += list(_options_of(PlanOptions))
            continue
        place, value = _kind(kinds[parameter.name], parameter.default)
        if place:
            shown = {"config": "CONFIG", "action": "show", "file": "FILE"}.get(parameter.name, value)
            positional.append(shown)
            rows.append((f"`{shown}`", "required", described[parameter.name]))
        else:
            option = "--" + parameter.name.replace("_", "-")
            needed = "(required)" in repr(kinds[parameter.name])
            default = "required" if needed else _default(parameter.default)
            rows.append((_joined(option, value), default, described[parameter.name]))
    title = " ".join(["idfsr", name, *positional])
    return f"## `{title}`\n\n{summary}\n\n" + _table(("option", "default", "what"), rows)


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What a command does, and its arguments' descriptions."""
    text = inspect.getdoc(function) or ""
    summary, _, arguments = text.partition("\nArgs:\n")
    entries = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", arguments, re.MULTILINE)
    return summary.strip(), {name: re.sub(r"\s+", " ", words) for name, words in entries}


def _options_of(cls: type) -> Iterator[tuple[str, str, str]]:
    kinds, words = get_type_hints(cls, include_extras=True), _field_docstrings(cls)
    for field in dataclasses.fields(cls):
        _, value = _kind(kinds[field.name], field.default)
        yield _joined(f"--{field.name}", value), _default(field.default), words.get(field.name, "")


def _fields() -> Iterator[str]:
    parts: list[tuple[str, type]] = [(name, type(getattr(config.Config(), name))) for name in _WHAT]
    yield _table(("option", "default", "what"), [("`--name`", "`default`", "Of the run.")])
    for name, cls in parts:
        yield f"### {_WHAT[name]}: `{name}`\n\n" + _table(("option", "default", "what"), list(_config_rows(name, cls)))


def _config_rows(prefix: str, cls: type) -> Iterator[tuple[str, str, str]]:
    defaults, words, kinds = cls(), _field_docstrings(cls), get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = getattr(defaults, field.name)
        if dataclasses.is_dataclass(value):
            yield from _config_rows(f"{prefix}.{field.name}", type(value))
            continue
        choices = get_args(kinds[field.name]) if get_origin(kinds[field.name]) is Literal else ()
        said = words.get(field.name, "")
        given = "One of " + ", ".join(f"`{choice}`" for choice in choices) + "." if choices else ""
        yield f"`--{prefix}.{field.name}`", _default(value), " ".join(filter(None, [said, given]))


def _field_docstrings(cls: type) -> dict[str, str]:
    """What stands under each field of a dataclass."""
    source = Path(inspect.getsourcefile(cls) or "").read_text(encoding="utf-8")
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == cls.__name__).body
    found = {}
    for field, after in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[ast.unparse(field.target)] = re.sub(r"\s+", " ", str(after.value.value)).strip()
    return found


def _kind(kind: Any, default: Any) -> tuple[bool, str]:
    """Whether an argument is positional, and what its value is called."""
    extras = kind.__metadata__ if get_origin(kind) is Annotated else ()
    plain = kind.__origin__ if extras else kind
    metavars = [extra.metavar for extra in extras if getattr(extra, "metavar", None)]
    positional = any("Positional" in repr(extra) for extra in extras)
    if metavars:
        return positional, metavars[0]
    if plain is bool:
        return positional, ""
    choices = [part for part in (plain, *get_args(plain)) if get_origin(part) is Literal]
    if choices:
        return positional, "|".join(map(str, get_args(choices[0])))
    return positional, {int: "INT", float: "FLOAT", str: "TEXT"}.get(plain, "PATH")


def _joined(option: str, value: str) -> str:
    # A bar ends a cell of a table.
    return f"`{option} {value}`".replace(" `", "`").replace("|", "\\|")


def _default(value: Any) -> str:
    match value:
        case None | () | "" | inspect.Parameter.empty:
            return ""
        case True | False:
            return "on" if value else "off"
        case tuple():
            return f"`{' '.join(map(str, value))}`"
        case _:
            return f"`{value}`"


def _table(heads: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("  |", " |") for line in lines) + "\n"


def main() -> int:
    """Prints the page."""
    sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
