"""What every benchmark prints: a small table, and the machine it was made on; as JSON too, for `--out FILE`."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np

from idfsr_jax.io.files import write_atomically


def machine() -> dict[str, Any]:
    """What the times depend on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
    }


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, taken in turns, so that what else the machine does hits all alike; one round warms up.

    Args:
      contestants: functions that return when their work is done.
      rounds: that count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for index in range(rounds + 1):
        for name, work in contestants.items():
            began = perf_counter()
            work()
            if index:
                seconds[name].append(perf_counter() - began)
    return seconds


def milliseconds(seconds: Sequence[float]) -> str:
    """Median, and the range that half of the rounds lie in."""
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75]) * 1e3
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def publish(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], facts: Any, out: Path | None) -> None:
    """Prints a Markdown table and the machine, and writes both as JSON.

    Args:
      title: what was measured.
      header: of the table.
      rows: of the table, as text.
      facts: the same as numbers.
      out: file for the JSON, or None.
    """
    where = machine()
    print(f"{title}\n")
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |")
    print("\n" + ", ".join(f"{name} {value}" for name, value in where.items()))
    if out is not None:
        text = json.dumps({"title": title, "machine": where, "results": facts}, indent=1) + "\n"
        write_atomically(out, lambda file: file.write(text.encode()))
