"""`idfsr restore` of one picture and of several."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.face import read_image, read_metadata

GIVEN = ["--identity", "me.safetensors", "--photos", "me", "--out"]
SECOND = ["--identity", "me.safetensors", "--photos", "tiny.png", "bad.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the picture to restore is missing"),
        (["tiny.png"], "--identity is missing"),
        (["tiny.png", "--identity", "you.safetensors"], "you.safetensors: no such identity"),
        (["tiny.png", "--identity", "me.safetensors"], "--out is missing"),
        (["tiny.png", *GIVEN, "o.png", "--reveal", "2"], "--reveal 2"),
        (["tiny.png", *GIVEN, "o.gif"], "o.gif: give a name that ends in .png or .jpg"),
        (["tiny.png", *GIVEN, "tiny.png"], "tiny.png: would be overwritten"),
        (["tiny.png", *GIVEN, "."], "tiny.png: would be overwritten"),
        (["tiny.png", *GIVEN, "me.safetensors/o.png"], "cannot be written to"),
        (["tiny.png", "bad.png", *GIVEN, "me.safetensors"], "give a folder for the results"),
        (["tiny.png", *GIVEN, "o.png", "--sheet", "o.png"], "o.png: would be overwritten"),
        (["bad.png", *GIVEN, "me/x.png", "--sheet", "me/x-3.png", "--variants", "3"], "x-3.png: would be"),
        (["tiny.png", *GIVEN, "o.png", "--steps", "0"], "--steps 0"),
        (["tiny.png", *GIVEN, "o.png", "--variants", "0"], "--variants 0"),
        (["tiny.png", *GIVEN, "o.png", "--scale", "1"], "--scale 1"),
        (["tiny.png", *GIVEN, "o.png", "--seed", "-1"], "--seed -1"),
        (["tiny.png", *GIVEN, "o.png", "--consistency", "1.5"], "--consistency 1.5"),
        (["tiny.png", *GIVEN, "o.png", "--consistency", "nan"], "--consistency nan"),
        (["tiny.png", *GIVEN, "o.png", "--box", "1,2,3"], "--box 1,2,3"),
        (["tiny.png", "bad.png", *GIVEN, "o", "--box", "1,2,3,4"], "--box belongs to one photograph"),
        (["me", *GIVEN, "o", "--face", "2"], "--face belongs to one photograph"),
        (["tiny.png", *GIVEN, "o.png", "--eyes", "1,2,x,4"], "--eyes 1,2,x,4"),
        (["tiny.png", *GIVEN, "o.png", "--eyes", "1,2,nan,4"], "--eyes 1,2,nan,4"),
        (["tiny.png", *GIVEN, "o.png", "--eyes", "1,2,3,4", "--face", "1"], "both say which face"),
        (["tiny.png", *GIVEN, "o.png", "--face", "0"], "--face 0"),
        (["tiny.png", *GIVEN, "o.png", "--identity", "you.safetensors", "--photos", "me"], "you.safetensors: no such"),
        (["tiny.png", *GIVEN, "o.png", *SECOND[:2]], "--identity is given 2 times and --photos 1 times"),
        (["tiny.png", *GIVEN, "o.png", *SECOND, "--photos", "me"], "--identity is given 2 times and --photos 3 times"),
        (["tiny.png", *GIVEN, "o.png", *SECOND, "--face", "1"], "--face belongs to one person"),
        (["tiny.png", *GIVEN, "o.png", *SECOND, "--anyone"], "--anyone belongs to one person"),
        (["tiny.png", *GIVEN, "me.safetensors.png", *SECOND[:3], "empty"], "empty: holds no photographs"),
        (["tiny.png", *GIVEN, "o.png", "--enlarge", "0"], "--enlarge 0"),
        (["tiny.png", *GIVEN, "o.png", "--enlarge", "inf"], "--enlarge inf"),
        (
            ["tiny.png", *GIVEN, "a.png", "--variants", "2", "--sheet", "a-mean.png"],
            "a-mean.png: would be",
        ),
        (["me", *GIVEN, "tiny.png"], "tiny.png: is a file"),
        (["me", *GIVEN, "o", "--sheet", "tiny.png"], "tiny.png: is a file"),
        (["empty", *GIVEN, "o"], "empty: holds no pictures"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(
    arguments: list[str], said: str, folder: Path, calls: list[Any], complaint: Callable[[list[str]], str]
):
    assert said in complaint(["restore", *arguments])
    assert calls == []


def test_restore_hands_over_its_options(folder: Path, fakes: Any, calls: list[Any]):
    options = ["--box", "1,2,3,4", "--scale", "8", "--steps", "5", "--seed", "7", "--variants", "2"]
    options += ["--consistency", "0.5", "--reveal", "0.25"]
    assert cli.main(["restore", "tiny.png", *GIVEN, "o/x.jpg", *options, "--sheet", "o/sheet.png"]) == 0
    expected = {"box": (1, 2, 3, 4), "scale": 8, "steps": 5, "seed": 7, "variants": 2, "consistency": 0.5}
    expected |= {"reveal": 0.25, "anyone": None}
    assert calls[1] == ("restore", Path("tiny.png"), [Path("me/a.png"), Path("me/b.jpg")], expected)
    with Image.open("o/x.jpg") as result:
        assert result.size == (8, 8)
    with Image.open("o/sheet.png") as sheet:
        assert sheet.size == (16, 8) and sheet.text == fakes.Restoration([]).metadata  # type: ignore[attr-defined]


def test_photographs_may_be_left_out(folder: Path, calls: list[Any]):
    assert cli.main(["restore", "tiny.png", "--identity", "me.safetensors", "--out", "o.png"]) == 0
    assert calls[-1][:3] == ("restore", Path("tiny.png"), [])


def test_one_bad_input_does_not_stop_the_rest(folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]):
    assert cli.main(["restore", "bad.png", "tiny.png", *GIVEN, "o"]) == 2
    assert sorted(path.name for path in (folder / "o").iterdir()) == ["tiny.png"]
    captured = capsys.readouterr()
    assert captured.err.startswith("idfsr: bad.png: no face was found")
    assert "1 of 2 inputs" in captured.err
    assert captured.out == f"tiny.png -> {Path('o/tiny.png')}\n"


def test_which_face_is_handed_over(folder: Path, calls: list[Any]):
    for option, value, expected in [("--eyes", "1,2,3.5,4", (1.0, 2.0, 3.5, 4.0)), ("--face", "2", 2)]:
        assert cli.main(["restore", "tiny.png", *GIVEN, "o.png", option, value, "--enlarge", "1.5", "--label"]) == 0
        assert calls[-1][3][option.removeprefix("--")] == expected
    metadata = read_metadata(folder / "o.png")
    assert (metadata["enlarge"], metadata["label"]) == ("1.5", "True")


def test_that_an_aligned_crop_is_not_enlarged_is_said(folder: Path, calls: list[Any], capsys):
    shutil.copy("tiny.png", "crop.png")
    for name, options, notes in (("crop", ["--enlarge", "2"], 1), ("crop", [], 0), ("tiny", ["--enlarge", "2"], 0)):
        assert cli.main(["restore", f"{name}.png", *GIVEN, "o.png", *options]) == 0
        said = capsys.readouterr().err
        assert said.count("\n") == said.count("note: crop.png: --enlarge was left out") == notes


def test_where_the_face_is_not_told_an_overview_is_written(
    folder: Path, calls: list[Any], complaint: Callable[[list[str]], str]
):
    (folder / "tiny.png").rename(folder / "several.png")
    assert "o-faces.png" in complaint(["restore", "several.png", *GIVEN, "o.png"])
    assert not (folder / "o.png").exists()
    assert max(read_image(folder / "o-faces.png").shape) == 1600
    assert "nothing in it is synthesised" in read_metadata(folder / "o-faces.png")["Description"]
    # It is not written over what was given.
    photograph = folder / "me" / "o-faces.png"
    shutil.copy("several.png", photograph)
    assert "me/o-faces-2.png" in complaint(["restore", "several.png", *GIVEN, "me/o.png"])
    assert photograph.read_bytes() == (folder / "several.png").read_bytes()


def test_of_one_photograph_by_itself_the_only_face_is_meant(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    for name in ("stranger.png", "strangers.png"):
        shutil.copy("tiny.png", name)
    assert cli.main(["restore", "stranger.png", *GIVEN, "o.png"]) == 0
    assert (folder / "o.png").exists() and not capsys.readouterr().err
    # Among several a stranger is, and an overview says whom to choose; nothing is written in the result's place.
    assert cli.main(["restore", "strangers.png", *GIVEN, "o2.png"]) == 0
    assert not (folder / "o2.png").exists() and max(read_image(folder / "o2-faces.png").shape) == 1600
    assert "note: strangers.png: left alone (they are numbered in o2-faces.png)." in capsys.readouterr().err
    # Of several inputs any may show somebody else.
    assert cli.main(["restore", "stranger.png", "tiny.png", *GIVEN, "o"]) == 0
    assert sorted(path.name for path in (folder / "o").iterdir()) == ["tiny.png"]
    # What lies in the result's place may be taken for it.
    shutil.copy("tiny.png", "o/stranger.png")
    capsys.readouterr()
    assert cli.main(["restore", "stranger.png", "tiny.png", *GIVEN, "o"]) == 0
    assert "note: o/stranger.png is of an earlier request." in capsys.readouterr().err


def test_each_of_several_people_has_their_own_photographs(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    shutil.copy("tiny.png", "half.png")
    arguments = ["restore", "tiny.png", *GIVEN, "o.png", *SECOND, "--scale", "8", "--seed", "3", "--reveal", "1"]
    assert cli.main(arguments) == 0
    own = [[Path("me/a.png"), Path("me/b.jpg")], [Path("tiny.png"), Path("bad.png")]]
    found = {"scale": 8, "reveal": 1.0}
    sampled = {"steps": None, "seed": 3, "variants": 1, "consistency": None}
    assert calls[1:] == [("restore", Path("tiny.png"), own, found | sampled)]
    assert read_metadata(folder / "o.png")["idfsr:identity"] == "somebody+somebody"
    whose = "of the faces, counted from the left, me.safetensors is 1 of 3, me.safetensors is"
    assert capsys.readouterr().err == f"idfsr: note: tiny.png: {whose} 2 of 3.\n"
    # Nobody's face is restored for want of a better one.
    assert cli.main(["restore", "half.png", *GIVEN, "o2.png", *SECOND]) == 0
    assert read_metadata(folder / "o2.png")["idfsr:identity"] == "somebody"
    why = "idfsr: note: half.png: face 2 of 3 stays as it is.\n"
    assert capsys.readouterr().err == f"idfsr: note: half.png: {whose} none.\n{why}"


def test_notes_and_warnings_go_to_standard_error(
    folder: Path, fakes: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fakes.Restoration, "said", ("the small face is unlike the photographs.",))
    assert cli.main(["restore", "tiny.png", *GIVEN, "o.png"]) == 0
    assert capsys.readouterr().err == "idfsr: note: tiny.png: the small face is unlike the photographs.\n"
    assert cli.main(["fit", "--photos", "tiny.png", "--out", "x.safetensors"]) == 0
    assert "warning: only one photograph" in capsys.readouterr().err
