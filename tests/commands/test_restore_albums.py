"""`idfsr restore` of an album."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from idfsr_jax import cli
from idfsr_jax.face import read_image
from idfsr_jax.io.names import printable

GIVEN = ["--identity", "me.safetensors", "--photos", "me", "--out"]
SECOND = ["--identity", "me.safetensors", "--photos", "tiny.png", "bad.png"]


@pytest.fixture
def album(folder: Path) -> Path:
    """A folder of two good pictures, one in a subfolder, one bad, one that meets a bug, and something else."""
    (folder / "album/deep").mkdir(parents=True)
    for name in ("a.png", "deep/a.png", "bad.png", "bug.png"):
        shutil.copy("tiny.png", folder / "album" / name)
    (folder / "album/notes.txt").write_text("no picture")
    return folder / "album"


def test_an_album_keeps_its_folders_and_says_what_came_of_every_picture(
    album: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["restore", "album", *GIVEN, "album/out", "--sheet", "sheets"]) == 2
    assert read_image(album / "out/a.png").shape == read_image(album / "out/deep/a.png").shape == (8, 8, 3)
    assert Path("sheets/deep/a.png").is_file()
    summary = json.loads((album / "out/summary.json").read_text())
    assert [entry["output"] for entry in summary["restored"]] == ["album/out/a.png", "album/out/deep/a.png"]
    assert [entry["input"] for entry in summary["failed"]] == ["album/bad.png", "album/bug.png"]
    assert "no face" in summary["failed"][0]["why"] and "ZeroDivisionError" in summary["failed"][1]["why"]
    printed = capsys.readouterr().out
    assert "restored" in printed and "no face" in printed


def test_an_album_goes_on_where_it_was(album: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]):
    (album / "bad.png").unlink()
    (album / "bug.png").unlink()

    def restored(*options: str) -> list[str]:
        del calls[:]
        assert cli.main(["restore", "album", *GIVEN, "album/out", *options]) == 0
        return [str(call[1].relative_to("album")) for call in calls if call[0] == "restore"]

    assert restored() == ["a.png", "deep/a.png"]
    assert restored() == []
    skipped = json.loads((album / "out/summary.json").read_text())["skipped"]
    assert [entry["input"] for entry in skipped] == ["album/a.png", "album/deep/a.png", "album/notes.txt"]
    (album / "out/a.png").unlink()
    assert restored() == ["a.png"]
    Image.new("RGB", (8, 8), "white").save(album / "deep/a.png")
    assert restored() == ["deep/a.png"]
    assert restored("--seed", "1") == ["a.png", "deep/a.png"]
    assert restored("--seed", "1", "--variants", "2") == ["a.png", "deep/a.png"]
    assert restored("--seed", "1", "--variants", "2") == []
    (album / "out/deep/a-spread.png").unlink()
    assert restored("--seed", "1", "--variants", "2") == ["deep/a.png"]
    Path("me.safetensors").rename("you.safetensors")
    Path("me.safetensors").write_text("identity")
    assert restored("--seed", "1", "--variants", "2") == []
    Image.new("RGB", (8, 8), "white").save("me/a.png")
    assert restored("--seed", "1", "--variants", "2") == ["a.png", "deep/a.png"]


def test_strangers_are_left_alone_and_are_no_failure(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    (folder / "album").mkdir()
    for name in ("me", "stranger", "strangers"):
        shutil.copy("tiny.png", folder / "album" / f"{name}.png")

    def restored(*options: str) -> dict[str, Any]:
        assert cli.main(["restore", "album", *GIVEN, "out", *options]) == 0
        return json.loads((folder / "out/summary.json").read_text())

    summary = restored()
    assert [entry["input"] for entry in summary["restored"]] == ["album/me.png"]
    assert summary["left alone"] == [
        {"input": "album/stranger.png", "why": "unlike the person"},
        {"input": "album/strangers.png", "why": "too small to tell"},
    ]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["me.png", "summary.json"]
    captured = capsys.readouterr()
    assert "note: album/stranger.png: left alone" in captured.err
    assert [line.split("│")[1:-1] for line in captured.out.splitlines() if "left alone" in line] == [
        [" 1        ", " left alone ", " too small to tell "],
        [" 1        ", " left alone ", " unlike the person "],
    ]
    # With --anyone it is another request.
    assert len(restored("--anyone")["restored"]) == 3
    summary = restored()
    assert len(summary["restored"]) == 1 and len(summary["left alone"]) == 2
    assert summary["left alone"][0]["notes"] == ["out/stranger.png is of an earlier request."]


def test_an_album_of_several_people_goes_on_where_it_was(folder: Path, calls: list[Any]):
    (folder / "album").mkdir()
    for name in ("a.png", "half.png"):
        shutil.copy("tiny.png", folder / "album" / name)

    def summary(*second: str) -> dict[str, Any]:
        assert cli.main(["restore", "album", *GIVEN, "out", *second]) == 0
        return json.loads((folder / "out/summary.json").read_text())

    assert [entry["notes"][0].endswith("none.") for entry in summary(*SECOND)["restored"]] == [False, True]
    assert len(summary(*SECOND)["skipped"]) == 2
    assert len(summary()["restored"]) == 2
    assert len(summary(*SECOND)["restored"]) == 2


def test_every_thing_in_a_folder_is_named_but_what_systems_leave_there(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("idfsr_jax.io.kinds.can_read_heic", lambda: False)
    album = folder / "album"
    (album / "__MACOSX").mkdir(parents=True)
    (album / "@eaDir").mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "__MACOSX/._a.png", "@eaDir/a.png"):
        (album / name).write_bytes(b"not a picture")
    shutil.copy("tiny.png", album / "no ending")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).convert("CMYK").save(album / "jpeg.png", "JPEG")
    (album / "gone.jpg").symlink_to("nowhere.jpg")
    (album / "loop.jpg").symlink_to("loop.jpg")
    (album / "elsewhere").symlink_to(folder / "me")
    (album / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (album / "renamed.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (album / "clip.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    (album / "raw.NEF").write_bytes(b"MM\0*" + bytes(40))
    os.mkfifo(album / "pipe.png")
    assert cli.main(["restore", "album", *GIVEN, "out"]) == 0
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == ["jpeg.png", "no ending.png"]
    summary = json.loads((folder / "out/summary.json").read_text())
    said = {Path(entry["input"]).name: entry["why"] for entry in summary["skipped"]}
    assert said.keys() == {
        *("clip.mov", "elsewhere", "gone.jpg", "loop.jpg", "notes.txt", "photo.heic", "pipe.png", "raw.NEF"),
        "renamed.jpg",
    }
    assert "leads nowhere (nowhere.jpg)" in said["gone.jpg"] and "pillow-heif" in said["photo.heic"]
    assert "pillow-heif" in said["renamed.jpg"] and "raw file" in said["raw.NEF"] and "video" in said["clip.mov"]
    captured = capsys.readouterr()
    assert all(f"skipped: album/{name}" in captured.err for name in said)
    assert "DS_Store" not in captured.err + captured.out and "Thumbs" not in captured.err + captured.out


@pytest.mark.parametrize(
    "name",
    [
        "n" * 251 + ".png",
        "n" * 255,
        "\u00fc" * 125 + ".webp",
        "\u4eba" * 83 + ".jpeg",
        "[red]a[bold] :heart:.png",
        "line\nbreak \x1b[31m.png",
        "a\u202egnp.png",
    ],
)
def test_every_legal_name_works_in_an_album(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str], name: str
):
    (folder / "album").mkdir()
    shutil.copy("tiny.png", folder / "album" / name)
    shutil.copy("bad.png", folder / "album" / "bad.png")
    assert cli.main(["restore", "album", *GIVEN, "out", "--variants", "2"]) == 2
    summary = json.loads((folder / "out/summary.json").read_text())
    assert len(summary["restored"]) == 1 and len(summary["failed"]) == 1
    written = sorted(path.name for path in (folder / "out").glob("*.png"))
    assert len(written) == 4 and sum("-spread" in each for each in written) == 1
    captured = capsys.readouterr()
    assert "\x1b[31m" not in captured.out + captured.err and "\u202e" not in captured.out + captured.err
    assert captured.out.startswith(f"album/{printable(name)} -> out/")


def test_a_name_that_is_no_text_is_escaped_and_can_be_told(
    folder: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
):
    (folder / "album").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy("tiny.png", folder / "album" / name)
    assert cli.main(["restore", "album", *GIVEN, "out"]) == 0
    text = (folder / "out/summary.json").read_bytes().decode("utf-8")
    (entry,) = json.loads(text)["restored"]
    assert entry["input"] == "album/caf\\xe9.png" and entry["output"] == "out/caf\\xe9.png"
    assert Path(os.fsdecode(unquote_to_bytes(entry["input_bytes"]))).is_file()
    assert "\\udc" not in text and "album/caf\\xe9.png -> out" in capsys.readouterr().out


def test_the_summary_is_written_where_the_disk_is_full(
    folder: Path, calls: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A disk with room for the reserve and nothing else: only what is written after the reserve is given up fits."""
    (folder / "album").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy("tiny.png", folder / "album" / name)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if any((folder / "out").glob(".*.reserved")) and os.fstat(descriptor).st_size < 65_536:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main(["restore", "album", *GIVEN, "out"]) == 2
    summary = json.loads((folder / "out/summary.json").read_text())
    assert [len(summary[state]) for state in ("restored", "skipped", "failed")] == [0, 0, 2]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["summary.json"]
    assert "out/a.png: No space left on device; make room" in capsys.readouterr().err


def test_sigterm_ends_an_album_as_ctrl_c_does(
    folder: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(fakes.Restorer, "find", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    Path("album").mkdir()
    shutil.copy("tiny.png", "album")
    assert cli.main(["restore", "album", *GIVEN, "out"]) == 143
    assert capsys.readouterr().err == "idfsr: interrupted\n"
    assert list(Path("out").iterdir()) == [] and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("kept", [True, False])
def test_an_album_restored_again_keeps_its_doubts(
    kept: bool, album: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(fakes.Restoration, "said", ("it may be somebody else: G\u00fcnther.",))
    command = ["restore", "album", *GIVEN, "out"]
    cli.main(command)
    first = json.loads(Path("out/summary.json").read_text())["restored"]
    if not kept:
        Path("out/summary.json").unlink()  # As after an interruption.
    for _ in range(2):
        cli.main(command)
        again = json.loads(Path("out/summary.json").read_text())["skipped"]
        notes = {each["input"]: each.get("notes") for each in again}
        assert first and all(notes[each["input"]] == each["notes"] != [] for each in first)
    assert "doubts" in capsys.readouterr().out
