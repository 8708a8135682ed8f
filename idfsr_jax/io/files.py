"""Files that are written whole or not at all."""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from idfsr_jax.io.errors import BadWeights


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file through a temporary neighbour that takes its name only once it is complete and on disk.

    Args:
      path: the file; its folder is created.
      write: called with the open temporary file.

    Raises:
      OSError: it cannot be written; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not made of the file's own name, which may be as long as a name can be.
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # Not the temporary name.
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def reserved(folder: Path, size: int) -> Iterator[None]:
    """Keeps room on a folder's disk while something else is written, for what must be written after it.

    The room is free again when the context ends; what a killed process kept there is freed first.

    Args:
      folder: it is created.
      size: bytes.

    Raises:
      OSError: there is not that much room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{'[0-9a-f]' * 32}.reserved"):
        with suppress(OSError), left.open("rb") as file:
            if try_lock(file):
                left.unlink()
    place = folder / f".{uuid.uuid4().hex}.reserved"
    try:
        with place.open("xb") as file:
            try_lock(file)  # Whoever runs has it.
            file.write(os.urandom(size))  # Zeros might be kept in no room at all.
            file.flush()
            os.fsync(file.fileno())
            yield
    finally:
        place.unlink(missing_ok=True)


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


def read_known(path: Path, sha256: str, remedy: str) -> bytes:
    """The content of a file of which there is one alone, that comes with a package.

    Args:
      path: the file.
      sha256: of its content.
      remedy: what to do otherwise, for the complaint.

    Raises:
      BadWeights: it is missing, or another one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); {remedy}.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadWeights(f"{path}: its SHA-256 sum is not that of the file that is meant; {remedy}.")
    return content


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
