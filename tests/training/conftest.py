"""A pack of a few drawn faces, and runs on it that take seconds."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    return FaceRecord(photo, file.getvalue(), landmarks, rng.normal(size=128).astype(np.float32), digest.hexdigest())


@pytest.fixture(scope="session")
def small_pack(tmp_path_factory, face_crop) -> Path:
    """Twelve photographs of four people in `train`, two of a fifth in `val`, 32 px."""
    from idfsr_jax.data.pack import pack

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
