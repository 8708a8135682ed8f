"""Names as they are shown, expanded and shortened."""

import os
from pathlib import Path

import pytest

from idfsr_jax.io.names import at_home, beside, fitted, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.png", "a b.png"),
        ("Zo\u00eb \u4eba.png", "Zo\u00eb \u4eba.png"),
        ("\U0001f468\u200d\U0001f469.png", "\U0001f468\u200d\U0001f469.png"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        (os.fsdecode(b"\xff\xfe"), "\\xff\\xfe"),
        ("\ud800", "\\ud800"),
        ("a\nb\x1b[0m\x00", "a\\nb\\x1b[0m\\x00"),
        ("a\u202eb", "a\\u202eb"),
        ("[red]", "[red]"),
    ],
)
def test_what_cannot_be_printed_is_escaped(name, shown):
    assert printable(name) == shown
    assert printable(name).encode("utf-8").decode() == shown


def test_home_is_expanded_at_the_head_of_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home-of-me")
    home = "/home-of-me"
    assert at_home("~") == home and at_home("~/a/~b") == f"{home}/a/~b"
    assert at_home("--out=~/a") == f"--out={home}/a" and at_home("--train.out=~/a") == f"--train.out={home}/a"
    assert at_home("arcface:~/a") == f"arcface:{home}/a" and at_home("mine=~/a") == f"mine={home}/a"
    assert at_home("--encoder=arcface:~/a") == f"--encoder=arcface:{home}/a"
    for same in ("./~", "a~", "a/~/b", "~nobody-of-this-name/a", "--label", "", "user:~pass"):
        assert at_home(same) == same


def test_what_is_too_long_is_cut_between_letters_and_stays_distinct():
    assert beside(Path("a/b.png"), "-2") == Path("a/b-2.png") and fitted("a", ".png") == "a.png"
    for letter in ("n", "\u00fc", "\u4eba", "\U0001f600", os.fsdecode(b"\xe9")):
        whole = letter * (251 // len(os.fsencode(letter)))
        for tail in (".png", "-spread.png", "-mean.jpeg", ".12.png"):
            name = fitted(whole, tail)
            assert name.endswith(tail) and 200 < len(os.fsencode(name)) <= 255
            if letter.isprintable():
                name.encode("utf-8")
            other = fitted(whole[:-1] + "x", tail)
            assert len(os.fsencode(whole + tail)) <= 255 or other != name
