"""The person that a visitor teaches the page: learnt from photographs, each of which gets its verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from idfsr_jax.app.wording import on_the_page
from idfsr_jax.face import Box, FaceCrop
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.photographs import MAX_PHOTOGRAPHS, Gathering, Group, choose_references

State = Literal["used", "aside", "unusable"]


@dataclass(frozen=True)
class Person:
    """Somebody who was learnt.

    Attributes:
      identity: what was fitted.
      crops: the faces that can stand beside a restoration.
      photographs: name, state and a few words for each file that was given.
      warnings: what is doubtful, a sentence each.
      groups: photographs with several faces.
    """

    identity: Identity
    crops: list[FaceCrop]
    photographs: tuple[tuple[str, State, str], ...]
    warnings: tuple[str, ...]
    groups: tuple[Group, ...] = ()


def learn_person(
    restorer: Any,
    photographs: Sequence[Path],
    *,
    keep_all: bool = False,
    boxes: Mapping[Path, Box] | None = None,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> Person:
    """Fits an identity to photographs of one person, as `idfsr fit` does.

    Args:
      restorer: a `Restorer`.
      photographs: 1 to 20 files.
      keep_all: sets none aside as somebody else's.
      boxes: of the person's face in some of them, as `FaceCrop.box`.
      progress: called with (step, steps), step 0 before the photographs have been looked through.

    Raises:
      InputError: too few or too many, or none of them can be used.
    """
    if not photographs:
        raise InputError("There is no photograph yet; drop some of the person into step 1.")
    if len(photographs) > MAX_PHOTOGRAPHS:
        raise InputError(f"{len(photographs)} photographs are too many; give 1 to {MAX_PHOTOGRAPHS} of one person.")
    steps = restorer.config.fit.steps
    progress(0, steps)
    gathered = restorer.gather(photographs, keep_all=keep_all, boxes=boxes)
    identity = restorer.fit(gathered, progress=lambda step, loss: progress(step, steps))
    crops, notes = choose_references(gathered, identity)
    said = [note for note in (*gathered.warnings(), *notes) if note not in gathered.unusable]
    warnings = tuple(on_the_page(sentence, photographs) for sentence in said)
    return Person(identity, crops, tuple(_verdicts(gathered, photographs)), warnings, gathered.groups)


def recall_person(restorer: Any, file: Path, photographs: Sequence[Path] = ()) -> Person:
    """Takes an identity that was fitted before.

    Args:
      restorer: a `Restorer`.
      file: of the identity.
      photographs: of the person, that stand beside restorations; without any, the identity alone says who it is.

    Raises:
      InputError: the file is no identity of this model, or none of the photographs can be used.
    """
    identity = Identity.load(file)
    restorer.check_identity(identity, file)
    crops, notes = restorer.references(photographs, identity) if photographs else ([], [])
    return Person(identity, crops, (), tuple(on_the_page(note, photographs) for note in notes))


def _verdicts(gathered: Gathering, photographs: Sequence[Path]) -> list[tuple[str, State, str]]:
    verdicts: list[tuple[str, State, str]] = []
    for photograph in gathered.used:
        words = f"{photograph.detail:.0f} px of detail"
        if photograph.origin.weight < 1.0:
            words += f", so it counts {photograph.origin.weight:.0%}"
        if not math.isnan(photograph.origin.likeness):
            words += f"; like the others: {photograph.origin.likeness:.2f}"
        if photograph.crop.which:
            words += f"; {photograph.crop.which}"
        verdicts.append((photograph.path.name, "used", words))
    verdicts += [(path.name, "aside", on_the_page(why, photographs)) for path, why in gathered.set_aside]
    for sentence in gathered.unusable:
        path = next((path for path in photographs if sentence.startswith(str(path))), None)
        name = path.name if path else "a file"
        why = sentence.removeprefix(f"{path}: ") if path else sentence
        verdicts.append((name, "unusable", on_the_page(why, photographs).rstrip(".")))
    return verdicts
