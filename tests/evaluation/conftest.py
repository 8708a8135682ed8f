"""A data set of variations of one public-domain face, and the smallest evaluation of it."""

import hashlib
import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.config import Config, EvaluateConfig
from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord

PEOPLE = {"Ada": 4, "Bo": 3, "Cleo": 2}


@pytest.fixture(scope="session")
def write_faces(face_crop):
    """A function that writes nine photographs of three people in `val` into a folder.

    They show the astronaut's crop, tinted per person and shaded per photograph. On the first of each person the mouth
    is said to lie `lower`, in unit coordinates.
    """
    return partial(_write_faces, face_crop)


def _write_faces(
    face_crop, folder: Path, encoder: str = "dlib-resnet-v1", length: int = 128, lower: float = 0.0
) -> Path:
    rng = np.random.default_rng(0)
    crop = np.asarray(Image.fromarray(face_crop.image).resize((96, 96), Image.Resampling.LANCZOS)).astype(np.float32)
    records = []
    for name, count in PEOPLE.items():
        tint, direction = rng.uniform(0.6, 1.0, 3), rng.normal(size=length)
        for number in range(count):
            shade = np.linspace(1.0, rng.uniform(0.5, 1.0), 96)[None, :, None]
            file = io.BytesIO()
            Image.fromarray((crop * tint * shade).astype(np.uint8)).save(file, "JPEG", quality=95)
            photo = f"{name}/{name}_{number:04d}.jpg"
            embedding = (direction + 0.3 * rng.normal(size=length)).astype(np.float32)
            landmarks = (face_crop.landmarks + rng.normal(scale=0.004, size=(68, 2))).astype(np.float32)
            landmarks[48:, 1] += np.float32(lower * (number == 0))
            digest = hashlib.sha256(photo.encode()).hexdigest()
            records.append(
                (
                    name,
                    FaceRecord(photo, file.getvalue(), landmarks, embedding, np.eye(3, dtype=np.float32)[:2], digest),
                )
            )
    splits = {"val": lambda: iter(records)}
    IdentityFaces(data_dir=folder, records=splits, encoder=encoder, embedding_size=length).download_and_prepare()
    return folder


@pytest.fixture(scope="session")
def faces_dataset(tmp_path_factory: pytest.TempPathFactory, write_faces) -> Path:
    """The photographs, with dlib's descriptors."""
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture
def evaluation_config(tiny_config: Config, tiny_model: Path, faces_dataset: Path, tmp_path: Path) -> Config:
    """Evaluates the tiny model on the faces."""
    return replace(
        tiny_config,
        name="tiny",
        data=replace(tiny_config.data, dataset=str(faces_dataset)),
        train=replace(tiny_config.train, out=str(tmp_path)),
        evaluate=EvaluateConfig(weights=str(tiny_model), methods="core", batch=4),
    )


@pytest.fixture(scope="session")
def study(tiny_config: Config, faces_dataset: Path):
    """The faces at the tiny model's side."""
    from idfsr_jax.data.index import load_index
    from idfsr_jax.evaluation.protocol import make_protocol
    from idfsr_jax.evaluation.study import load_study

    index = load_index(faces_dataset, "val")
    protocol = make_protocol(index, "val", name="faces", counts=(1, 3), scales=(4, 8))
    return load_study(protocol, faces_dataset, tiny_config.data.size, tiny_config.data.scales)


@pytest.fixture(scope="session")
def restorer(tiny_model: Path):
    """The tiny model with the real encoder."""
    from idfsr_jax.restorer import Restorer

    return Restorer.load(tiny_model)
