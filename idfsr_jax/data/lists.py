"""Photographs whose people are named in a list: CelebA's identity file, and the reference lists of FFHQ-Ref."""

import ast
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from idfsr_jax.data.folder import SPLIT_NAMES, Listing, Photograph, people_of_val, photograph_at, read_splits
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.kinds import is_system
from idfsr_jax.io.names import printable


def list_by_identity_file(
    photos: Path, identities: Path, splits: Path | None = None, val_people: float = 0.0
) -> Listing:
    """Lists a folder of photographs by a text file of `FILE PERSON` lines, as CelebA's `identity_CelebA.txt` has them.

    Args:
      photos: folder of the photographs, which may lie in folders of their own in it.
      identities: the text file.
      splits: see `folder.list_photographs`; the people are named as in the file.
      val_people: see there.

    Raises:
      InputError: a line of the file has no two words, or none of the files is there.
    """
    named: list[tuple[str, str]] = []
    for number, line in enumerate(_text(identities).splitlines(), 1):
        words = line.split()
        if words and len(words) != 2:
            raise InputError(f"{identities}: line {number} is not a file's name and a person's; correct it.")
        named += [(words[0], words[1])] if words else []
    people = {person for _, person in named}
    in_val = people_of_val(sorted(people), val_people)
    everybody = {person: "val" if person in in_val else "train" for person in people}
    split_of = read_splits(splits) if splits is not None else everybody
    members = [(file, person, split_of[person]) for file, person in named if person in split_of]
    if not members:
        raise InputError(f"{identities}: names nobody who is in the splits; correct it or the splits.")
    left_out = tuple(sorted(people - set(split_of)))
    return Listing(_found(photos, members, identities), (), left_out, tuple(sorted(set(split_of) - people)))


def list_by_references(photos: Path, lists: Sequence[Path]) -> Listing:
    """Lists photographs by FFHQ-Ref's tables (Hsiao et al. 2024, "ReF-LDM"), which say what shows the same person.

    A row names a photograph, `gt_image`, and others of its person, `ref_image`: a list in Python's notation. Whoever is
    linked so, through any number of rows, is one person. A table's name begins with its split.

    Args:
      photos: folder of the photographs, `images1024x1024` of FFHQ, which may lie in folders of their own in it.
      lists: `train_references.csv`, `val_references.csv`, `test_references.csv`, or some of them.

    Raises:
      InputError: a table is not of this kind, two name the same photograph, or none of the photographs is there.
    """
    members: list[tuple[str, str, str]] = []
    table_of: dict[str, Path] = {}
    for table in lists:
        split = table.name.split("_")[0]
        if split not in SPLIT_NAMES:
            raise InputError(f"{table}: its name does not begin with train_, val_ or test_; rename it.")
        for person in _linked(_rows(table)):
            identity = Path(min(person)).stem
            for file in sorted(person):
                where = table_of.setdefault(file, table)
                if where != table:
                    raise InputError(f"{table}: {file} is in {where.name} too; keep each photograph in one table.")
                members.append((file, identity, split))
    if not members:
        raise InputError(f"{lists[0]}: names no photograph; give the tables of FFHQ-Ref's reference_mapping.")
    return Listing(_found(photos, members, lists[0]), (), (), ())


def _rows(table: Path) -> Iterable[list[str]]:
    """The files of each row."""
    reader = csv.DictReader(_text(table).splitlines())
    for row in reader:
        try:
            references = ast.literal_eval(row["ref_image"])
            files = [row["gt_image"], *references]
            if not isinstance(references, list) or not all(isinstance(file, str) and file for file in files):
                raise ValueError
        except (KeyError, SyntaxError, TypeError, ValueError) as error:
            raise InputError(
                f"{table}: line {reader.line_num} has no gt_image and a list of ref_image; give a table of FFHQ-Ref."
            ) from error
        yield files


def _linked(groups: Iterable[Sequence[str]]) -> list[set[str]]:
    """Sets of names that are linked through any number of groups."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, *others in groups:
        for other in others:
            parent[root(other)] = root(first)
        root(first)
    sets: dict[str, set[str]] = {}
    for name in parent:
        sets.setdefault(root(name), set()).add(name)
    return list(sets.values())


def _found(photos: Path, members: Sequence[tuple[str, str, str]], source: Path) -> tuple[Photograph, ...]:
    """The photographs of (file, person, split), wherever below the folder they lie; by name, or by name but ending."""
    if not photos.is_dir():
        raise InputError(f"{photos}: no such folder; give the one of the photographs that {source} names.")
    places = {path.name: path for path in sorted(photos.rglob("*")) if not is_system(path.name)}
    stems = {path.stem: path for path in places.values() if not path.is_dir()}
    photographs = []
    for file, person, split in members:
        name = Path(file).name
        path = places.get(name) or stems.get(Path(name).stem) or photos / name
        photographs.append(photograph_at(path, printable(path.relative_to(photos).as_posix()), person, split))
    if not any(photograph.path.exists() for photograph in photographs):
        raise InputError(f"{photos}: holds none of the photographs that {source} names, {members[0][0]} for one.")
    return tuple(sorted(photographs, key=lambda photograph: photograph.name))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the list of photographs.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; give the list of photographs.") from error
