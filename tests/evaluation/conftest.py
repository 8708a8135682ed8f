"""A data set of variations of one public-domain face, and the smallest evaluation of it."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.config import Config, DataConfig, EvaluateConfig, TrainConfig
from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.index import load_index
from idfsr_jax.data.parts import FaceRecord
from idfsr_jax.evaluation.protocol import make_protocol
from idfsr_jax.evaluation.study import Study, load_study
from idfsr_jax.restore.recognition import photograph_descriptors
from idfsr_jax.restore.restorer import Restorer

PEOPLE = {"Ada": 4, "Bo": 3, "Cleo": 2}


@pytest.fixture(scope="session")
def restorer(tiny_model: Path) -> Restorer:
    """The tiny model, on one device."""
    return Restorer.load(tiny_model, devices=1)


@pytest.fixture(scope="session")
def faces_dataset(tmp_path_factory: pytest.TempPathFactory, face_crop, restorer: Restorer) -> Path:
    """Nine photographs of three people in `val`, with descriptors that are made up.

    They show the astronaut's crop, tinted per person and shaded per photograph. On the first of each person the mouth
    is said to lie lower.
    """
    folder, length = tmp_path_factory.mktemp("faces"), len(restorer.model.center)
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
            landmarks[48:, 1] += np.float32(0.08 * (number == 0))
            digest = hashlib.sha256(photo.encode()).hexdigest()
            frame = np.eye(3, dtype=np.float32)[:2]
            records.append((name, FaceRecord(photo, file.getvalue(), landmarks, embedding, frame, digest)))
    splits, encoder = {"val": lambda: iter(records)}, restorer.model.encoder
    IdentityFaces(data_dir=folder, records=splits, encoder=encoder, embedding_size=length).download_and_prepare()
    return folder


@pytest.fixture
def evaluation_config(tiny_model: Path, faces_dataset: Path, tmp_path: Path) -> Config:
    """Evaluates the tiny model on the faces."""
    return Config(
        name="tiny",
        data=DataConfig(dataset=str(faces_dataset)),
        train=TrainConfig(out=str(tmp_path)),
        evaluate=EvaluateConfig(weights=str(tiny_model), methods="core", batch=3),
    )


@pytest.fixture(scope="session")
def study(restorer: Restorer, faces_dataset: Path) -> Study:
    """The faces at the tiny model's side, with the descriptors that the product finds in them."""
    protocol = make_protocol(load_index(faces_dataset, "val"), "val", name="faces", counts=(1, 3), scales=(4, 8))
    study = load_study(protocol, faces_dataset, restorer.config.data.size)
    crops = study.crops(study.index.photos)
    found = [photograph_descriptors(recogniser, crops) for recogniser in restorer.recognisers]
    return replace(study, index=replace(study.index, embeddings=np.concatenate(found, axis=1)))
