"""A pack of a few drawn faces, and runs on it that take seconds; and what runs in processes of their own need."""

import hashlib
import io
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import small_run
from idfsr_jax.config import Config
from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord


def _face(photo: str, landmarks: np.ndarray) -> FaceRecord:
    """A picture of smooth colours, a function of its name."""
    digest = hashlib.sha256(photo.encode())
    rng = np.random.default_rng(list(digest.digest()))
    file = io.BytesIO()
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    coarse.resize((64, 64), Image.Resampling.BICUBIC).save(file, "JPEG")
    return FaceRecord(
        photo,
        file.getvalue(),
        landmarks,
        rng.normal(size=128).astype(np.float32),
        np.eye(3, dtype=np.float32)[:2],
        digest.hexdigest(),
    )


@pytest.fixture(scope="session")
def small_pack(tmp_path_factory, face_crop) -> Path:
    """Twelve photographs of four people in `train`, two of a fifth in `val`, 32 px."""
    from idfsr_jax.data.packing import pack

    photos = {"train": [f"{person}/{n}.jpg" for person in "ABCD" for n in range(3)], "val": ["E/0.jpg", "E/1.jpg"]}
    records = {
        split: (lambda names=names: ((name[0], _face(name, face_crop.landmarks)) for name in names))
        for split, names in photos.items()
    }
    folder = tmp_path_factory.mktemp("faces")
    IdentityFaces(data_dir=folder / "data", records=records, encoder="dlib-resnet-v1").download_and_prepare()
    pack(folder / "data", folder / "pack", side=32)
    return folder / "pack"


@pytest.fixture(scope="session")
def packed_config(tiny_config) -> Config:
    """Six steps of two examples, without the identity loss."""
    train = replace(tiny_config.train, steps=6, log_every=1, checkpoint_every=3, samples_every=1000, identity_loss=0.0)
    return replace(tiny_config, train=train)


@pytest.fixture
def noise_faces(tmp_path, face_crop) -> Path:
    """A data set of the same photographs and people as the pack, each a picture of noise of 32 px."""
    return small_run.noise_faces(tmp_path / "data", face_crop.landmarks)


@pytest.fixture
def child_environment(tmp_path) -> dict[str, str]:
    """Variables of a process that trains.

    Its compiled code is kept beside, and not among, that of the tests: a killed process may leave half an entry, and it
    may have other devices.
    """
    kept = jax.config.jax_compilation_cache_dir
    return small_run.process_environment(Path(kept).with_name(f"{Path(kept).name}-train") if kept else tmp_path / "xla")


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """A function that waits for a condition for as long as the processes given live."""

    def wait(ready: Callable[[], bool], *processes: subprocess.Popen) -> None:
        deadline = time.monotonic() + 400
        while not ready():
            for process in processes:
                assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait
