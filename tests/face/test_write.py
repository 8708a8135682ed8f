"""A picture is written whole or not at all, and its metadata come back."""

import os

import numpy as np
import pytest
from PIL import Image

from idfsr_jax.face import read_image, read_metadata, write_image
from idfsr_jax.io.errors import InputError


def upright() -> np.ndarray:
    """32 x 48 pixels in six flat tiles of different colours, so that no turn or mirror image looks the same."""
    tiles = np.array([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[250, 250, 0], [0, 250, 250], [250, 0, 250]]], np.uint8)
    return tiles.repeat(16, axis=0).repeat(16, axis=1)


METADATA = {"Software": "idfsr-jax", "Comment": "a face synthesised from references: Zoë 顔", "Hash": "0" * 64}


@pytest.mark.parametrize("name", ["new/folder/a.png", "a.jpg", "a.JPEG"])
def test_write_and_read_back(tmp_path, astronaut, name):
    path = tmp_path / name
    write_image(path, astronaut, METADATA)
    assert read_metadata(path) == METADATA
    difference = np.abs(read_image(path).astype(int) - astronaut)
    assert difference.max() == 0 if name.endswith("png") else difference.mean() < 2
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_no_metadata(tmp_path, name):
    write_image(tmp_path / name, upright())
    assert read_metadata(tmp_path / name) == {}


def test_foreign_comment_is_no_metadata(tmp_path):
    Image.fromarray(upright()).save(tmp_path / "a.jpg", comment=b"by my camera")
    assert read_metadata(tmp_path / "a.jpg") == {}


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync", "PIL.Image.Image.save"])
def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "a.png"
    write_image(path, upright())
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="no space"):
        write_image(path, 255 - upright())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_written_file_has_usual_permissions(tmp_path):
    write_image(tmp_path / "a.png", upright())
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_writing_refuses_what_it_cannot(tmp_path):
    with pytest.raises(InputError, match=r"a\.bmp: .*\.png"):
        write_image(tmp_path / "a.bmp", upright())
    (tmp_path / "b.png").mkdir()
    with pytest.raises(InputError, match="folder"):
        write_image(tmp_path / "b.png", upright())
    with pytest.raises(InputError, match="fit"):
        write_image(tmp_path / "c.jpg", upright(), {"long": "x" * 70_000})
    assert os.listdir(tmp_path) == ["b.png"]
