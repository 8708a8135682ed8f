"""All faces of a split at one side, as arrays: what training draws its examples from."""

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.face import resize_crop


@dataclass(frozen=True)
class Faces:
    """A split of a prepared data set.

    Attributes:
      index: all but the pictures.
      images: canonical crops of one side; on disk, read where they are touched.
    """

    index: Index
    images: UInt8[np.ndarray, "n s s 3"]


def load_faces(dataset: str | Path, split: str, size: int) -> Faces:
    """The faces of a split, made `size` px wide once and kept beside the data set for the next time.

    Decoding and reducing five photographs for each example would cost a tenth of a core at five examples a second, and
    many cores beside a fast accelerator.

    Args:
      dataset: folder that `idfsr prepare` wrote; `cache/` in it is written to.
      split: its name.
      size: side of the crops, pixels.

    Raises:
      InputError: there is no prepared data set in the folder, or it lacks the split.
    """
    index = load_index(dataset, split)
    path = Path(dataset) / "cache" / f"{_digest(index)}-{size}.npy"
    if not path.exists():
        _decode(FaceImages(dataset, split), size, path)
    return Faces(index, np.load(path, mmap_mode="r"))


def _decode(images: FaceImages, size: int, path: Path) -> None:
    """Writes all crops of a split as one array, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    array = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(images), size, size, 3))

    def decode(record: int) -> None:
        # Twice the side at least, so that the JPEG's own reduction leaves no trace in the final resize.
        array[record] = resize_crop(images.read(record, least_side=2 * size), size)

    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(decode, range(len(images))):
                pass
        array.flush()
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(index: Index) -> str:
    """Names the content: photographs' names, landmarks and descriptors follow from the pictures."""
    digest = hashlib.sha256("\n".join(index.photos).encode())
    digest.update(index.landmarks.tobytes())
    digest.update(index.embeddings.tobytes())
    return digest.hexdigest()[:16]
