"""`idfsr fit`; and how a command ends when something is wrong."""

from pathlib import Path
from typing import Any

import pytest

from idfsr_jax import cli
from idfsr_jax.io.errors import InputError


def test_fit_hands_over_the_photographs_of_a_folder(folder: Path, calls: list[Any]):
    assert cli.main(["fit", "--photos", "me", "tiny.png", "--out", "new/you.safetensors", "--weights", "w"]) == 0
    assert calls == [("load", Path("w")), ("fit", [Path("me/a.png"), Path("me/b.jpg"), Path("tiny.png")])]
    assert (folder / "new/you.safetensors").read_text() == "identity"


def test_fit_hands_over_the_boxes_that_point_at_faces(folder: Path, calls: list[Any]):
    fit = ["fit", "--photos", "me", "--out", "x.safetensors"]
    assert cli.main([*fit, "--box", "a.png:1,2,3,4", "--box", "me/b.jpg:5,6,7,8"]) == 0
    assert ("boxes", {Path("me/a.png"): (1, 2, 3, 4), Path("me/b.jpg"): (5, 6, 7, 8)}) in calls


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (InputError("x: is wrong."), 2)])
def test_exit_codes(error: BaseException, code: int, folder: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(fakes.Restorer, "load", fail)
    assert cli.main(["fit", "--photos", "me", "--out", "x.safetensors"]) == code


def test_a_bug_is_not_hidden(folder: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fakes.Identity, "save", lambda self, path: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fit", "--photos", "me", "--out", "x.safetensors"])
