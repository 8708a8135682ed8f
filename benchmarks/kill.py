"""Kills a training run at random moments, starts it again each time, and compares its end with an uninterrupted run's.

    python -m benchmarks.kill --times 50 --out kill.json

A short form of this is a test (tests/training/test_kill.py).
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.small_run import (
    demand_same_end,
    newest_checkpoint,
    noise_faces,
    photographed_landmarks,
    process_environment,
    read_log,
    start,
    write_config,
)
from benchmarks.table import publish


@dataclass(frozen=True)
class Options:
    """What is killed, and how often."""

    times: int = 50
    """How often the run is killed, with signal 9."""
    steps: int = 4000
    """Of the run, a few milliseconds each."""
    seed: int = 0
    """Of the moments."""
    out: Path | None = None
    """Also write the table as JSON."""


def main() -> int:
    """Runs the check; the exit code is 0 if every restart went on and the end is the same to the bit."""
    options = tyro.cli(Options, description=__doc__)
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = noise_faces(folder / "data", photographed_landmarks())
        config = write_config(folder / "small.py", dataset, options.steps)
        environment = process_environment(folder / "xla")
        whole, broken = folder / "whole", folder / "broken"
        began = time.monotonic()
        _demand_success(start(config, whole, environment))
        span = 0.0  # the longest time that a start took, to read and to compile among it
        killed: dict[str, int] = {}
        for number in range(options.times):
            seconds, phase = _kill(config, broken, environment, rng, span)
            span = max(span, seconds)
            killed[phase] = killed.get(phase, 0) + 1
            print(f"{number + 1}: killed {phase}, newest checkpoint {newest_checkpoint(broken)}", file=sys.stderr)
        _demand_success(start(config, broken, environment))
        compared = demand_same_end(broken, whole)
        steps = len(read_log(whole))
        minutes = (time.monotonic() - began) / 60
    rows = [[phase, str(count)] for phase, count in sorted(killed.items())]
    rows += [["log lines compared", str(compared)], ["steps of the run", str(steps)], ["minutes", f"{minutes:.1f}"]]
    facts = {"killed": killed, "lines": compared, "steps": steps, "minutes": minutes, "identical": True}
    title = f"Killed {options.times} times, ended bit for bit as the run that was not"
    publish(title, ["killed", "times"], rows, facts, options.out)
    return 0


def _kill(
    config: Path, out: Path, environment: dict[str, str], rng: np.random.Generator, span: float
) -> tuple[float, str]:
    """Starts a run and kills it: two times out of three in the first steps, which save too, else while it starts.

    Returns:
      Seconds until its first new step, or 0 where it did not come so far; and what it was doing.
    """
    started, saved = time.time(), newest_checkpoint(out)
    process, began, first = start(config, out, environment), time.monotonic(), 0.0
    moment = rng.uniform(0, span) if span and rng.random() < 1 / 3 else None
    extra = rng.uniform(0, 1.5)
    while process.poll() is None:
        now = time.monotonic() - began
        # Lines of steps that are done again are gone from the log by then, so that their number says nothing.
        if not first and any(line["time"] > started for line in read_log(out)[-1:]):
            first = now
        if (moment is not None and now >= moment) or (first and now >= first + extra):
            break
        time.sleep(0.01)
    if process.poll() is not None:
        raise AssertionError(f"the run ended by itself with {process.returncode}: {process.communicate()[1]}")
    process.kill()
    process.communicate()
    unfinished = [path for path in (out / "checkpoints").glob("*") if not path.name.isdigit()]
    if not first:
        return 0.0, "before its first step"
    return first, "while it saved" if unfinished else "after a save" if newest_checkpoint(out) > saved else "in a step"


def _demand_success(process) -> None:
    said = process.communicate()[1]
    if process.returncode:
        raise AssertionError(f"the run ended with {process.returncode}: {said}")


if __name__ == "__main__":
    sys.exit(main())
