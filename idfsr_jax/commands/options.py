"""What the commands share: kinds of options, and how they speak."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from idfsr_jax.errors import InputError

# A missing one is ours to complain about, in a sentence that says what to do.
Required = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(required)")]
RequiredSeveral = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="(required)")]
OptionalSeveral = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Encoder = Annotated[str | None, tyro.conf.arg(metavar="arcface:PATH", help_behavior_hint="")]
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Distributed = Annotated[str, tyro.conf.arg(metavar="WHERE", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]


def complain(error: InputError | str) -> None:
    """Says on standard error what is wrong."""
    print(f"idfsr: {error}", file=sys.stderr)


def say(text: str) -> None:
    """Prints; a file name that standard output has no letters for is spelled out, as standard error does."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
