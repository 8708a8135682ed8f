"""Albums: folders in, folders out; what was done already is left alone, and what came of each is written down."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote_from_bytes

from idfsr_jax.io.arguments import distinct_names, pictures_of
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.files import write_atomically
from idfsr_jax.io.kinds import is_system, reason_against
from idfsr_jax.io.names import printable

REQUEST = "idfsr:request"
"""Key of the metadata under which a picture holds the `request_digest` that it was made for."""

NOTES = "idfsr:notes"
"""Key under which it holds, as JSON, what is doubtful about it."""

State = Literal["restored", "skipped", "left alone", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What came of one picture.

    Attributes:
      source: the input.
      state: whether it was restored now, passed over (it is there already, or is no picture), left alone (its face is
        not the person's by all that can be told), or could not be restored.
      result: the picture written; None where there is none.
      why: a sentence, for what was skipped, left alone or failed.
      notes: what is doubtful about a result, a sentence each.
    """

    source: Path
    state: State
    result: Path | None = None
    why: str = ""
    notes: tuple[str, ...] = ()


def album_of(given: Sequence[Path], out: Path, variants: int = 1) -> tuple[list[tuple[Path, Path]], list[Outcome]]:
    """The pictures to restore, each with the place of its result; and what is passed over.

    Of a folder all pictures are taken, those of its subfolders too, and keep their place; pictures are told by what is
    in them. What lies in the output folder was written, and is no input.

    Args:
      given: files and folders.
      out: the folder for the results.
      variants: how many are drawn of each.

    Returns:
      (input, result) of each picture, and an outcome, `skipped`, for each thing that is none.

    Raises:
      InputError: something does not exist or cannot be listed, or a folder holds no picture.
    """
    found: list[tuple[Path, Path]] = []
    passed: list[Outcome] = []
    for path in given:
        if path.is_dir():
            pictures, aside = _pictures_below(path, out)
            found += [(each, each.relative_to(path)) for each in pictures]
            passed += aside
        else:
            found += [(each, Path(each.name)) for each in pictures_of(path)]
    names = distinct_names([name for _, name in found], variants)
    return [(source, out / name) for (source, _), name in zip(found, names, strict=True)], passed


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


def notes_in(path: Path) -> tuple[str, ...]:
    """What is doubtful about a picture that is there already, as it says itself."""
    from idfsr_jax.face import read_metadata

    return tuple(json.loads(read_metadata(path).get(NOTES, "[]")))


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    r"""Writes what came of an album as JSON, a list for each `State`, whole or not at all.

    A name that is no text has its bytes escaped (`caf\xe9.png`), and its bytes stand in `input_bytes`, as a URL has
    them (`caf%E9.png`).
    """
    content: dict[str, list[dict[str, Any]]] = {state: [] for state in get_args(State)}
    for each in outcomes:
        entry: dict[str, Any] = _named("input", each.source)
        if each.result is not None:
            entry |= _named("output", each.result)
        if each.why:
            entry["why"] = printable(each.why)
        if each.notes:
            entry["notes"] = [printable(note) for note in each.notes]
        content[each.state].append(entry)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def summary_size(pictures: int) -> int:
    """Bytes that a summary of so many pictures needs, generously."""
    return 65_536 + 2_048 * pictures


def _named(key: str, path: Path) -> dict[str, str]:
    shown = printable(str(path))
    return {key: shown} if shown == str(path) else {key: shown, f"{key}_bytes": quote_from_bytes(os.fsencode(path))}


def summary_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str]]:
    """The table: how many, what became of them, and why; equal reasons, but for the name, are counted together."""
    counts: dict[tuple[str, str], int] = {}
    for each in outcomes:
        why = each.why.removeprefix(f"{each.source}: ")
        if each.state in ("restored", "skipped") and each.notes:
            why = f"{why}, with doubts" if why else "with doubts"
        counts[each.state, why] = counts.get((each.state, why), 0) + 1
    return [(str(count), state, why) for (state, why), count in sorted(counts.items(), key=lambda item: item[0])]


def _pictures_below(folder: Path, out: Path) -> tuple[list[Path], list[Outcome]]:
    """The pictures of a folder and its subfolders, and what is passed over; in the order of their names."""
    place = os.path.realpath(out)
    pictures: list[Path] = []
    passed: list[Outcome] = []

    def skip(path: Path, reason: str) -> None:
        passed.append(Outcome(path, "skipped", why=f"{path}: {reason}."))

    def unlisted(error: OSError) -> None:
        where = Path(error.filename)
        if where == folder:
            raise InputError(f"{folder}: cannot be listed ({error.strerror}); choose another folder.") from error
        skip(where, f"cannot be listed ({error.strerror})")

    for root, folders, files in os.walk(folder, onerror=unlisted):
        here = Path(root)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [
            name
            for name in folders
            if not is_system(name) and name not in linked and os.path.realpath(here / name) != place
        ]
        for path in (here / name for name in [*files, *linked] if not is_system(name)):
            if os.path.commonpath([place, os.path.realpath(path)]) == place:
                continue
            reason = reason_against(path)
            if reason is None:
                pictures.append(path)
            else:
                skip(path, reason)
    if not pictures:
        why = f" ({passed[0].why.rstrip('.')})" if passed else ""
        raise InputError(f"{folder}: holds no pictures{why}; give a folder that does.")
    return sorted(pictures), sorted(passed, key=lambda outcome: outcome.source)
