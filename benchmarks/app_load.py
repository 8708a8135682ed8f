"""Many requests at the page's server, several at once: is one lost, does memory grow, what does a crash do to the next?

python -m benchmarks.app_load [--requests 200] [--at-once 8] [--weights DIR]

The server runs in a process of its own, behind HTTP like any. One request in `_CRASH_EVERY` meets an error that nobody
foresaw; it has to end in a sentence, and those after it in a face.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.app_client import Busy, Visitor

_CRASH_EVERY = 20
_CRASH = 4_000_000_000
"""A request for this draw is the one that crashes."""


class Faulty:
    """A restorer with a bug."""

    def __init__(self, restorer: Any) -> None:
        """All but the bug is the restorer's."""
        self._restorer = restorer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._restorer, name)

    def restore(self, *args: Any, **options: Any) -> Any:
        """Fails for one seed, as no code expects."""
        if options["seed"] == _CRASH:
            raise ZeroDivisionError("a fault that was made for the load test")
        return self._restorer.restore(*args, **options)


def main() -> int:
    """Prints what came of the requests; returns 1 if one was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--weights", type=Path, help="folder of a model; the one that ships if not given")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return _serve(arguments.weights)
    weights = [] if arguments.weights is None else ["--weights", str(arguments.weights)]
    command = [sys.executable, "-m", "benchmarks.app_load", "--serve", *weights]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = re.search(r"http://\S+", server.stdout.readline())
            assert url is not None, "the server did not start"
            with tempfile.TemporaryDirectory() as folder:
                counts = _measure(url[0], arguments.requests, arguments.at_once, Path(folder), lambda: _rss(server.pid))
        finally:
            server.terminate()
            server.wait(30)
    return 1 if counts["lost"] or counts["busy"] else 0


def write_pictures(folder: Path) -> tuple[Path, Path]:
    """A photograph of somebody, and the same face in 16 px."""
    from skimage import data

    from idfsr_jax.face import crop_face

    photograph, picture = folder / "photograph.png", folder / "small.png"
    Image.fromarray(data.astronaut()).save(photograph)
    Image.fromarray(crop_face(photograph).image).resize((16, 16), Image.Resampling.BOX).save(picture)
    return photograph, picture


def load(visitors: Sequence[Visitor], picture: Path, requests: int) -> tuple[Counter[str], list[float]]:
    """Sends requests, each visitor one after the other and all visitors at once.

    Returns:
      How many ended in a face, in the sentence that a crash ends in, in the word that the page is busy, or were lost;
      and how many seconds each took.
    """
    given = [visitor.upload(picture)[0] for visitor in visitors]

    def send(place: int) -> list[tuple[str, float]]:
        rows = []
        for number in range(place, requests, len(visitors)):
            began = time.monotonic()
            crashes = number % _CRASH_EVERY == _CRASH_EVERY - 1
            kind = _outcome(visitors[place], given[place], _CRASH if crashes else number)
            rows.append((kind if kind != "crashed" or crashes else "lost", time.monotonic() - began))
        return rows

    with ThreadPoolExecutor(len(visitors)) as pool:
        rows = [row for sent in pool.map(send, range(len(visitors))) for row in sent]
    return Counter(kind for kind, _ in rows), [seconds for _, seconds in rows]


def _outcome(visitor: Visitor, picture: dict[str, Any], seed: int) -> str:
    try:
        answer = visitor.restore(picture, seed=seed)
        if "went wrong" in str(answer["said"]):
            return "crashed"
        path = answer["slider"]["value"][1]["path"]
        return "restored" if visitor.fetch(path).content.startswith(b"\x89PNG") else "lost"
    except Busy:
        return "busy"
    except Exception as error:
        print(f"lost: {type(error).__name__}: {error}", file=sys.stderr)
        return "lost"


def _measure(url: str, requests: int, at_once: int, folder: Path, memory: Callable[[], float]) -> Counter[str]:
    photograph, picture = write_pictures(folder)
    counts: Counter[str] = Counter()
    seconds: list[float] = []
    with contextlib.ExitStack() as stack:
        visitors = [stack.enter_context(Visitor(url)) for _ in range(at_once)]
        for visitor in visitors:
            visitor.learn(photograph)
        load(visitors, picture, at_once)
        print(f"server before: {memory():.0f} MB resident")
        for quarter in range(4):
            some, took = load(visitors, picture, requests // 4)
            counts, seconds = counts + some, seconds + took
            print(f"after {(quarter + 1) * (requests // 4)} requests: {memory():.0f} MB resident", flush=True)
    print(", ".join(f"{counts[kind]} {kind}" for kind in ("restored", "crashed", "busy", "lost")))
    print("seconds a request: median {:.2f}, 95th percentile {:.2f}".format(*np.percentile(seconds, [50, 95])))
    return counts


def _serve(weights: Path | None) -> int:
    from idfsr_jax.app.limits import listen
    from idfsr_jax.app.serve import Service, keep_few_arenas, serve
    from idfsr_jax.restore.restorer import Restorer
    from idfsr_jax.runtime.compile_cache import use_compile_cache

    keep_few_arenas()
    use_compile_cache()
    with listen("127.0.0.1", 0) as listening:
        restorer = Faulty(Restorer.load(weights))
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        serve(restorer, listening, Service())
    return 0


def _rss(process: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
