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

from idfsr_jax.training.distributed import is_main
from idfsr_jax.training.full_disk import close_event_writer


@contextmanager
def run_log(folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Opens `log.jsonl` in `folder`, and TensorBoard event files if tensorboardX is there; yields log(step, values).

    Of several processes one writes.
    """
    if not is_main():
        yield lambda step, values: None
        return
    folder.mkdir(parents=True, exist_ok=True)
    writer = _event_writer(folder / "tensorboard")
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


def _event_writer(folder: Path) -> Any:
    """TensorBoard's, or None on a machine that has what training needs and no more."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


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
