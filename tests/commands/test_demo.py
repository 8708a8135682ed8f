"""The demo: its photographs are verified, no code of the archive runs, and the sheet shows what it says."""

import hashlib
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from idfsr_jax.commands import demo
from idfsr_jax.face import FaceCrop
from idfsr_jax.io.errors import InputError, NoFace

COLOURS = [(0, 255, 0), (0, 0, 255)]


@pytest.fixture
def pictures(astronaut: UInt8[np.ndarray, "512 512 3"], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Stand-ins for the demo's photographs, which the demo then expects."""
    made: dict[str, bytes] = {}
    for quality, name in enumerate(demo.PHOTOGRAPHS, start=90):
        buffer = io.BytesIO()
        Image.fromarray(astronaut).save(buffer, format="JPEG", quality=quality)
        made[name] = buffer.getvalue()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    monkeypatch.setattr(demo, "PHOTOGRAPHS", sums)
    return made


def _archive(path: Path, pictures: dict[str, bytes], marker: Path) -> Path:
    """A source distribution whose set-up code would leave a mark."""
    files = {f"{demo.MEMBERS}/{name}": data for name, data in pictures.items()}
    files["face_recognition-1.3.0/setup.py"] = (
        f"open({str(marker)!r}, 'w').close()\n"
        "from setuptools import setup\n"
        "setup(name='face_recognition', version='1.3.0')\n"
    ).encode()
    files["face_recognition-1.3.0/PKG-INFO"] = b"Metadata-Version: 1.1\nName: face_recognition\nVersion: 1.3.0\n"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all that pip may look into."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_photographs_are_fetched_by_pip_once_without_running_their_code(
    tmp_path: Path, index: Path, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    marker = tmp_path / "ran"
    _archive(index / "face_recognition-1.3.0.tar.gz", pictures, marker)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = demo.demo_photographs(demo.cache_folder())
    assert {name: path.read_bytes() for name, path in paths.items()} == pictures
    assert not marker.exists()
    assert (tmp_path / "cache/idfsr-jax/demo").stat().st_mode & 0o077 == 0
    # From now on the cache serves, unless it is damaged.
    (index / "face_recognition-1.3.0.tar.gz").unlink()
    assert demo.demo_photographs(demo.cache_folder()) == paths
    paths["obama2.jpg"].write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be downloaded"):
        demo.demo_photographs(demo.cache_folder())


def test_offline_the_demo_says_so_in_one_sentence(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert demo.main(["--out", str(tmp_path / "demo.png")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("demo: the demo's photographs cannot be downloaded (pip: ") and said.count("\n") == 1
    assert not (tmp_path / "demo.png").exists()


def test_another_picture_in_the_archive_is_refused(tmp_path: Path, pictures: dict[str, bytes]):
    changed = pictures | {"biden.jpg": pictures["obama.jpg"]}
    with pytest.raises(InputError, match=r"its biden\.jpg is not the demo's photograph"):
        demo.read_members(_archive(tmp_path / "a.tar.gz", changed, tmp_path / "ran"))


@pytest.mark.parametrize("damage", ["missing", "cut", "nonsense"])
def test_a_damaged_archive_is_refused(tmp_path: Path, pictures: dict[str, bytes], damage: str):
    kept = {name: data for name, data in pictures.items() if damage != "missing" or name != "obama3.jpg"}
    archive = _archive(tmp_path / "a.tar.gz", kept, tmp_path / "ran")
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:50_000])
    if damage == "nonsense":
        archive.write_bytes(b"nonsense" * 1000)
    with pytest.raises(InputError, match=r"a\.tar\.gz: is damaged or lacks"):
        demo.read_members(archive)


def test_shrink_averages_squares():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = image.reshape(4, 8, 4, 8, 3).mean((1, 3))
    assert np.abs(demo.shrink(image, 8) - expected).max() <= 0.5 + 1e-6


def test_the_demo_restores_one_face_with_two_identities(
    tmp_path: Path, index: Path, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    calls: list[Any] = []

    class Restorer:
        config = SimpleNamespace(data=SimpleNamespace(size=64))

        def fit(self, photos: list[FaceCrop]) -> str:
            calls.append(("fit", len(photos)))
            return f"identity {len(calls)}"

        def restore(
            self, picture: np.ndarray, identity: str, photos: list[FaceCrop], consistency: float = 0.0
        ) -> SimpleNamespace:
            calls.append(("restore", picture.shape, identity, len(photos), consistency))
            colour = (255, 0, 0) if consistency else COLOURS[identity == "identity 2"]
            image = np.full((64, 64, 3), colour, np.uint8)
            return SimpleNamespace(images=[image], metadata={"disclosure": "synthesised"})

    monkeypatch.setattr("idfsr_jax.restore.restorer.Restorer", SimpleNamespace(load=Restorer))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _archive(index / "face_recognition-1.3.0.tar.gz", pictures, tmp_path / "ran")
    assert demo.main(["--out", str(tmp_path / "out/demo.png")]) == 0
    assert calls == [
        ("fit", 2),
        ("fit", 1),
        ("restore", (4, 4, 3), "identity 1", 2, 0.0),
        ("restore", (4, 4, 3), "identity 1", 2, 1.0),
        ("restore", (4, 4, 3), "identity 2", 1, 0.0),
    ]
    with Image.open(tmp_path / "out/demo.png") as sheet:
        assert sheet.text == {"disclosure": "synthesised", "Copyright": demo.CREDIT}  # type: ignore[attr-defined]
        pixels = np.array(sheet)
    # The two restorations, and nothing else on the sheet, are plain green and plain blue.
    green, blue = ((pixels == colour).all(-1) for colour in COLOURS)
    assert green.sum() == blue.sum() > 100**2
    assert np.argwhere(green)[:, 1].max() < np.argwhere(blue)[:, 1].min()


def test_the_largest_of_several_faces_is_taken(tmp_path: Path, astronaut: UInt8[np.ndarray, "512 512 3"]):
    small = np.array(Image.fromarray(astronaut).resize((256, 256)))
    both = np.concatenate([np.pad(small, ((0, 256), (0, 0), (0, 0))), astronaut], axis=1)
    Image.fromarray(both).save(tmp_path / "both.png")
    Image.fromarray(astronaut).save(tmp_path / "alone.png")
    large, alone = demo.largest_face(tmp_path / "both.png"), demo.largest_face(tmp_path / "alone.png")
    np.testing.assert_allclose(large.transform - alone.transform, [[0, 0, 256], [0, 0, 0], [0, 0, 0]], atol=3)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "dark.png")
    with pytest.raises(NoFace, match=r"dark\.png"):
        demo.largest_face(tmp_path / "dark.png")
