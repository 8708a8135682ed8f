"""A folder of identities (`Name/*.jpg`) and its splits, as one sorted list of photographs."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.kinds import is_system, reason_against
from idfsr_jax.io.names import printable

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Photograph:
    """One file of the folder."""

    name: str
    """Path below the folder, with forward slashes; what reports and records call the photograph. Bytes that are no
    UTF-8 are escaped."""
    path: Path
    identity: str
    split: str
    size: int
    """Bytes."""
    modified: int
    """Time of the last change, nanoseconds."""


@dataclass(frozen=True)
class Listing:
    """What a folder of identities holds."""

    photographs: tuple[Photograph, ...]
    """Sorted by name."""
    stray: tuple[str, ...]
    """Files and folders that are not where photographs are looked for."""
    left_out: tuple[str, ...]
    """People in the folder whom no split names."""
    missing: tuple[str, ...]
    """People whom a split names and the folder lacks."""


def read_splits(folder: Path) -> dict[str, str]:
    """Reads `train.txt`, `val.txt` and `test.txt` (identity names, one a line; each file may be absent).

    Returns:
      The split of each identity.

    Raises:
      InputError: the folder holds none of the files, one of them names nobody, or two of them name the same person.
    """
    split_of: dict[str, str] = {}
    files = [folder / f"{split}.txt" for split in SPLIT_NAMES if (folder / f"{split}.txt").is_file()]
    if not files:
        raise InputError(f"{folder}: holds none of train.txt, val.txt and test.txt; give a folder that does.")
    for file in files:
        try:
            names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: is not UTF-8 text; save it as a list of names, one a line.") from error
        if not names:
            raise InputError(f"{file}: names nobody; list one identity a line or remove the file.")
        for name in names:
            if split_of.setdefault(name, file.stem) != file.stem:
                raise InputError(f"{file}: {name} is in {split_of[name]}.txt too; keep each person in one split.")
    return split_of


def list_photographs(photos: Path, splits: Path | None = None, val_people: float = 0.0) -> Listing:
    """Lists the photographs of a folder of identities; hidden files and those of systems are passed over.

    Args:
      photos: folder that holds one folder for each person.
      splits: folder of `train.txt`, `val.txt`, `test.txt`; without it everybody is in `train`.
      val_people: without `splits`, share of the people that is in `val` instead, see `people_of_val`.

    Raises:
      InputError: the folder is missing, or holds no photograph of anybody in the splits.
    """
    if not photos.is_dir():
        raise InputError(f"{photos}: no such folder; give one that holds a folder for each person.")
    split_of = read_splits(splits) if splits is not None else None
    folders = [entry for entry in sorted(photos.iterdir()) if not is_system(entry.name)]
    stray: list[str] = [printable(entry.name) for entry in folders if not entry.is_dir()]
    people = {person: printable(person.name) for person in folders if person.is_dir()}
    in_val = people_of_val(sorted(people.values()), val_people)
    found: list[tuple[str, Path, str, str]] = []
    left_out: list[str] = []
    for person, name in people.items():
        split = ("val" if name in in_val else "train") if split_of is None else split_of.get(name)
        if split is None:
            left_out.append(name)
            continue
        for path in sorted(person.iterdir()):
            if is_system(path.name):
                continue
            if path.is_dir():
                stray.append(f"{name}/{printable(path.name)}")
            else:
                found.append((f"{name}/{printable(path.name)}", path, name, split))
    if not found:
        whom = "anybody" if split_of is None else f"anybody whom the splits in {splits} name"
        hint = _one_level_off(photos, list(people)) or "each person needs a folder with photographs in it"
        raise InputError(f"{photos}: holds no photograph of {whom}; {hint}.")
    photographs = [photograph_at(path, name, person, split) for name, path, person, split in found]
    for split in sorted(set((split_of or {}).values()) - {photograph.split for photograph in photographs}):
        raise InputError(f"{splits}/{split}.txt: names nobody who has a photograph in {photos}; correct or remove it.")
    missing = tuple(sorted(set(split_of or ()) - set(people.values())))
    photographs.sort(key=lambda photograph: photograph.name)
    return Listing(tuple(photographs), tuple(sorted(stray)), tuple(left_out), missing)


def people_of_val(people: Sequence[str], share: float) -> frozenset[str]:
    """The people of the val split where a share is asked for: those of the smallest SHA-256 sums of their names.

    So it is decided by the name alone who comes before whom, and nearly everybody stays where more people are added.

    Args:
      people: names.
      share: of them, 0 to less than 1; of a positive one at least one person is taken, and at least one left.

    Raises:
      InputError: there are not two people to divide.
    """
    if share == 0.0:
        return frozenset()
    if len(people) < 2:
        raise InputError("--val-people divides people into two splits, which needs two of them; leave it out.")
    order = sorted(people, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return frozenset(order[: min(max(1, round(share * len(people))), len(people) - 1)])


def _one_level_off(photos: Path, people: Sequence[Path]) -> str:
    """Where pictures were found that are not where they are looked for; empty if none were."""
    if any(_pictures(photos)):
        return "pictures lie in it itself; put those of each person into a folder of their own"
    deeper = [folder for person in people for folder in sorted(person.iterdir()) if folder.is_dir()]
    with_pictures = [folder for folder in deeper if not is_system(folder.name) and any(_pictures(folder))]
    if not with_pictures:
        return ""
    above = {folder.parent for folder in with_pictures}
    if len(above) == 1:
        return f"pictures lie one folder deeper; give {above.pop()}"
    return f"pictures lie one folder deeper, in {with_pictures[0]} for one; move each person's up into one folder"


def _pictures(folder: Path) -> list[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    files = [entry for entry in sorted(folder.iterdir()) if not is_system(entry.name) and not entry.is_dir()]
    return [path for path in files if reason_against(path) is None]


def photograph_at(path: Path, name: str, identity: str, split: str) -> Photograph:
    """A photograph as it is listed; one that is not there is listed as well, and gets its place in the report."""
    try:
        stat = path.stat()
        size, modified = stat.st_size, stat.st_mtime_ns
    except OSError:
        size, modified = 0, 0
    return Photograph(name, path, identity, split, size, modified)
