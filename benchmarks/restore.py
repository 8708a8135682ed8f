"""A person fitted and a picture restored, end to end: by the commands, part by part, and again in one process.

The commands are run the first time ever, and again with the programs kept by that; `benchmarks.parts` splits them.

python -m benchmarks.restore [--photos FILE ...] [--steps N] [--rounds 5] [--out FILE]

The default photograph is the astronaut of scikit-image, public domain, reduced to 8 x 8 px for the input.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

from PIL import Image

from benchmarks.table import interleaved, milliseconds, publish
from idfsr_jax.face import crop_face, resize_crop
from idfsr_jax.restore.restorer import Restorer

INPUT_SIDE = 8


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", help="photographs of one person")
    parser.add_argument("--steps", type=int, nargs="+", default=[], help="sampling steps beside the model's own")
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        return measure(options, Path(place))


def measure(options: argparse.Namespace, place: Path) -> int:
    """All times; temporary files go to `place`."""
    photos = options.photos or [astronaut(place)]
    weights = ["--weights", str(options.weights)] if options.weights else []
    given = ["--photos", *map(str, photos), *weights]
    tiny, identity = place / "tiny.png", place / "me.safetensors"
    Image.fromarray(resize_crop(crop_face(photos[0]).image, INPUT_SIDE)).save(tiny)
    commands = {
        "fit": [*given, "--out", str(identity)],
        "restore": [str(tiny), "--identity", str(identity), *given, "--out", str(place / "out.png")],
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(options.rounds + 1):
        for name, arguments in commands.items():
            runs[name].append(parts_of([name, *arguments], place))

    restorer = Restorer.load(options.weights)
    person = restorer.fit(photos)
    again = partial(restorer.restore, tiny, person, photos)
    own = restorer.config.sample.steps
    work: dict[str, Callable[[], object]] = {
        f"in one process, {steps} sampling steps": partial(again, steps=steps) for steps in (own, *options.steps)
    }
    work["in one process, fit"] = partial(restorer.fit, photos)
    seconds = interleaved(work, options.rounds)
    rows = [row for name in commands for row in rows_of(name, runs[name])]
    rows += [[name, "", milliseconds(each)] for name, each in seconds.items()]
    title = f"A face of {INPUT_SIDE} px to {restorer.config.data.size} px, {len(photos)} photographs of the person"
    publish(title, ["", "first time, ms", "again, ms"], rows, {"commands": runs, "process": seconds}, options.out)
    return 0


def parts_of(arguments: list[str], place: Path) -> dict[str, float]:
    """Seconds of a command in a process of its own, "in all" and by its parts; what it keeps goes to `place`."""
    environment = os.environ | {"XDG_CACHE_HOME": str(place / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # An installed package is compiled to bytecode once.
    began = perf_counter()
    command = [sys.executable, "-m", "benchmarks.parts", str(place / "parts.json"), *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return {"in all": perf_counter() - began} | json.loads((place / "parts.json").read_text())


def rows_of(name: str, runs: list[dict[str, float]]) -> list[list[str]]:
    """A command's total and its parts, a row each: of the first run, and of those after it."""
    first, *again = runs
    rows = []
    for part in dict.fromkeys(part for run in runs for part in run):
        cells = f"{first.get(part, 0.0) * 1e3:.0f}", milliseconds([run.get(part, 0.0) for run in again])
        rows.append([f"`idfsr {name}`, {part}", *cells])
    return rows


def astronaut(place: Path) -> Path:
    """The photograph, as a file."""
    from skimage import data

    path = place / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
