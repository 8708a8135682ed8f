"""Photographs of a person, and pictures to restore."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def crops(face_crop):
    darker = replace(face_crop, image=(face_crop.image * 0.7).astype(np.uint8))
    shifted = replace(
        face_crop, image=np.roll(face_crop.image, 6, axis=1), landmarks=face_crop.landmarks + np.float32(0.02)
    )
    return [face_crop, darker, shifted]


@pytest.fixture(scope="session")
def identity(restorer, crops):
    return restorer.fit(crops)


@pytest.fixture(scope="session")
def small(reduced):
    return reduced(8)


@pytest.fixture(scope="session")
def result(restorer, small, identity, crops):
    return restorer.restore(small, identity, crops)


@pytest.fixture(scope="session")
def three(restorer, small, identity, crops):
    """Three samples of another seed."""
    return restorer.restore(small, identity, crops, variants=3, seed=5)


@pytest.fixture
def place(tmp_path, _astronaut, small):
    """A folder with pictures of every kind that cannot be used."""
    save = lambda name, image: Image.fromarray(image).save(tmp_path / name)  # noqa: E731
    save("small.png", small)
    save("oblong.png", small[:6])
    save("tiny.png", small[:2, :2])
    save("landscape.png", np.full((100, 120, 3), 128, np.uint8))
    save("two.png", np.concatenate([_astronaut[:300, 100:400]] * 2, axis=1))
    save("photo.jpg", _astronaut)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:9000])
    return tmp_path
