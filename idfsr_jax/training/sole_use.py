"""One run at a time in a folder: a second one would mix its checkpoints and log with those of the first."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from idfsr_jax.errors import InputError
from idfsr_jax.training.distributed import all_agree, is_main


class FolderInUse(InputError):
    """Another run is at work in the folder."""


@contextmanager
def sole_use(out: Path) -> Iterator[None]:
    """Keeps other runs out of a folder for as long as the block lasts, by a lock on its file `lock`.

    The operating system takes the lock back when the process ends, however it does; the file stays and means nothing.
    Of several processes one asks for all. A file system that knows no locks keeps nobody out.

    Args:
      out: the run's folder; made if it is missing.

    Raises:
      FolderInUse: another run has the lock.
    """
    file = None
    if is_main():
        out.mkdir(parents=True, exist_ok=True)
        file = (out / "lock").open("ab")
    try:
        if not all_agree(file is None or _locked(file)):
            raise FolderInUse(
                f"{out}: another run is at work in this folder; wait until it has ended, or choose another train.out."
            )
        yield
    finally:
        if file is not None:
            file.close()


def _locked(file: BinaryIO) -> bool:
    """Whether nobody else has the lock of an open file, which is ours then."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
