"""A folder of identities (`Name/*.jpg`) and its splits, as one sorted list of photographs."""

from dataclasses import dataclass
from pathlib import Path

from idfsr_jax.errors import InputError

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Photograph:
    """One file of the folder."""

    name: str
    """Path below the folder, with forward slashes; what reports and records call the photograph."""
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


def list_photographs(photos: Path, splits: Path | None = None) -> Listing:
    """Lists the photographs of a folder of identities; hidden files are passed over.

    Args:
      photos: folder that holds one folder for each person.
      splits: folder of `train.txt`, `val.txt`, `test.txt`; without it everybody is in `train`.

    Raises:
      InputError: the folder is missing, or holds no photograph of anybody in the splits.
    """
    if not photos.is_dir():
        raise InputError(f"{photos}: no such folder; give one that holds a folder for each person.")
    split_of = read_splits(splits) if splits is not None else None
    photographs: list[Photograph] = []
    stray: list[str] = []
    left_out: list[str] = []
    people: set[str] = set()
    for person in sorted(photos.iterdir()):
        if person.name.startswith("."):
            continue
        if not person.is_dir():
            stray.append(person.name)
            continue
        people.add(person.name)
        split = "train" if split_of is None else split_of.get(person.name)
        if split is None:
            left_out.append(person.name)
            continue
        for path in sorted(person.iterdir()):
            if path.name.startswith("."):
                continue
            name = f"{person.name}/{path.name}"
            if path.is_dir():
                stray.append(name)
                continue
            photographs.append(photograph_at(path, name, person.name, split))
    if not photographs:
        whom = "anybody" if split_of is None else f"anybody whom the splits in {splits} name"
        raise InputError(f"{photos}: holds no photograph of {whom}; each person needs a folder with photographs in it.")
    for split in sorted(set((split_of or {}).values()) - {photograph.split for photograph in photographs}):
        raise InputError(f"{splits}/{split}.txt: names nobody who has a photograph in {photos}; correct or remove it.")
    missing = tuple(sorted(set(split_of or ()) - people))
    photographs.sort(key=lambda photograph: photograph.name)
    return Listing(tuple(photographs), tuple(stray), tuple(left_out), missing)


def photograph_at(path: Path, name: str, identity: str, split: str) -> Photograph:
    """A photograph as it is listed; one that is not there is listed as well, and gets its place in the report."""
    try:
        stat = path.stat()
        size, modified = stat.st_size, stat.st_mtime_ns
    except OSError:
        size, modified = 0, 0
    return Photograph(name, path, identity, split, size, modified)
