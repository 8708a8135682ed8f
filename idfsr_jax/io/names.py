"""Names of files: how they are shown, which stand for a home folder, and how they are made to fit a folder."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_LONGEST = 255
"""Bytes of a name that Linux, macOS and Windows file systems take (NAME_MAX)."""
_JOINERS = "\u200c\u200d"
_HOME = re.compile(r"(?P<before>(?:--?[\w.-]+=|[\w-]+=|arcface:|tfds:)*)(?P<path>~.*)", re.DOTALL)


def printable(text: str) -> str:
    r"""The text as a terminal, JSON and a table can have it: what is no letter of Unicode, and control, as an escape.

    A byte of a file's name that is no UTF-8 becomes `\xe9`, a line break `\n`, and a right-to-left override `\u202e`.
    """
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # A surrogate that stands for no byte, as Windows allows.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        each if each.isprintable() or each in _JOINERS else each.encode("unicode_escape").decode() for each in text
    )


def at_home(text: str) -> str:
    """The text with a `~` or `~user` at the head of a path replaced by the home folder.

    What a path may follow is left as it is: an option (`--out=~/x`), a name (`mine=~/x`), a kind (`arcface:~/x`). A
    file whose name begins with `~` is `./~...`.
    """
    found = _HOME.fullmatch(text)
    return found["before"] + os.path.expanduser(found["path"]) if found else text


def told_apart(paths: Iterable[Path]) -> dict[Path, str]:
    """What to call each file: its name alone, or its path where another one has the same name."""
    once = dict.fromkeys(paths)
    count = Counter(path.name for path in once)
    return {path: path.name if count[path.name] == 1 else str(path) for path in once}


def beside(path: Path, tail: str) -> Path:
    """The path with a tail after its stem (`a.png`, `-2`: `a-2.png`); a stem that leaves no room for it is cut.

    A stem that was cut ends with a part of its SHA-256 sum, so that different ones stay different.
    """
    return path.with_name(fitted(path.stem, tail + path.suffix))


def fitted(stem: str, tail: str) -> str:
    """A file's name of a stem and a tail, 255 bytes at the most; see `beside`."""
    raw = os.fsencode(stem)
    room = _LONGEST - len(os.fsencode(tail))
    if len(raw) > room:
        mark = b"~" + hashlib.sha256(raw).hexdigest()[:8].encode()
        end = room - len(mark)
        while 0x80 <= raw[end] < 0xC0 and end > room - len(mark) - 3:  # Not within a letter.
            end -= 1
        whole = os.fsdecode(raw[:end])
        stem = whole + mark.decode()
    return stem + tail
