"""Files that are written whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file through a temporary neighbour that takes its name only once it is complete and on disk.

    Args:
      path: the file; its folder is created.
      write: called with the open temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private, which a data set shared by a group need not be.
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def try_lock(file: IO[bytes]) -> bool | None:
    """Locks an open file until it is closed or the process ends, however it does.

    Returns:
      True; False where somebody else has the lock; None where there are no locks, on Windows or some file systems.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_summed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with a SHA-256 of its own content in it, `self_sha256`.

    Args:
      path: the file.
      content: JSON-able, without `self_sha256`.
    """
    text = json.dumps({**content, "self_sha256": _content_sha256(content)}, indent=2, sort_keys=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_summed_json(path: Path) -> dict[str, Any]:
    """Reads what `write_summed_json` wrote, `self_sha256` included.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not as it was written.
    """
    try:
        content = json.loads(path.read_bytes())
        recorded = content["self_sha256"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: holds no sum of its own") from error
    if recorded != _content_sha256({name: value for name, value in content.items() if name != "self_sha256"}):
        raise ValueError(f"{path}: its SHA-256 sum is not the recorded one")
    return content


def _content_sha256(content: Mapping[str, Any]) -> str:
    """Of the content in its canonical form, so that reformatting the file changes nothing."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
