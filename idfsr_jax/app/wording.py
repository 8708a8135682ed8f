"""Sentences of the package in the words of the page, which has buttons where the command has options."""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_ON_THE_PAGE = (
    ("; --face N takes another.", "; click another one to take that."),
    ("; --box FILE:x,y,width,height takes another.", "; click the right one below."),
    ("; give --face N.", "; click the one that is meant."),
    ("; give --face N, counted from the left, or --anyone.", "; click the one that is meant."),
    (
        "; give its place by --box x,y,width,height or --eyes x1,y1,x2,y2.",
        "; click the middle of one eye in the picture below, then of the other.",
    ),
    ("; if it is none, --box says where the face is.", "."),
    ("; if that is wrong, --box says where it is.", "."),
    ("; --box says where it is.", "."),
    ("; crop it to the head, or give --box.", "; crop it to the head."),
    (
        "leave those of one person, or give --keep-all if it is one.",
        'leave those of one person, or tick "All of them".',
    ),
    ("; give x1,y1,x2,y2.", "; click the middle of one eye, then of the other."),
)
_REDUCE_FIRST = " (give --scale "


def on_the_page(sentence: str, files: Iterable[Path] = ()) -> str:
    """The sentence without command-line options and without the folders that uploads lie in.

    Args:
      sentence: of an `InputError`, or a note.
      files: that it may name.
    """
    for file in files:
        sentence = sentence.replace(str(file), file.name)
    for said, instead in _ON_THE_PAGE:
        sentence = sentence.replace(said, instead)
    if _REDUCE_FIRST in sentence:
        sentence = sentence[: sentence.index(_REDUCE_FIRST)] + "."
    return sentence


def said(kind: str, sentences: Sequence[str]) -> str:
    """Sentences as a box of the page's, HTML; nothing if there are none.

    Args:
      kind: of the box, a class of the stylesheet.
      sentences: plain text.
    """
    if not sentences:
        return ""
    lines = "".join(f"<p>{html.escape(_capital(sentence))}</p>" for sentence in sentences)
    return f'<div class="said {kind}" role="status">{lines}</div>'


def _capital(sentence: str) -> str:
    """With a capital at its head, but for the name of a file, which stays as it is."""
    return sentence if re.match(r"[^:]*\.\w{1,5}: ", sentence) else sentence[:1].upper() + sentence[1:]
