"""Albums: folders in, folders out; what was done already is left alone, and what came of each is written down."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from idfsr_jax.arguments import PHOTO_ENDINGS, distinct_names, pictures_of
from idfsr_jax.errors import InputError
from idfsr_jax.files import write_atomically

REQUEST = "idfsr:request"
"""Key of the metadata under which a picture holds the `request_digest` that it was made for."""

State = Literal["restored", "skipped", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What came of one picture.

    Attributes:
      source: the input.
      state: whether it was restored now, was there already, or could not be restored.
      result: the picture written; None where there is none.
      why: a sentence, for what was skipped or failed.
      notes: what is doubtful about a result, a sentence each.
    """

    source: Path
    state: State
    result: Path | None = None
    why: str = ""
    notes: tuple[str, ...] = ()


def album_of(given: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """The pictures to restore, each with the place of its result.

    Of a folder all pictures are taken, those of its subfolders too, and keep their place. What lies in the output
    folder was written, and is no input.

    Args:
      given: files and folders.
      out: the folder for the results.

    Raises:
      InputError: something does not exist or cannot be listed, or a folder holds no picture.
    """
    found: list[tuple[Path, Path]] = []
    for path in given:
        if path.is_dir():
            found += [(each, each.relative_to(path)) for each in _pictures_below(path, out)]
        else:
            found += [(each, Path(each.name)) for each in pictures_of(path)]
    names = distinct_names([name for _, name in found])
    return [(source, out / name) for (source, _), name in zip(found, names, strict=True)]


def request_digest(source: Path, options: Mapping[str, Any]) -> str:
    """SHA-256 of an input's bytes and of all that decides what becomes of it.

    Args:
      source: the input.
      options: JSON-able.

    Raises:
      InputError: the input cannot be read.
    """
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}); use an intact copy.") from error
    digest.update(json.dumps(options, sort_keys=True).encode())
    return digest.hexdigest()


def sums_of(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of every file.

    Raises:
      InputError: one cannot be read.
    """
    return [request_digest(path, {}) for path in paths]


def is_done(written: Sequence[Path], request: str) -> bool:
    """Whether all that a request writes is there and was made for it."""
    from idfsr_jax.face import read_metadata  # Here, since `idfsr --help` need not wait for what it imports.

    for path in written:
        try:
            if read_metadata(path).get(REQUEST) != request:
                return False
        except InputError:
            return False
    return True


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes what came of an album as JSON: lists `restored`, `skipped` and `failed`, whole or not at all."""
    content: dict[str, list[dict[str, Any]]] = {"restored": [], "skipped": [], "failed": []}
    for each in outcomes:
        entry: dict[str, Any] = {"input": str(each.source)}
        if each.result is not None:
            entry["output"] = str(each.result)
        if each.why:
            entry["why"] = each.why
        if each.notes:
            entry["notes"] = list(each.notes)
        content[each.state].append(entry)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # Names that are no text (bytes that the file system allows) keep their surrogates.
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def summary_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str]]:
    """The table: how many, what became of them, and why; equal reasons, but for the name, are counted together."""
    counts: dict[tuple[str, str], int] = {}
    for each in outcomes:
        why = each.why.removeprefix(f"{each.source}: ")
        if each.state == "restored" and each.notes:
            why = "with doubts"
        counts[each.state, why] = counts.get((each.state, why), 0) + 1
    return [(str(count), state, why) for (state, why), count in sorted(counts.items(), key=lambda item: item[0])]


def _pictures_below(folder: Path, out: Path) -> list[Path]:
    place = os.path.realpath(out)
    try:
        entries = sorted(folder.rglob("*"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); choose another folder.") from error
    pictures = [
        entry
        for entry in entries
        if entry.suffix.lower() in PHOTO_ENDINGS
        and not any(part.startswith(".") for part in entry.relative_to(folder).parts)
        and os.path.commonpath([place, os.path.realpath(entry)]) != place
        and entry.is_file()
    ]
    if not pictures:
        raise InputError(f"{folder}: holds no pictures; give a folder that does.")
    return pictures
