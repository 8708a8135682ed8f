"""What somebody who calls `Restorer` may have given wrongly, each said in a sentence."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from idfsr_jax.face import FaceCrop
from idfsr_jax.io.arguments import pictures_of
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.identity import Identity


def photographs_in(photos: Any) -> Sequence[str | Path | FaceCrop]:
    """Photographs as a sequence; a single path is a file, or a folder of them.

    Raises:
      InputError: it holds something else, or a folder without a photograph.
    """
    if isinstance(photos, (str, Path)):
        return pictures_of(Path(photos).expanduser(), "photograph")
    if not isinstance(photos, Sequence) or not all(isinstance(each, (str, Path, FaceCrop)) for each in photos):
        raise InputError("photos: give a folder, or a list of files or of crops that gather found.")
    return photos


def require_picture(picture: Any) -> None:
    """Checks that a picture is a file or an array.

    Raises:
      InputError: it is neither.
    """
    if not isinstance(picture, (str, Path, np.ndarray)):
        raise InputError(f"picture: is of type {type(picture).__name__}; give a path, or uint8 RGB as a NumPy array.")


def require_identity(identity: Any) -> None:
    """Checks that an identity is one.

    Raises:
      InputError: it is something else.
    """
    if not isinstance(identity, Identity):
        raise InputError(
            f"identity: is of type {type(identity).__name__}; give what fit returned, or Identity.load(path)."
        )


def require_people(people: Any) -> None:
    """Checks that people are pairs of an identity and photographs.

    Raises:
      InputError: they are not.
    """
    if not isinstance(people, Sequence) or not all(isinstance(each, Sequence) and len(each) == 2 for each in people):
        raise InputError("people: give a list of pairs, each of an identity and that person's photographs.")
    for identity, _ in people:
        require_identity(identity)


def require_boxes(boxes: Any) -> None:
    """Checks that boxes of faces are four numbers for each file.

    Raises:
      InputError: they are not.
    """
    if not isinstance(boxes, Mapping) or not all(isinstance(photo, (str, Path)) for photo in boxes):
        raise InputError("boxes: give a dictionary from files to boxes (x, y, width, height).")
    for box in boxes.values():
        require_place(box, None, None)


def require_place(box: Any, eyes: Any, face: Any) -> None:
    """Checks that at most one of them says which face is meant, in numbers.

    Raises:
      InputError: more than one is given, or one is no such numbers.
    """
    given = {name: value for name, value in {"box": box, "eyes": eyes, "face": face}.items() if value is not None}
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both say which face is meant; give one of them.")
    for name, value, kind, what in (("box", box, Integral, "x, y, width, height"), ("eyes", eyes, Real, "x, y, x, y")):
        if value is not None and not (
            isinstance(value, (tuple, list, np.ndarray)) and len(value) == 4 and all(isinstance(v, kind) for v in value)
        ):
            whole = "whole " if kind is Integral else ""
            raise InputError(f"{name}={value!r}: give four {whole}numbers, {what}, in pixels.")


def require_numbers(kind: type, **values: Any) -> None:
    """Checks that what is given, and not None, is a number of a kind, `Integral` or `Real`.

    Raises:
      InputError: one is not; the sentence names it.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{name}={value!r}: give a {'whole ' if kind is Integral else ''}number.")
