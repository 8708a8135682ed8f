"""What one open page holds while it is open."""

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from idfsr_jax.app.people import Person
from idfsr_jax.app.session import Question, Result


@dataclass
class Visit:
    """What one open page holds.

    Attributes:
      folder: for its results; its name cannot be guessed.
      person: who was learnt.
      picture: the one to restore.
      question: what was asked.
      clicks: into the question's picture, so far.
      result: of the last restoration.
      claimed: uploads that the page has made use of.
      connections: that the page holds now.
      closed: when the last of them ended, in seconds; None while there is one, or none has begun.
    """

    folder: Path
    person: Person | None = None
    picture: Path | None = None
    question: Question | None = None
    clicks: list[tuple[float, float]] = field(default_factory=list)
    result: Result | None = None
    claimed: set[Path] = field(default_factory=set)
    connections: int = 0
    closed: float | None = None

    def room(self) -> Path:
        """A new, empty folder for the next result; the one before goes."""
        if self.result is not None:
            shutil.rmtree(self.result.before.parent, ignore_errors=True)
            self.result = None
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder
