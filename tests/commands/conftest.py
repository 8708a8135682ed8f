"""Fakes in the place of the restorer and of identities, and a folder to work in."""

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.config import Config
from idfsr_jax.face import write_image
from idfsr_jax.io.errors import InputError, NoFace
from idfsr_jax.io.names import beside
from idfsr_jax.restore.places import Choice, LeftAlone, Place, UndecidedFaces

GREY = np.full((8, 8, 3), 99, np.uint8)


@dataclasses.dataclass
class FakeRestoration:
    """Stands for the restorer's answer."""

    images: list[np.ndarray]
    metadata: dict[str, str] = dataclasses.field(
        default_factory=lambda: {"made-by": "test", "idfsr:identity": "somebody"}
    )
    said: ClassVar[tuple[str, ...]] = ()

    def save(self, path: Path, *, enlarge: float | None, label: bool, metadata: dict[str, str], place: bool) -> None:
        write_image(path, self.images[0], {**self.metadata, **metadata, "enlarge": str(enlarge), "label": str(label)})

    def save_spread(
        self, path: Path, *, enlarge: float | None, label: bool, metadata: dict[str, str], place: bool
    ) -> None:
        for part in ("mean", "spread"):
            write_image(beside(path, f"-{part}"), self.images[0], {**self.metadata, **metadata})
        for number in range(2, len(self.images) + 1):
            write_image(beside(path, f"-{number}"), self.images[0], {**self.metadata, **metadata})

    def save_sheet(self, path: Path, *, label: bool, metadata: dict[str, str]) -> None:
        write_image(path, np.concatenate(self.images, axis=1), {**self.metadata, **metadata})

    def notes(self) -> list[str]:
        return list(self.said)

    def losses(self, path: Path) -> list[str]:
        return []


class FakeGathering(list):
    """Stands for the photographs that are used: all."""

    @property
    def used(self) -> list[Path]:
        return list(self)

    def lines(self) -> list[str]:
        return [f"used, {len(self)}:"]

    def warnings(self) -> list[str]:
        return ["only one photograph remains."] if len(self) == 1 else []


class FakeIdentity:
    """Stands for a fitted identity."""

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("identity")

    @classmethod
    def load(cls, path: Path) -> "FakeIdentity":
        assert path.read_text() == "identity"
        return cls()


@dataclasses.dataclass
class FakeFound:
    """Stands for a face that was found."""

    options: dict[str, Any]
    pixels: int = 64
    face: Any = None


class FakeRestorer:
    """Notes what it is asked for; pictures called `bad` show no face."""

    calls: ClassVar[list[Any]] = []
    config = Config()

    @classmethod
    def load(cls, weights: Path | None = None, encoder: str | None = None) -> "FakeRestorer":
        cls.calls.append(("load", weights))
        return cls()

    def read_ahead(self) -> None:
        """It has no program."""

    def check_identity(self, identity: FakeIdentity, name: Path) -> None:
        if name.stem == "other":
            raise InputError(f"{name}: was fitted with another model; fit it again with this one.")

    def gather(self, photos: list[Path], *, keep_all: bool, boxes: dict[Path, Any]) -> FakeGathering:
        if boxes:
            self.calls.append(("boxes", boxes))
        return FakeGathering(photos)

    def references(self, photos: list[Path], identity: FakeIdentity) -> tuple[list[Path], list[str]]:
        return list(photos), []

    def fit(self, photos: list[Path], *, progress: Callable[[int, float], None]) -> FakeIdentity:
        self.calls.append(("fit", list(photos)))
        progress(1, 0.5)
        return FakeIdentity()

    def find(self, picture: Path, identity: FakeIdentity, photos: list[Path], **options: Any) -> FakeFound:
        self.calls.append(("restore", picture, list(photos), options))
        if picture.stem == "bug":
            raise ZeroDivisionError("a fault of ours")
        if picture.stem == "several":
            place = Place((1, 1, 4, 4), np.eye(3))
            raise UndecidedFaces(
                f"{picture}: shows 2 faces; give --face N.", GREY, Choice((place, place), 1, (0.4, 0.6))
            )
        if picture.stem == "stranger" and options["anyone"] is False:
            place = Place((1, 1, 4, 4), np.eye(3))
            raise LeftAlone(f"{picture}: left alone.", "unlike the person", GREY, Choice((place,), 0))
        if picture.stem == "strangers" and not options["anyone"]:
            place = Place((1, 1, 4, 4), np.eye(3))
            raise LeftAlone(f"{picture}: left alone.", "too small to tell", GREY, Choice((place, place), 1, (0.4, 0.6)))
        if picture.stem == "bad":
            raise NoFace(f"{picture}: no face was found; give its place with --box.")
        return FakeFound(options, pixels=0 if picture.stem == "crop" else 64)

    def find_each(
        self,
        picture: Path,
        people: list[tuple[FakeIdentity, list[Path]]],
        note: Callable[[str], None],
        **options: Any,
    ) -> list[FakeFound | None]:
        self.calls.append(("restore", picture, [photos for _, photos in people], options))
        place = Place((1, 1, 4, 4), np.eye(3))
        if picture.stem == "half":
            note("face 2 of 3 stays as it is.")
        faces = [types.SimpleNamespace(choice=Choice((place,) * 3, number)) for number, _ in enumerate(people)]
        return [
            None if picture.stem == "half" and face.choice.chosen else FakeFound(options, face=face) for face in faces
        ]

    def together(self, restorations: list[FakeRestoration]) -> FakeRestoration:
        people = "+".join(each.metadata["idfsr:identity"] for each in restorations)
        return dataclasses.replace(restorations[0], metadata={**restorations[0].metadata, "idfsr:identity": people})

    def sample(self, found: list[FakeFound], **options: Any) -> list[FakeRestoration]:
        for each in found:
            each.options.update(options)
        return [FakeRestoration([np.zeros((8, 8, 3), np.uint8)] * options["variants"]) for _ in found]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Puts the fakes in place; returns their classes."""
    classes = types.SimpleNamespace(Restorer=FakeRestorer, Identity=FakeIdentity, Restoration=FakeRestoration)
    monkeypatch.setattr("idfsr_jax.restore.restorer.Restorer", FakeRestorer)
    monkeypatch.setattr("idfsr_jax.restore.identity.Identity", FakeIdentity)
    monkeypatch.setattr(FakeRestorer, "calls", [])
    return classes


@pytest.fixture
def calls(fakes: types.SimpleNamespace) -> list[Any]:
    """What the restorer, a fake, was asked for."""
    return fakes.Restorer.calls


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an identity, two photographs of the person and two inputs."""
    monkeypatch.chdir(tmp_path)
    Path("me").mkdir()
    Path("empty").mkdir()
    for name in ("me/b.jpg", "me/a.png", "tiny.png", "bad.png"):
        Image.fromarray(GREY).save(name)
    Path("me.safetensors").write_text("identity")
    return tmp_path


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """A function that gives the one sentence with which a command line is refused."""

    def said(arguments: list[str]) -> str:
        assert cli.main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("idfsr: ") and captured.err.count("\n") == 1
        return captured.err.removeprefix("idfsr: ").strip()

    return said
