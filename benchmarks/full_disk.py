"""Lets a training run fill its disk, a small tmpfs, then makes room, and compares its end with an uninterrupted run's.

    python -m benchmarks.full_disk --out disk.json

Linux only; it mounts in a namespace of its own, which needs root or user namespaces. A short form of this is a test
(tests/training/test_full_disk.py).
"""

import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.small_run import (
    demand_same_end,
    newest_checkpoint,
    noise_faces,
    photographed_landmarks,
    process_environment,
    start,
    write_config,
)
from benchmarks.table import publish

_DISK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Options:
    """How little room there is."""

    left: tuple[int, ...] = (0, 4, 30, 100, 300, 1000)
    """KiB that are free when a run that has a checkpoint goes on, one run each."""
    steps: int = 120
    """Of the run."""
    out: Path | None = None
    """Also write the table as JSON."""
    inside: bool = False
    """This process may mount; set by the command itself."""


def main() -> int:
    """Runs the check; the exit code is 0 if nothing was lost, 3 where no file system can be mounted."""
    options = tyro.cli(Options, description=__doc__)
    if not options.inside:
        alone = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
        if subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            print("full_disk: this machine lets nobody but root mount a file system; run it as root.", file=sys.stderr)
            return 3
        return subprocess.run(
            [*alone, sys.executable, "-m", "benchmarks.full_disk", *sys.argv[1:], "--inside"], check=False
        ).returncode
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = noise_faces(folder / "data", photographed_landmarks())
        config = write_config(folder / "small.py", dataset, options.steps)
        environment = process_environment(folder / "xla")
        whole = folder / "whole"
        if start(config, whole, environment).wait():
            raise AssertionError("the run that nothing disturbs failed")
        for left in options.left:
            disk = folder / f"disk-{left}"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", disk], check=True)
            rows.append([f"{left}", *_fill(config, disk, environment, left * 1024)])
            compared = demand_same_end(disk / "run", whole)
            print(f"{left} KiB left: {rows[-1]}, {compared} log lines equal", file=sys.stderr)
            subprocess.run(["umount", disk], check=True)
    title = "A full disk: the run stops with a sentence, keeps its checkpoints, and ends bit for bit as without"
    header = ["KiB left", "exit code", "newest checkpoint before", "after", "what it said"]
    publish(title, header, rows, rows, options.out)
    return 0


def _fill(config: Path, disk: Path, environment: dict[str, str], left: int) -> list[str]:
    """Lets a run begin, leaves it no room, and goes on once there is room; says what it did in between."""
    out = disk / "run"
    # Over before the first step is, and so after it on any machine.
    if start(config, out, environment, ["--train.max-minutes", "1e-9"]).wait():
        raise AssertionError("the run that a time limit stops failed")
    before = newest_checkpoint(out)
    filler = disk / "filler"
    filler.write_bytes(b"")
    stat = os.statvfs(disk)
    with filler.open("wb", buffering=0) as file:
        try:
            file.write(bytes(max(stat.f_bavail * stat.f_frsize - left, 0)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    process = start(config, out, environment)
    said = [line for line in process.communicate()[1].splitlines() if "min left" not in line]
    after = newest_checkpoint(out)
    if process.returncode != 2 or after < before or len(said) != 1:
        raise AssertionError(f"exit code {process.returncode}, checkpoints {before} and {after}: {said}")
    filler.unlink()
    again = start(config, out, environment)
    complaint = again.communicate()[1]
    if again.returncode:
        raise AssertionError(f"with room again the run ended with {again.returncode}: {complaint}")
    return [str(process.returncode), str(before), str(after), said[0].replace(str(out), "OUT")]


if __name__ == "__main__":
    sys.exit(main())
