"""What a run tells: JSON lines, TensorBoard, a progress bar with the time left, and a clean stop on a signal."""

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from idfsr_jax.io.files import write_atomically
from idfsr_jax.training.distributed import is_main
from idfsr_jax.training.full_disk import close_event_writer


@contextmanager
def run_log(folder: Path, done: int | None = None) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Opens `log.jsonl` in `folder`, and TensorBoard event files if tensorboardX is there; yields log(step, values).

    Of several processes one writes.

    Args:
      folder: of the run; made if it is missing.
      done: steps that the run goes on from; what the log has of later ones is removed, as they are done again. None
        where a run is never gone on with.
    """
    if not is_main():
        yield lambda step, values: None
        return
    folder.mkdir(parents=True, exist_ok=True)
    if done is not None:
        _forget_after(folder / "log.jsonl", done)
    writer = _event_writer(folder / "tensorboard", done)
    with (folder / "log.jsonl").open("a") as lines:

        def log(step: int, values: Mapping[str, float]) -> None:
            record = {"step": step, "time": round(time.time(), 1)} | {k: round(float(v), 6) for k, v in values.items()}
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            if writer is not None:
                for name, value in values.items():
                    writer.add_scalar(name, float(value), step)

        try:
            yield log
        finally:
            if writer is not None:
                close_event_writer(writer)


def _forget_after(path: Path, done: int) -> None:
    """Removes the lines of later steps from a log, and a last one that was cut short."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and _step_of(line) <= done]
    if len(kept) < len(lines):
        write_atomically(path, lambda file: file.writelines(kept))


def _step_of(line: bytes) -> int:
    """The step of a log's line; of one that was written by something else 0."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0


def _event_writer(folder: Path, done: int | None) -> Any:
    """TensorBoard's, or None on a machine that has what training needs and no more."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    # TensorBoard then hides what earlier files have of the steps that are done again.
    return SummaryWriter(str(folder), purge_step=None if done is None else done + 1)


@contextmanager
def progress_bar(title: str, total: int, start: int = 0) -> Iterator[Callable[[int, str], None]]:
    """A bar on the standard error with the time left; yields update(step, note).

    Where the output is no terminal, a line a minute takes its place. Of several processes one shows it.
    """
    if not is_main():
        yield lambda step, note: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress(title, total, start, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(title, total=total, completed=start, note="")
        yield lambda step, note: bars.update(task, completed=step, note=note)


def _plain_progress(title: str, total: int, start: int, console: Console) -> Callable[[int, str], None]:
    began, last = time.monotonic(), [time.monotonic()]

    def update(step: int, note: str) -> None:
        now = time.monotonic()
        if step < total and now - last[0] < 60:
            return
        last[0] = now
        left = (now - began) / max(step - start, 1) * (total - step) / 60
        console.print(f"{title} {step}/{total}, {left:.0f} min left, {note}", highlight=False)

    return update


@contextmanager
def stop_signal() -> Iterator[Callable[[], int]]:
    """Turns SIGTERM and SIGINT into a question: yields a function that gives the signal's number once one came, else 0.

    The loop asks between steps, saves, and stops. Only the main thread may hear signals; elsewhere nothing is changed.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        previous = {}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
