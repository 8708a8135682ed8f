"""Which pictures are in an album, where their results go, and what the summary says."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from idfsr_jax.commands.album import (
    REQUEST,
    Outcome,
    State,
    album_of,
    is_done,
    request_digest,
    summary_rows,
    sums_of,
    write_summary,
)
from idfsr_jax.face import write_image
from idfsr_jax.io.errors import InputError

GREY = np.full((4, 4, 3), 99, np.uint8)


def place(folder: Path, *names: str) -> None:
    for name in names:
        write_image(folder / name, GREY)


def test_a_folder_keeps_its_order_and_what_was_written_is_no_input(tmp_path):
    album, out = tmp_path / "album", tmp_path / "album/out"
    place(album, "b.png", "a.jpg", "deep/a.png", ".hidden/c.png", "out/a.png")
    (album / "notes.txt").write_text("no picture")
    pairs = [(source.relative_to(album), result.relative_to(out)) for source, result in album_of([album], out)[0]]
    assert [(str(source), str(result)) for source, result in pairs] == [
        ("a.jpg", "a.png"),
        ("b.png", "b.png"),
        ("deep/a.png", "deep/a.png"),
    ]


def test_two_folders_and_a_file_do_not_overwrite_each_other(tmp_path):
    place(tmp_path, "x/a.png", "y/a.png", "a.png")
    pairs, _ = album_of([tmp_path / "x", tmp_path / "y", tmp_path / "a.png"], tmp_path / "out")
    assert [result.name for _, result in pairs] == ["a.png", "a.2.png", "a.3.png"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no pictures"):
        album_of([tmp_path], tmp_path / "out")


def test_a_request_is_its_input_and_its_options(tmp_path):
    place(tmp_path, "a.png", "b.png")
    write_image(tmp_path / "c.png", GREY + 1)
    digest = request_digest(tmp_path / "a.png", {"seed": 0})
    assert digest == request_digest(tmp_path / "b.png", {"seed": 0})
    assert digest != request_digest(tmp_path / "c.png", {"seed": 0})
    assert digest != request_digest(tmp_path / "a.png", {"seed": 1})
    with pytest.raises(InputError, match="missing"):
        sums_of([tmp_path / "missing.png"])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_done_is_what_was_made_for_the_same_request(tmp_path, name):
    path = tmp_path / name
    assert not is_done([path], "request")
    write_image(path, GREY)
    assert not is_done([path], "request")
    write_image(path, GREY, {REQUEST: "request"})
    assert is_done([path], "request") and not is_done([path], "another")
    path.write_bytes(path.read_bytes()[:20])
    assert not is_done([path], "request")


def test_the_summary_counts_by_reason(tmp_path):
    a, b, c, d, e = (tmp_path / f"{letter}.png" for letter in "abcde")
    outcomes = [
        Outcome(a, "restored", a, notes=("doubtful.",)),
        Outcome(b, "failed", why=f"{b}: no face."),
        Outcome(c, "failed", why=f"{c}: no face."),
        Outcome(d, "skipped", d, "there already", ("doubtful.",)),
        Outcome(e, "left alone", why="unlike the person"),
    ]
    assert summary_rows(outcomes) == [
        ("2", "failed", "no face."),
        ("1", "left alone", "unlike the person"),
        ("1", "restored", "with doubts"),
        ("1", "skipped", "there already, with doubts"),
    ]
    write_summary(tmp_path / "summary.json", outcomes)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {state: len(entries) for state, entries in summary.items()} == dict(zip(get_args(State), (1, 1, 1, 2)))
    assert summary["restored"][0] == {"input": str(a), "output": str(a), "notes": ["doubtful."]}
