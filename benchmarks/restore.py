"""A picture restored end to end: by the command, cold and with programs kept from before, and again in one process.

python -m benchmarks.restore [--photos FILE ...] [--steps N] [--rounds 5] [--out FILE]

The default photograph is the astronaut of scikit-image, public domain, reduced to 8 x 8 px for the input.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
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
    command = [sys.executable, "-m", "idfsr_jax.cli"]
    weights = ["--weights", str(options.weights)] if options.weights else []
    given = ["--photos", *map(str, photos), *weights]
    tiny, identity = place / "tiny.png", place / "me.safetensors"
    Image.fromarray(resize_crop(crop_face(photos[0]).image, INPUT_SIDE)).save(tiny)
    environment = os.environ | {"XDG_CACHE_HOME": str(place / "cache")}

    def run(*arguments: str) -> float:
        began = perf_counter()
        subprocess.run([*command, *arguments], env=environment, check=True, capture_output=True)
        return perf_counter() - began

    fit = ["fit", *given, "--out", str(identity)]
    restore = ["restore", str(tiny), "--identity", str(identity), *given, "--out", str(place / "out.png")]
    facts = {f"`idfsr {name}`, {how}": [run(*line)] for how in ("first time", "again")
             for name, line in (("fit", fit), ("restore", restore))}  # fmt: skip

    restorer = Restorer.load(options.weights)
    person = restorer.fit(photos)
    again = partial(restorer.restore, tiny, person, photos)
    own = restorer.config.sample.steps
    work = {f"in one process, {steps} sampling steps": partial(again, steps=steps) for steps in (own, *options.steps)}
    work["in one process, fit"] = partial(restorer.fit, photos)
    facts |= interleaved(work, options.rounds)
    size = restorer.config.data.size
    rows = [[name, milliseconds(seconds)] for name, seconds in facts.items()]
    medians = {name: float(np.median(seconds)) for name, seconds in facts.items()}
    title = f"A face of {INPUT_SIDE} px to {size} px, {len(photos)} photographs of the person"
    publish(title, ["", "ms"], rows, medians, options.out)
    return 0


def astronaut(place: Path) -> Path:
    """The photograph, as a file."""
    from skimage import data

    path = place / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
