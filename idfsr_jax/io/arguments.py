"""Arguments of the command line: which files are meant, and whether the work can end before it begins.

Every complaint is an `InputError`, one sentence that names the option or the file. Nothing here imports JAX, and
nothing is written: a command that is refused leaves no trace.
"""

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from idfsr_jax.io.errors import InputError
from idfsr_jax.io.kinds import is_system, reason_against
from idfsr_jax.io.names import beside, fitted

Box = tuple[int, int, int, int]
Eyes = tuple[float, float, float, float]

MAX_STEPS = 1000
MAX_SEED = 2**32 - 1
MAX_VARIANTS = 64
"""All variants of a picture are in memory together."""

_WRITTEN_ENDINGS = frozenset({".jpeg", ".jpg", ".png"})


def required(value: Path | None, option: str, what: str) -> Path:
    """The value of an option that a command cannot do without.

    Args:
      value: what was given, or None.
      option: its name, with dashes.
      what: what to give, for the complaint.

    Raises:
      InputError: nothing was given.
    """
    if value is None:
        raise InputError(f"{option} is missing; give {what}.")
    return value


def folder_to_write(value: Path | None, what: str) -> Path:
    """The folder of `--out`, which a command cannot do without, into which files can be written.

    Args:
      value: what was given, or None.
      what: what to give, for the complaint.

    Raises:
      InputError: nothing was given, a file is in its place, or it cannot be written to.
    """
    folder = required(value, "--out", what)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder to write to.")
    require_writable(folder)
    return folder


def require_identity(file: Path) -> None:
    """Checks that there is an identity file.

    Raises:
      InputError: there is none.
    """
    if file.is_dir():
        raise InputError(f"{file}: is a folder; give the identity file that `idfsr fit` wrote.")
    if not file.is_file():
        out = file.with_suffix(".safetensors")
        raise InputError(f"{file}: no such identity file; `idfsr fit --photos DIR --out {out}` makes one.")


def require_between(least: int, most: int, **options: int | None) -> None:
    """Checks whole numbers by the names of their options; None passes.

    Raises:
      InputError: one lies outside least..most.
    """
    for name, value in options.items():
        if value is not None and not least <= value <= most:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {value}: give a whole number from {least} to {most}.")


def parse_box(text: str, shown: str | None = None) -> Box:
    """Reads `x,y,width,height`.

    Args:
      text: the four numbers.
      shown: what was given, for a complaint; the text itself by default.

    Raises:
      InputError: the text is not four whole numbers, x or y is negative, or width or height is not positive.
    """
    shown = shown or text
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {shown}: give four whole numbers x,y,width,height, in pixels.") from error
    if x < 0 or y < 0:
        raise InputError(f"--box {shown}: x and y count pixels from the upper left corner and cannot be negative.")
    if width < 1 or height < 1:
        raise InputError(f"--box {shown}: width and height must be positive.")
    return x, y, width, height


def parse_boxes(texts: Sequence[str], photographs: Sequence[Path]) -> dict[Path, Box]:
    """Reads `file:x,y,width,height`, each of a photograph, by its path or by its name alone; names may hold colons.

    Args:
      texts: as given.
      photographs: that may be meant.

    Raises:
      InputError: one is no such text, or means no photograph, several, or one that has a box already.
    """
    boxes: dict[Path, Box] = {}
    for text in texts:
        name, colon, numbers = text.rpartition(":")
        if not name or not colon:
            raise InputError(f"--box {text}: give the photograph and the face in it, FILE:x,y,width,height.")
        box = parse_box(numbers, shown=text)
        place = os.path.realpath(name)
        meant = [path for path in photographs if os.path.realpath(path) == place]
        meant = meant or [path for path in photographs if path.name == name]
        if len(meant) != 1:
            how_many = f"{len(meant)} of the photographs have" if meant else "none of the photographs has"
            raise InputError(f"--box {text}: {how_many} that name; give the path of one of them.")
        if meant[0] in boxes:
            raise InputError(f"--box {text}: this photograph has a box already; give one for each.")
        boxes[meant[0]] = box
    return boxes


def parse_eyes(text: str) -> Eyes:
    """Reads `x1,y1,x2,y2`.

    Raises:
      InputError: the text is not four finite numbers.
    """
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--eyes {text}: give four numbers x1,y1,x2,y2, in pixels.") from error
    if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
        raise InputError(f"--eyes {text}: give four numbers x1,y1,x2,y2, in pixels.")
    return x1, y1, x2, y2


def photographs_of(
    given: Sequence[Path], what: str, tell: Callable[[str], object] = lambda sentence: None
) -> list[Path]:
    """The files among what `--photos` was given, and those in its folders; each once, however often it was given.

    Args:
      given: files and folders.
      what: what to give, for the complaint.
      tell: called with a sentence for each file of a folder that is passed over.

    Raises:
      InputError: nothing was given, or something that does not exist, or a folder without a picture.
    """
    if not given:
        raise InputError(f"--photos is missing; give {what}.")
    photographs: dict[str, Path] = {}
    for path in given:
        for photograph in pictures_of(path, "photograph", tell):
            photographs.setdefault(os.path.realpath(photograph), photograph)
    return list(photographs.values())


def pictures_of(path: Path, what: str = "picture", tell: Callable[[str], object] = lambda sentence: None) -> list[Path]:
    """A file as it is; of a folder its pictures in the order of their names, by what is in them.

    Args:
      path: a file or folder.
      what: what to call it in a complaint.
      tell: called with a sentence for each file of the folder that is passed over, a system's own left out.

    Raises:
      InputError: it does not exist or cannot be looked at, or is a folder without a picture.
    """
    if not _exists(path):
        link = f" (a link to {os.readlink(path)}, which is not there)" if path.is_symlink() else ""
        raise InputError(f"{path}: no such {what} or folder{link}.")
    if not path.is_dir():
        return [path]
    pictures, passed = look_through(path)
    if not pictures:
        hint = _where_they_are(path) or "no photographs; give one that does"
        raise InputError(f"{path}: holds {hint}.")
    for entry, reason in passed:
        tell(f"{entry}: {reason}.")
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_system(entry.name)):
        tell(f"{folder}: is a folder of its own; give it as well if its pictures are meant.")
    return pictures


def look_through(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures in a folder itself, and what is passed over with the reason; both in the order of their names.

    Raises:
      InputError: it cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); choose another folder.") from error
    pictures: list[Path] = []
    passed: list[tuple[Path, str]] = []
    for entry in entries:
        if is_system(entry.name) or entry.is_dir():
            continue
        reason = reason_against(entry)
        if reason is None:
            pictures.append(entry)
        else:
            passed.append((entry, reason))
    return pictures, passed


def _where_they_are(folder: Path) -> str:
    """Where the pictures lie of a folder that holds none itself; empty where it has no folders either."""
    folders = [entry for entry in sorted(folder.iterdir()) if not is_system(entry.name) and entry.is_dir()]
    if not folders:
        return ""
    with_pictures = [entry for entry in folders if os.access(entry, os.R_OK | os.X_OK) and look_through(entry)[0]]
    which = f", {with_pictures[0]}" if len(with_pictures) == 1 else ""
    return f"only folders; give the folder of one person{which}"


def output_paths(inputs: Sequence[Path], out: Path, variants: int = 1) -> list[Path]:
    """Where the result of each of some files goes.

    Args:
      inputs: at least one.
      out: a picture's name, for one input; or a folder, in which each result is named after its input.
      variants: how many are drawn, whose names lie beside it.

    Raises:
      InputError: a folder is needed and `out` is a file, or the name has no picture's ending.
    """
    if len(inputs) == 1 and not (_exists(out) and out.is_dir()):
        if out.suffix.lower() not in _WRITTEN_ENDINGS:
            raise InputError(f"{out}: give a name that ends in .png or .jpg, or a folder that exists.")
        return [out]
    require_folder(out)
    return [out / name for name in distinct_names([Path(source.name) for source in inputs], variants)]


def distinct_names(names: Sequence[Path], variants: int = 1) -> list[Path]:
    """The names of the results of inputs of these names: PNG, no two the same, none longer than a name can be.

    Nor is one, or one of its `variant_paths`, the name of another's variant.
    """
    results: list[Path] = []
    taken: set[Path] = set()
    for name in names:
        result, number = name.with_name(fitted(name.stem, ".png")), 1
        while not taken.isdisjoint([result, *variant_paths([result], variants)]):
            number += 1
            result = name.with_name(fitted(name.stem, f".{number}.png"))
        results.append(result)
        taken.update([result, *variant_paths([result], variants)])
    return results


def overview_paths(outputs: Sequence[Path], taken: Sequence[Path]) -> list[Path]:
    """Where the faces of each input are shown numbered, should it not be clear which is meant: name-faces.png.

    Args:
      outputs: results, beside which they lie.
      taken: what must not be written over.
    """
    places: list[Path] = []
    kept = {os.path.realpath(path) for path in taken}
    for result in outputs:
        place, number = beside(result.with_suffix(".png"), "-faces"), 1
        while os.path.realpath(place) in kept:
            number += 1
            place = beside(result.with_suffix(".png"), f"-faces-{number}")
        places.append(place)
        kept.add(os.path.realpath(place))
    return places


def require_folder(out: Path) -> None:
    """Checks that a folder is there or can be made.

    Raises:
      InputError: a file is in its place.
    """
    if _exists(out) and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the results of several inputs.")


def variant_paths(paths: Sequence[Path], variants: int) -> list[Path]:
    """What is written beside the first of each where there are several: name-2, name-3, ..., name-mean, name-spread."""
    if variants < 2:
        return []
    parts = [*range(2, variants + 1), "mean", "spread"]
    return [beside(path, f"-{part}") for path in paths for part in parts]


def require_distinct(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Checks that nothing is written over an input, and nothing twice; links are followed.

    Raises:
      InputError: something would be.
    """
    # Not `Path.resolve`, which fails on a link that leads to itself.
    taken = {os.path.realpath(path) for path in inputs}
    for path in outputs:
        place = os.path.realpath(path)
        if place in taken:
            raise InputError(f"{path}: would be overwritten or written twice; choose another name or folder.")
        if os.path.isdir(place):
            raise InputError(f"{path}: is a folder; choose another name.")
        taken.add(place)


def require_writable(folder: Path) -> None:
    """Tries whether files can be made in a folder, or in the nearest one above that exists; leaves nothing behind.

    It is tried out, before work that would be lost: permission bits tell little about mounts and quotas.

    Raises:
      InputError: they cannot.
    """
    existing = folder
    try:
        while not os.path.lexists(existing) and existing != existing.parent:
            existing = existing.parent
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{folder}: cannot be written to ({reason}); choose another folder.") from error


def _exists(path: Path) -> bool:
    """As `Path.exists`, with one sentence where not even that can be told."""
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be looked at ({reason}); give another path.") from error
