"""A data set of variations of one public-domain face, and the smallest evaluation of it."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.config import Config, EvaluateConfig
from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord

PEOPLE = {"Ada": 4, "Bo": 3, "Cleo": 2}


@pytest.fixture(scope="session")
def faces_dataset(tmp_path_factory: pytest.TempPathFactory, face_crop) -> Path:
    """Nine photographs of three people in `val`: the astronaut's crop, tinted per person and shaded per photograph."""
    rng = np.random.default_rng(0)
    crop = np.asarray(Image.fromarray(face_crop.image).resize((96, 96), Image.Resampling.LANCZOS)).astype(np.float32)
    records = []
    for name, count in PEOPLE.items():
        tint, direction = rng.uniform(0.6, 1.0, 3), rng.normal(size=128)
        for number in range(count):
            shade = np.linspace(1.0, rng.uniform(0.5, 1.0), 96)[None, :, None]
            file = io.BytesIO()
            Image.fromarray((crop * tint * shade).astype(np.uint8)).save(file, "JPEG", quality=95)
            photo = f"{name}/{name}_{number:04d}.jpg"
            embedding = (direction + 0.3 * rng.normal(size=128)).astype(np.float32)
            landmarks = (face_crop.landmarks + rng.normal(scale=0.004, size=(68, 2))).astype(np.float32)
            digest = hashlib.sha256(photo.encode()).hexdigest()
            records.append(
                (
                    name,
                    FaceRecord(photo, file.getvalue(), landmarks, embedding, np.eye(3, dtype=np.float32)[:2], digest),
                )
            )
    folder = tmp_path_factory.mktemp("faces")
    IdentityFaces(
        data_dir=folder, records={"val": lambda: iter(records)}, encoder="dlib-resnet-v1"
    ).download_and_prepare()
    return folder


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
