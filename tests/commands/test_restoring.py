"""Batches of faces: how many wait, what comes of whom, and that nobody pays for another's fault."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idfsr_jax.commands import restoring
from idfsr_jax.commands.album import Outcome
from idfsr_jax.commands.restoring import Job, Person, Request, restore_all
from idfsr_jax.face import write_image
from idfsr_jax.io.errors import NoFace

SAMPLING: dict[str, Any] = {"steps": None, "seed": 1, "variants": 1, "consistency": None}


@dataclass
class Found:
    name: str
    pixels: int = 100


@dataclass
class Restored:
    name: str

    def save(self, path: Path, **options: Any) -> None:
        if self.name == "full disk":
            raise OSError(28, "No space left on device")
        path.write_text(self.name)

    def notes(self) -> list[str]:
        return [f"{self.name} is doubtful."]

    def losses(self, path: Path) -> list[str]:
        return []


@dataclass
class Restorer:
    """Notes the batches; whoever is called `fault` cannot be sampled."""

    pixels: int = 100
    batches: list[list[str]] = field(default_factory=list)

    def find(self, picture: Path, person: None, references: list[Any], *, scale: int) -> Found:
        if picture.stem == "bad":
            raise NoFace(f"{picture}: no face was found.")
        if picture.stem == "bug":
            raise ZeroDivisionError("a fault of ours")
        return Found(picture.stem, self.pixels)

    def together(self, restorations: list[Restored]) -> Restored:
        (only,) = restorations
        return only

    def sample(self, found: list[Found], *, steps: None, seed: int, variants: int, consistency: None) -> list[Restored]:
        self.batches.append([each.name for each in found])
        if any(each.name == "fault" for each in found):
            raise FloatingPointError("a fault of ours")
        return [Restored(each.name) for each in found]


@pytest.fixture
def restore(tmp_path: Path):
    """Restores pictures of these names; gives what came of them."""

    def run(restorer: Restorer, *names: str, album: bool = True) -> list[Outcome]:
        jobs = [Job(tmp_path / f"{name}.png", tmp_path / f"{name}.out", None, tmp_path / "faces.png") for name in names]
        for job in jobs:
            write_image(job.source, np.zeros((2, 2, 3), np.uint8))
        request = Request({"scale": 8}, SAMPLING, None, False, [] if album else None)
        return restore_all(restorer, [Person(Path("me"), None, [])], jobs, request)

    return run


def test_an_album_is_sampled_in_batches_and_keeps_its_order(restore, tmp_path):
    restorer, names = Restorer(), [f"{number:02d}" for number in range(20)]
    names[3] = names[18] = "bad"
    outcomes = restore(restorer, *names)
    assert [len(batch) for batch in restorer.batches] == [16, 2]
    assert [outcome.source.stem for outcome in outcomes] == names
    assert [outcome.state for outcome in outcomes] == ["failed" if name == "bad" else "restored" for name in names]
    assert outcomes[5].notes == ("05 is doubtful.",) and (tmp_path / "05.out").read_text() == "05"


def test_large_photographs_wait_in_smaller_numbers(restore):
    restorer = Restorer(pixels=60_000_000)
    restore(restorer, "a", "b", "c")
    assert restorer.batches == [["a", "b"], ["c"]]


def test_several_files_are_sampled_together_as_an_album_is(restore):
    restorer = Restorer()
    outcomes = restore(restorer, "a", "bad", "b", album=False)
    assert restorer.batches == [["a", "b"]]
    assert [outcome.state for outcome in outcomes] == ["restored", "failed", "restored"]


@pytest.mark.parametrize("name", ["bug", "fault"])
def test_a_fault_of_ours_is_shown_once_what_came_before_it_is_written(restore, name, tmp_path):
    """Not in an album, where it is one of the outcomes."""
    with pytest.raises((ZeroDivisionError, FloatingPointError)):
        restore(Restorer(), "a", "b", name, "c", album=False)
    assert [(tmp_path / f"{each}.out").exists() for each in ("a", "b", name)] == [True, True, False]


def test_a_fault_costs_its_own_picture_only(restore, tmp_path, capsys):
    restorer = Restorer()
    outcomes = restore(restorer, "a", "fault", "b")
    assert restorer.batches == [["a", "fault", "b"], ["a"], ["fault"], ["b"]]
    assert [outcome.state for outcome in outcomes] == ["restored", "failed", "restored"]
    assert "unexpected FloatingPointError: a fault of ours" in outcomes[1].why
    assert "fault.png: unexpected" in capsys.readouterr().err
    assert (tmp_path / "b.out").exists() and not (tmp_path / "fault.out").exists()


def test_a_full_disk_ends_an_album_and_every_picture_has_its_outcome(restore, capsys):
    outcomes = restore(Restorer(), "a", "full disk", "b")
    assert [outcome.state for outcome in outcomes] == ["restored", "failed", "failed"]
    assert all("No space left on device" in outcome.why for outcome in outcomes[1:])
    assert "make room and give the same command again" in capsys.readouterr().err
    with pytest.raises(OSError, match="No space left"):
        restore(Restorer(), "a", "full disk", "b", album=False)


def test_what_is_there_already_is_not_sampled(restore, monkeypatch):
    monkeypatch.setattr(restoring.album, "is_done", lambda written, request: written[0].stem == "b")
    monkeypatch.setattr(restoring.album, "notes_in", lambda path: ("doubtful.",))
    restorer = Restorer()
    outcomes = restore(restorer, "a", "b", "c")
    assert restorer.batches == [["a", "c"]]
    assert [outcome.state for outcome in outcomes] == ["restored", "skipped", "restored"]
