"""Data sets of the TensorFlow Datasets catalogue, `tfds:lfw` or `tfds:celeb_a`, once they are on this machine."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from idfsr_jax.io.errors import InputError

PREFIX = "tfds:"
_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def unpack(name: str, folder: Path) -> tuple[Path, Path | None]:
    """Writes the photographs of a prepared TFDS data set as a folder of identities; needs no TensorFlow.

    Files that are there already are kept, and every file has the same date, so that what is made of them is the same
    whenever they were written.

    Args:
      name: of the catalogue (`lfw`), looked for in TFDS_DATA_DIR or ~/tensorflow_datasets; or the folder of a data set.
      folder: to write below, in a folder for each data set: `photographs` and, where it has several splits, `splits`.

    Returns:
      The folder of identities, and the folder of splits, or None.

    Raises:
      InputError: the data set is not on this machine, is stored in a way that only TensorFlow reads, or does not say
        who is shown.
    """
    builder = _opened(name)
    features = set(builder.info.features)
    field = next((each for each in ("identity", "label") if each in features), None)
    if "image" not in features or field is None:
        raise InputError(f"{PREFIX}{name}: has no image with an identity or label beside it; give a data set of faces.")
    # An earlier run may have been stopped that unpacked another data set here.
    folder = folder / hashlib.sha256(os.fsencode(Path(builder.data_path).resolve())).hexdigest()[:16]
    names = _names(builder.info.features[field])
    people: dict[str, set[str]] = {}
    for split in builder.info.splits:
        if split not in _SPLITS:
            continue
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        for index in range(len(source)):
            record = source[index]
            person = _person(names[record[field]] if names else record[field])
            people.setdefault(_SPLITS[split], set()).add(person)
            _write(folder / "photographs" / person / f"{split}-{index:06d}", record["image"])
    if not people:
        raise InputError(f"{PREFIX}{name}: has none of the splits train, validation and test; give another data set.")
    if len(people) == 1:
        return folder / "photographs", None
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    for split, members in people.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(sorted(members)) + "\n", encoding="utf-8")
    return folder / "photographs", folder / "splits"


def _opened(name: str) -> Any:
    root = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()
    given = Path(name).expanduser()
    folder = given if given.is_dir() else root / name
    # NAME/VERSION or NAME/CONFIG/VERSION; the newest version, by its numbers.
    described = [path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}features.json")]
    if not described:
        raise InputError(
            f"{PREFIX}{name}: is not prepared on this machine; run `tfds build {name} --file_format=array_record` (it "
            "needs TensorFlow, the network and for some data sets a manual download first), or set TFDS_DATA_DIR."
        )
    newest = max(described, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    builder = tfds.builder_from_directory(newest)
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise InputError(
            f"{newest}: is stored as {builder.info.file_format.value}, which only TensorFlow reads; prepare it again "
            f"with `tfds build {builder.name} --file_format=array_record`."
        )
    return builder


def _names(feature: Any) -> list[str]:
    """The names of classes; none where there are no classes, or they were only counted."""
    names = list(getattr(feature, "names", None) or ())
    return [] if names == [str(number) for number in range(len(names))] else names


def _person(value: Any) -> str:
    """A folder's name; numbers keep their order, and CelebA has its one number in a dictionary."""
    if isinstance(value, Mapping):
        value = next(iter(value.values()))
    text = value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else f"{int(value):06d}"
    return re.sub(r"[/\\\0]", "_", text).lstrip(".") or "_"


def _write(path: Path, picture: bytes) -> None:
    path = path.with_suffix(".jpg" if picture.startswith(b"\xff\xd8") else ".png")
    if not path.exists() or path.stat().st_size != len(picture):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(picture)
        os.utime(partial, (0, 0))
        os.replace(partial, path)
