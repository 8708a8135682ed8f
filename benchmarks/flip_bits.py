"""Flips single bits at random places of a checkpoint, an identity file and a model folder, and loads each of them.

    python -m benchmarks.flip_bits --places 200 --out flips.json

A flip is *refused* where loading says that the file is damaged, and *harmless* where all that is loaded is, to the bit,
what was saved: a file format has some bytes that nothing is read from. Anything else fails the check. A short form of
this is a test (tests/benchmarks/test_flip_bits.py).
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.table import publish
from idfsr_jax.config import Config, DataConfig, LandmarkConfig, ModelConfig, TrainConfig
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.method.landmarks import init_landmark_net
from idfsr_jax.method.model import load_model, save_model
from idfsr_jax.restore.identity import Identity, Origin
from idfsr_jax.training.checkpoint import open_checkpoints, restore, save
from idfsr_jax.training.step import initial_state


@dataclass(frozen=True)
class Options:
    """How much is damaged."""

    places: int = 200
    """Of each: checkpoint, identity file, model folder."""
    seed: int = 0
    """Of the places."""
    out: Path | None = None
    """Also write the table as JSON."""


def main() -> int:
    """Runs the check; the exit code is 0 if no damage was taken for good."""
    options = tyro.cli(Options, description=__doc__)
    rng = np.random.default_rng(options.seed)
    outcomes = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, prepare in (("checkpoint", _checkpoint), ("identity file", _identity), ("model folder", _model)):
            folder = Path(temporary) / name.replace(" ", "_")
            outcomes[name] = flipped(folder, prepare(folder, rng), options.places, rng)
    rows = [[name, *(str(counts[each]) for each in ("refused", "harmless"))] for name, counts in outcomes.items()]
    publish(f"{options.places} flipped bits each", ["flipped in", "refused", "harmless"], rows, outcomes, options.out)
    return 0


def flipped(folder: Path, load: Callable[[], Any], places: int, rng: np.random.Generator) -> Counter[str]:
    """Flips one bit at a time, of a byte drawn evenly from all files, and puts it back.

    Args:
      folder: whose files are damaged.
      load: reads what is in the folder, as a pytree.
      places: how many flips.
      rng: of the places.

    Returns:
      How many were "refused" and how many "harmless".

    Raises:
      AssertionError: something else than what was saved was loaded; the message names file and bit.
    """
    expected = load()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    ends = np.cumsum([path.stat().st_size for path in files])
    counts: Counter[str] = Counter()
    for place in rng.integers(0, ends[-1], places):
        index = int(np.searchsorted(ends, place, side="right"))
        path, offset = files[index], int(place - (ends[index - 1] if index else 0))
        good = path.read_bytes()
        bad = bytearray(good)
        bad[offset] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bad)
        try:
            found = load()
        except BadWeights:
            counts["refused"] += 1
        else:
            if not _same(found, expected):
                raise AssertionError(f"{path.relative_to(folder)}, byte {offset}: the damage was loaded")
            counts["harmless"] += 1
        path.write_bytes(good)
    return counts


def _same(one: Any, other: Any) -> bool:
    leaves, expected = jax.tree.leaves(one), jax.tree.leaves(other)
    structures: list[Any] = [jax.tree.structure(each) for each in (one, other)]
    return structures[0] == structures[1] and all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(leaves, expected, strict=True)
    )


_SIZES = (128, 192)
_CONFIG = Config(
    data=DataConfig(size=16),
    model=ModelConfig(
        channels=(8, 8), blocks=(1, 1), head_width=8, attention_at=1, embedding=16, identity_tokens=1, references=1
    ),
    landmarks=LandmarkConfig(size=16, channels=(4,)),
)


def _checkpoint(folder: Path, rng: np.random.Generator) -> Callable[[], Any]:
    # As in any checkpoint of use, the arrays are large beside what Orbax notes of them, much of which it never reads.
    model = replace(_CONFIG.model, channels=(64, 64), embedding=64)
    config = replace(_CONFIG, model=model, train=TrainConfig(out=str(folder)))
    state = initial_state(config, _SIZES)
    with open_checkpoints(config.train) as manager:
        save(manager, 3, state, {"next": 3}, config)

    def load() -> Any:
        with open_checkpoints(config.train) as manager:
            found = restore(manager, state, config)
        return None if found is None else (found[0], np.array(found[1]["next"]))

    return load


def _identity(folder: Path, rng: np.random.Generator) -> Callable[[], Any]:
    embedding, start = rng.normal(size=(2, 128)).astype(np.float32)
    origins = tuple(Origin(f"{n}.jpg", f"{n:016x}", 1.0, 0.5) for n in range(5))
    losses = np.linspace(1.0, 0.5, 25, dtype=np.float32)
    Identity(embedding, start, losses, 5, "dlib-resnet-v1", "0" * 64, origins, 0.7).save(folder / "person.safetensors")

    def load() -> Any:
        person = Identity.load(folder / "person.safetensors")
        said = (person.photographs, person.encoder, person.model, person.origins, person.agreement)
        return person.embedding, person.start, person.losses, _text(said)

    return load


def _model(folder: Path, rng: np.random.Generator) -> Callable[[], Any]:
    denoiser = jax.device_get(initial_state(_CONFIG, _SIZES).params)
    landmark_net = init_landmark_net(jax.random.key(1), _CONFIG.landmarks)
    save_model(folder, _CONFIG, denoiser, jax.device_get(landmark_net), np.zeros(sum(_SIZES), np.float32), steps=3)

    def load() -> Any:
        model = load_model(folder)
        said = (model.config, model.digest, model.steps, model.encoder)
        return model.denoiser, model.landmark_net, model.center, _text(said)

    return load


def _text(facts: Any) -> np.ndarray:
    return np.frombuffer(repr(facts).encode(), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
