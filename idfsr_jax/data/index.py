"""Reading a prepared data set: everything but the pictures in memory, the pictures one by one."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, UInt8
from PIL import Image

from idfsr_jax.io.errors import InputError


@dataclass(frozen=True)
class Index:
    """All records of a split but their pictures; record i of every field is one photograph."""

    people: tuple[str, ...]
    """Names, each once, in the order of their first record."""
    person: Int[np.ndarray, "n"]
    """Position in `people` of each record's person."""
    photos: tuple[str, ...]
    """Names of the photographs below the folder that they came from."""
    landmarks: Float32[np.ndarray, "n 68 2"]
    """Unit coordinates."""
    frames: Float32[np.ndarray, "n 2 3"]
    """From unit coordinates of each crop to those of its photograph."""
    embeddings: Float32[np.ndarray, "n d"]
    """Raw descriptors."""
    encoder: str
    """Name of the recogniser that made the descriptors."""

    def __len__(self) -> int:
        return len(self.photos)

    @functools.cached_property
    def members(self) -> tuple[Int[np.ndarray, "_"], ...]:
        """The records of each person of `people`."""
        order = np.argsort(self.person, kind="stable")
        return tuple(np.split(order, np.searchsorted(self.person[order], np.arange(1, len(self.people)))))


def _open(dataset: str | Path, split: str) -> tuple[Any, Any]:
    """The TFDS builder and the random-access source of a split, pictures left encoded."""
    import tensorflow_datasets as tfds

    versions = sorted(Path(dataset).expanduser().glob("identity_faces/*/dataset_info.json"))
    if not versions:
        raise InputError(f"{dataset}: holds no prepared data set; make one with `idfsr prepare --out {dataset}`.")
    builder = tfds.builder_from_directory(versions[-1].parent)
    if split not in builder.info.splits or builder.info.splits[split].num_examples == 0:
        there = ", ".join(sorted(builder.info.splits)) or "none"
        raise InputError(
            f"{dataset}: has no split {split}; it has {there}. Prepare it again, into another folder, with --splits, "
            "or with --val-people 0.1 for a tenth of the people, or name another split."
        )
    return builder, builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def load_index(dataset: str | Path, split: str) -> Index:
    """Reads all but the pictures of a split in one pass (about 1 KB a record is kept).

    Args:
      dataset: the folder that `prepare` wrote.
      split: its name.

    Raises:
      InputError: there is no prepared data set in the folder, or it lacks the split.
    """
    builder, source = _open(dataset, split)
    identities: list[str] = []
    photos: list[str] = []
    landmarks = np.empty((len(source), 68, 2), np.float32)
    frames = np.empty((len(source), 2, 3), np.float32)
    embeddings = np.empty((len(source), *builder.info.features["embedding"].shape), np.float32)
    for record in range(len(source)):
        example = source[record]
        identities.append(example["identity"].decode())
        photos.append(example["photo"].decode())
        landmarks[record], embeddings[record] = example["landmarks"], example["embedding"]
        frames[record] = example["frame"]
    place = {name: position for position, name in enumerate(dict.fromkeys(identities))}
    person = np.array([place[name] for name in identities])
    return Index(tuple(place), person, tuple(photos), landmarks, frames, embeddings, builder.info.metadata["encoder"])


class FaceImages:
    """Random access to the pictures of a split, for several threads at once."""

    def __init__(self, dataset: str | Path, split: str) -> None:
        """Opens the files.

        Raises:
          InputError: there is no prepared data set in the folder, or it lacks the split.
        """
        self._source = _open(dataset, split)[1]

    def __len__(self) -> int:
        return len(self._source)

    def read(self, record: int, *, least_side: int | None = None) -> UInt8[np.ndarray, "n n 3"]:
        """The crop of one record.

        Args:
          record: its position in the split.
          least_side: if given, the JPEG may be decoded at a half, quarter or eighth of its native side, whichever still
            is this wide; None decodes it as it is.
        """
        image = Image.open(io.BytesIO(self._source[record]["image"]))
        if least_side is not None:
            image.draft("RGB", (least_side, least_side))
        return np.array(image.convert("RGB"))
