"""What a full disk makes of a run: one sentence, whichever library noticed it and in whichever thread."""

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from idfsr_jax.io.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# TensorStore tells no error numbers in a way that Python could ask for.
_SAID = ("No space left on device", "Disk quota exceeded")


class FullDisk(InputError):
    """There is no room for what a run writes."""


@contextmanager
def full_disk_explained(out: Path) -> Iterator[None]:
    """Turns the errors of a full disk, raised inside, into `FullDisk`; others pass.

    Meanwhile Orbax's threads do not log them with tracebacks, and tensorboardX's does not end with one: the loop meets
    the same errors when it waits for a save, or when it writes its log.

    Args:
      out: the run's folder.

    Raises:
      FullDisk: something could not be written for want of room.
    """
    logger = logging.getLogger("absl")
    logger.addFilter(_tells_no_full_disk)
    hook = threading.excepthook
    threading.excepthook = _but_for_full_disks(hook)
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            logger.removeFilter(_tells_no_full_disk)
            threading.excepthook = hook
            raise
        # Filter and hook stay: threads that were writing meet the full disk while the process ends.
        raise FullDisk(
            f"{out}: the disk is full; make room and give the same command again, which goes on where it was saved."
        ) from error
    logger.removeFilter(_tells_no_full_disk)
    threading.excepthook = hook


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that a disk is full or a quota used up."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or any(text in str(error) for text in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def close_event_writer(writer: Any) -> None:
    """Closes tensorboardX's writer, on a full disk without a word: `log.jsonl` has the same numbers.

    Args:
      writer: a `tensorboardX.SummaryWriter`.
    """
    events = writer.file_writer.event_writer
    try:
        writer.close()
    except OSError as error:
        if not is_full_disk(error):
            raise
        # Left alone, its thread and its handler at exit would try once more and print their tracebacks.
        events._worker.stop()
        events.close = lambda: None


def _but_for_full_disks(hook: Callable[[threading.ExceptHookArgs], object]) -> Callable[[Any], None]:
    """What is done about a thread's error that nobody caught: nothing if it says that a disk is full."""

    def handle(error: threading.ExceptHookArgs) -> None:
        if not is_full_disk(error.exc_value):
            hook(error)

    return handle


def _tells_no_full_disk(record: logging.LogRecord) -> bool:
    return not (record.exc_info and is_full_disk(record.exc_info[1]))
