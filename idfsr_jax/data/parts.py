"""Part files: what `prepare` has finished, kept so that a killed run goes on where it was."""

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from idfsr_jax.data.extract import Refusal
from idfsr_jax.data.folder import Photograph
from idfsr_jax.io.files import write_atomically


@dataclass(frozen=True)
class FaceRecord:
    """One face of the prepared data set."""

    photo: str
    jpeg: bytes
    landmarks: Float[np.ndarray, "68 2"]
    """Float32, unit coordinates."""
    embedding: Float[np.ndarray, "d"]
    """Float32, the raw descriptors of all recognisers, one after the other."""
    frame: Float[np.ndarray, "2 3"]
    """Float32, from unit coordinates of the crop to those of the photograph; see `face.align.photograph_frame`."""
    source_sha256: str


def part_digest(photographs: Sequence[Photograph], settings: dict) -> str:
    """SHA-256 of all that the content of a part follows from: names, sizes and times of its files, and the settings."""
    files = [(photograph.name, photograph.size, photograph.modified) for photograph in photographs]
    return hashlib.sha256(json.dumps([settings, files], sort_keys=True).encode()).hexdigest()


def write_part(path: Path, records: Sequence[FaceRecord], refusals: Sequence[Refusal]) -> None:
    """Writes a part file (an uncompressed `.npz`, whose members carry CRC-32 sums), whole or not at all."""
    text = {
        "photos": [record.photo for record in records],
        "sources": [record.source_sha256 for record in records],
        "refusals": [dataclasses.asdict(refusal) for refusal in refusals],
    }
    arrays: dict[str, Any] = {
        "text": np.frombuffer(json.dumps(text).encode(), np.uint8),
        "jpeg": np.frombuffer(b"".join(record.jpeg for record in records), np.uint8),
        "jpeg_sizes": np.array([len(record.jpeg) for record in records], np.int64),
        "landmarks": np.array([record.landmarks for record in records], np.float32).reshape(-1, 68, 2),
        "frames": np.array([record.frame for record in records], np.float32).reshape(-1, 2, 3),
        "embeddings": np.array([record.embedding for record in records], np.float32).reshape(len(records), -1)
        if records
        else np.zeros((0, 0), np.float32),
    }
    write_atomically(path, lambda file: np.savez(file, **arrays))


def read_part(path: Path) -> tuple[list[FaceRecord], list[Refusal]] | None:
    """Reads a part file; None if it is missing or damaged, so that its photographs are done again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            text = json.loads(arrays["text"].tobytes())
            jpeg, ends = arrays["jpeg"].tobytes(), np.cumsum(arrays["jpeg_sizes"])
            landmarks, frames, embeddings = arrays["landmarks"], arrays["frames"], arrays["embeddings"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    begins = ends - np.diff(ends, prepend=0)
    records = [
        FaceRecord(photo, jpeg[begin:end], points, embedding, frame, source)
        for photo, begin, end, points, embedding, frame, source in zip(
            text["photos"], begins, ends, landmarks, embeddings, frames, text["sources"], strict=True
        )
    ]
    return records, [Refusal(**refusal) for refusal in text["refusals"]]
