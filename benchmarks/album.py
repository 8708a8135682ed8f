"""An album's faces sampled in batches against one by one.

python -m benchmarks.album [--faces 16] [--batch 4 16] [--steps N] [--devices 0] [--rounds 5] [--out FILE]

The face is the astronaut's of scikit-image, public domain, reduced to 8 x 8 px: how long a face takes does not depend
on what it shows. Finding faces and writing pictures, which is the same either way, is timed apart, for scale.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.restore import INPUT_SIDE, astronaut
from benchmarks.table import interleaved, publish
from idfsr_jax.face import crop_face, resize_crop
from idfsr_jax.restore.restorer import Restorer


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=16, help="in the album")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 16], help="faces at once, beside one by one")
    parser.add_argument("--steps", type=int, help="of sampling; the model's own if not given")
    parser.add_argument("--devices", type=int, default=0, help="that are used; all if 0")
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    restorer = Restorer.load(options.weights, devices=options.devices)
    with tempfile.TemporaryDirectory() as place:
        crop = crop_face(astronaut(Path(place)))
    person = restorer.fit([crop])
    small = resize_crop(crop.image, INPUT_SIDE)
    find = partial(restorer.find, small, person, [crop])
    found = [find()] * options.faces
    sample = partial(restorer.sample, steps=options.steps)

    def album(batch: int) -> None:
        for first in range(0, len(found), batch):
            sample(found[first : first + batch])

    work: dict[str, Callable[[], object]] = {str(batch): partial(album, batch) for batch in [1, *options.batch]}
    work["prepare"] = lambda: [find() for _ in found]
    seconds = {name: float(np.median(each)) for name, each in interleaved(work, options.rounds).items()}
    rates = {name: len(found) / each for name, each in seconds.items()}
    rows = [[name, f"{rates[name]:.2f}", f"{rates[name] / rates['1']:.2f}"] for name in work if name != "prepare"]
    size, steps = restorer.config.data.size, options.steps or restorer.config.sample.steps
    title = f"An album of {len(found)} faces, {size} px, {steps} steps, {restorer.mesh.size} device(s)"
    title += f"; before the sampling a face takes {seconds['prepare'] / len(found):.3f} s"
    publish(title, ["faces at once", "faces/s", "times one by one"], rows, rates, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
