"""What the commands share: kinds of options, and how they speak."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.names import printable

# A missing one is ours to complain about, in a sentence that says what to do.
Required = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(required)")]
RequiredSeveral = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="(required)")]
OptionalSeveral = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="")]
# These are given once for each of several people.
RequiredForEach = Annotated[
    tuple[Path, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(metavar="PATH", help_behavior_hint="(required)"),
]
SeveralForEach = Annotated[
    tuple[tuple[Path, ...], ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(metavar="PATH ...", help_behavior_hint=""),
]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Boxes = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(metavar="FILE:X,Y,WIDTH,HEIGHT", help_behavior_hint=""),
]
Encoder = Annotated[str | None, tyro.conf.arg(metavar="arcface:PATH", help_behavior_hint="")]
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Distributed = Annotated[str, tyro.conf.arg(metavar="WHERE", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]

_NAMED = 5
"""Files that are named one by one of all that are skipped for the same reason."""


def complain(error: InputError | str) -> None:
    """Says on standard error what is wrong; what of a file's name is no letter is spelled out."""
    print(f"idfsr: {printable(str(error))}", file=sys.stderr)


def note(sentence: str) -> None:
    """Says on standard error what is to be known, and is no mistake."""
    complain(f"note: {sentence}")


def note_skipped(sentences: Sequence[str]) -> None:
    """Says what was passed over in folders: of each reason the first few."""
    reasons: dict[str, list[str]] = {}
    for sentence in sentences:
        name, _, reason = sentence.partition(": ")
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        for name in names[:_NAMED]:
            complain(f"skipped: {name}: {reason}")
        if len(names) > _NAMED:
            complain(f"skipped: {len(names) - _NAMED} more, each of which {reason}")


def say(text: str) -> None:
    """Prints; what of a file's name is no letter, or none that standard output has, is spelled out."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(printable(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        # Whoever read it has gone, as `head` does; that is no reason to lose what is being worked at.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
