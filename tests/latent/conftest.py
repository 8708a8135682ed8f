"""Pictures of noise to train on."""

from pathlib import Path

import pytest

from benchmarks import small_run


@pytest.fixture(scope="session")
def noise_faces(tmp_path_factory, face_crop) -> Path:
    """A data set of pictures of noise of 32 px, with descriptors of MobileFaceNet."""
    folder = tmp_path_factory.mktemp("faces")
    return small_run.noise_faces(folder, face_crop.landmarks, encoder="mobilefacenet-ms1m-v1", length=192)
