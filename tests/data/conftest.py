"""Small data sets that need no photograph of LFW."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord

WHOLE = np.eye(3, dtype=np.float32)[:2]
"""The frame of a crop that is the whole photograph."""
PEOPLE = {"Ada": 4, "Bo": 3, "Cleo": 2, "Dan": 1, "Eve": 1}


def _record(photo: str, seed: int, side: int = 96) -> FaceRecord:
    """A smooth coloured picture, a face-like cloud of 68 points, and a descriptor, all functions of the seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95, subsampling=0)
    landmarks = rng.uniform(0.25, 0.75, (68, 2)).astype(np.float32)
    embedding = rng.normal(size=128).astype(np.float32)
    return FaceRecord(photo, file.getvalue(), landmarks, embedding, WHOLE, hashlib.sha256(photo.encode()).hexdigest())


def _records(people: dict[str, int], start: int = 0) -> list[tuple[str, FaceRecord]]:
    """(identity, record) of every photograph, in order."""
    photos = [(name, f"{name}/{name}_{i:04d}.jpg") for name, count in people.items() for i in range(count)]
    return [(name, _record(photo, start + i)) for i, (name, photo) in enumerate(photos)]


def _build(folder: Path, splits: dict[str, list[tuple[str, FaceRecord]]]) -> Path:
    """Writes records as `prepare` does."""
    records = {split: (lambda members=members: iter(members)) for split, members in splits.items()}
    IdentityFaces(data_dir=folder, records=records, encoder="dlib-resnet-v1").download_and_prepare()
    return folder


@pytest.fixture(scope="session")
def train_records() -> list[tuple[str, FaceRecord]]:
    """(identity, record) of all that `small_dataset` has in `train`, in order."""
    return _records(PEOPLE)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven photographs of five people in `train`, and a single person in `val`."""
    splits = {"train": _records(PEOPLE), "val": _records({"Flo": 2}, start=100)}
    return _build(tmp_path_factory.mktemp("dataset"), splits)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory, _astronaut: np.ndarray) -> Path:
    """A folder of identities made from one public-domain photograph, with every kind of bad file in it."""
    folder = tmp_path_factory.mktemp("photos")
    face = _astronaut[:256, 96:352]
    shifted = _astronaut[10:266, 110:366]
    darker = (face * 0.7).astype(np.uint8)
    pictures = {
        "Ann/1.jpg": face,
        "Ann/2.jpg": shifted,
        "Ann/3.png": darker,
        "Bea/1.jpg": face[:, ::-1],
        "Bea/2.jpg": shifted[:, ::-1],
        "Cid/1.jpg": darker[:, ::-1],
        "Dot/wall.png": np.full((40, 40, 3), 90, np.uint8),
        "Dot/small.png": np.array(Image.fromarray(face).resize((48, 48), Image.Resampling.LANCZOS)),
    }
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / name)
    (folder / "Ann/4.jpg").write_bytes((folder / "Ann/1.jpg").read_bytes())
    (folder / "Bea/cut.jpg").write_bytes((folder / "Bea/1.jpg").read_bytes()[:3000])
    (folder / "Bea/empty.jpg").touch()
    (folder / "Cid/notes.txt").write_text("not a picture")
    (folder / "Cid/.hidden").write_text("passed over")
    (folder / "Cid/gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "Cid/deeper").mkdir()
    (folder / "list.csv").write_text("stray")
    return folder
