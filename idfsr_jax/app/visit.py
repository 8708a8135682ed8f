"""What one open page holds while it is open."""

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from idfsr_jax.app.people import Person
from idfsr_jax.app.session import Base, Question, Result
from idfsr_jax.face import Box


@dataclass
class Visit:
    """What one open page holds.

    Attributes:
      folder: for its results; its name cannot be guessed.
      person: who was learnt.
      picture: the one to restore.
      question: what was asked.
      boxes: of the faces that were clicked at in photographs of the person, by photograph.
      clicks: into the question's picture, so far.
      result: of the last restoration.
      shown: which of its variants is.
      base: the picture with faces restored already, which a further one is put into.
      claimed: uploads that the page has made use of.
      connections: that the page holds now.
      closed: when the last of them ended, in seconds; None while there is one, or none has begun.
    """

    folder: Path
    person: Person | None = None
    picture: Path | None = None
    question: Question | None = None
    boxes: dict[Path, Box] = field(default_factory=dict)
    clicks: list[tuple[float, float]] = field(default_factory=list)
    result: Result | None = None
    shown: int = 0
    base: Base | None = None
    claimed: set[Path] = field(default_factory=set)
    connections: int = 0
    closed: float | None = None

    def clear(self) -> None:
        """The last result goes, and its folder."""
        if self.result is not None:
            shutil.rmtree(self.result.before.parent, ignore_errors=True)
        self.result, self.shown = None, 0

    def room(self) -> Path:
        """A new, empty folder for the next result; the one before goes."""
        self.clear()
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder
