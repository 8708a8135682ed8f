"""Results in parts, so that an evaluation that was stopped goes on where it was.

A part's name carries a digest of all that decides its content; another model or protocol gives another name.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from idfsr_jax.files import write_atomically

Arrays = dict[str, np.ndarray]

VERSION = 2
"""Of what a part means; parts of another version are computed anew."""


def part_path(folder: Path, label: str, facts: Mapping[str, Any]) -> Path:
    """Where the part of these facts lies.

    Args:
      folder: of all parts.
      label: for human readers.
      facts: all that decides the content, as JSON would hold it.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    readable = "".join(letter if letter.isalnum() else "-" for letter in label)
    return folder / f"{readable}-{digest}.npz"


def write_part(path: Path, arrays: Arrays) -> None:
    """Writes a part whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_part(path: Path) -> Arrays | None:
    """The part, or None where it is missing or damaged (zip files carry sums), so that it is computed again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
