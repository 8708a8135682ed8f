"""A training run of seconds, through the real command, for the checks of what a run survives."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord

_CONFIG = """
from idfsr_jax.config import Config, DataConfig, LandmarkConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="small",
    data=DataConfig(dataset={dataset!r}, size=32, covered=0.0, workers=1),
    model=ModelConfig(patch=4, channels=(8, 8), blocks=(1, 1), head_width=8, attention_at=1, embedding=16,
                      identity_tokens=1, recognisers=("dlib",), references=1),
    landmarks=LandmarkConfig(channels=(4, 4, 4), steps=2, batch=2),
    train=TrainConfig(steps={steps}, batch={batch}, warmup_steps=1, log_every=1, samples_every=100000,
                      checkpoint_every={checkpoint_every}, rollout_fraction=0.5, identity_losses=(0.0,),
                      perceptual_loss=0.0),
    sample=SampleConfig(steps=2),
)
"""


def noise_faces(
    folder: Path,
    landmarks: Float[np.ndarray, "68 2"],
    *,
    side: int = 32,
    encoder: str = "dlib-resnet-v1",
    length: int = 128,
) -> Path:
    """Writes a data set of 12 pictures of noise, of four people, and two of a fifth in `val`.

    Args:
      folder: to write into.
      landmarks: that all pictures are said to have, unit coordinates.
      side: of the pictures.
      encoder: name of the recognisers that the descriptors are said to be of.
      length: of a descriptor.
    """
    frame = np.eye(3, dtype=np.float32)[:2]

    def face(photo: str) -> FaceRecord:
        digest = hashlib.sha256(photo.encode())
        rng = np.random.default_rng(list(digest.digest()))
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(file, "JPEG")
        descriptor = rng.normal(size=length).astype(np.float32)
        return FaceRecord(photo, file.getvalue(), landmarks, descriptor, frame, digest.hexdigest())

    photos = {"train": [f"{person}/{n}.jpg" for person in "ABCD" for n in range(3)], "val": ["E/0.jpg", "E/1.jpg"]}
    records = {
        split: (lambda names=names: ((name[0], face(name)) for name in names)) for split, names in photos.items()
    }
    IdentityFaces(data_dir=folder, records=records, encoder=encoder, embedding_size=length).download_and_prepare()
    return folder


def photographed_landmarks() -> Float[np.ndarray, "68 2"]:
    """Those of a real face, the astronaut's of scikit-image."""
    import skimage.data

    from idfsr_jax.face import align_face, central_face, find_faces

    photograph = np.asarray(skimage.data.astronaut())
    return align_face(photograph, central_face(find_faces(photograph), photograph, "astronaut")).landmarks


def write_config(path: Path, dataset: Path, steps: int, checkpoint_every: int = 8, batch: int = 2) -> Path:
    """Writes the config of a run of that many steps, some milliseconds each; no network judges."""
    values = {"dataset": str(dataset), "steps": steps, "checkpoint_every": checkpoint_every, "batch": batch}
    path.write_text(_CONFIG.format(**values))
    return path


def process_environment(cache: Path) -> dict[str, str]:
    """Variables of a process that trains on one CPU device; what it compiles, in haste, is kept in `cache`."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**28),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def start(config: Path, out: Path, environment: dict[str, str], options: Sequence[str] = ()) -> subprocess.Popen:
    """Starts `idfsr train` into a folder, as a user would."""
    command = [sys.executable, "-m", "idfsr_jax.cli", "train", str(config), "--train.out", str(out), *options]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, which may be going on."""
    path = out / "log.jsonl"
    # The last line may be being written.
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def newest_checkpoint(out: Path) -> int:
    """The step of the newest whole checkpoint, or 0."""
    return max((int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def demand_same_end(one: Path, other: Path) -> int:
    """Compares the models and, step by step, the logged numbers of two runs.

    Returns:
      How many log lines of `one` were compared.

    Raises:
      AssertionError: a bit differs; the message says where.
    """
    expected = {line["step"]: line for line in read_log(other)}
    lines = read_log(one)
    for line in lines:
        for name in set(line) - {"time", "images_per_second"}:
            if line[name] != expected[line["step"]][name]:
                raise AssertionError(f"{name} of step {line['step']}: {line[name]}, {expected[line['step']][name]}")
    names = sorted(path.name for path in (other / "model").glob("*.safetensors"))
    if len(names) < 3 or {line["step"] for line in lines} != set(expected):
        raise AssertionError(f"{one} and {other}: one of the runs is not whole")
    for name in names:
        if (one / "model" / name).read_bytes() != (other / "model" / name).read_bytes():
            raise AssertionError(f"{name} differs")
    return len(lines)
