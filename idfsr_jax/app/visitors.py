"""Who is visiting and what belongs to whom: folders, uploads and the person learnt; all of it goes when they go."""

import contextlib
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from idfsr_jax.app.visit import Visit
from idfsr_jax.io.errors import InputError

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_PAGES = 16
"""Of one visitor at a time."""
_BROKEN_OFF = 600.0
"""Seconds after which an upload that grows no more was broken off."""


class VisitorGone(Exception):
    """The visitor has left, so that what is being done for them can stop."""


@dataclass
class _Visitor:
    """A browser: the visits of its pages, by session, and its uploads with their sizes."""

    seen: float
    visits: dict[str, Visit] = field(default_factory=dict)
    uploads: dict[Path, int] = field(default_factory=dict)
    reserved: int = 0


class Visitors:
    """All visitors, by the secret that each browser's cookie holds."""

    def __init__(
        self,
        root: Path,
        *,
        quota: int,
        most: int = 32,
        keep: float = 3600.0,
        grace: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Visitors keep their files below `root`, at most `quota` bytes of uploads each.

        Args:
          root: a folder of ours.
          quota: bytes.
          most: of more visitors the one who was seen least recently is forgotten.
          keep: seconds without a request after which a visitor is forgotten.
          grace: seconds for which a page's files outlive its connection; telephones drop theirs.
          clock: seconds.
        """
        self.root = root.resolve()
        self._quota, self._most, self._keep, self._grace, self._clock = quota, most, keep, grace, clock
        self._visitors: dict[str, _Visitor] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._visitors)

    def admit(self) -> str:
        """A new visitor's secret; forgets those who have been away, or the one seen least recently if it is full."""
        with self._lock:
            self.sweep()
            while len(self._visitors) >= self._most:
                # Whoever has opened no page loses nothing.
                self.forget(min(self._visitors.items(), key=lambda item: (bool(item[1].visits), item[1].seen))[0])
            secret = secrets.token_urlsafe(32)
            self._visitors[secret] = _Visitor(self._clock())
            return secret

    def knows(self, secret: str | None) -> bool:
        """Whether a cookie's secret is a visitor's, who is noted as present."""
        with self._lock:
            visitor = self._visitors.get(secret or "")
            if visitor is not None:
                visitor.seen = self._clock()
            return visitor is not None

    def bind(self, secret: str, session: str) -> bool:
        """Takes a page's session for a visitor's; False where it is another's, no session's name, or one too many."""
        with self._lock:
            if secret not in self._visitors or not _SESSION.fullmatch(session):
                return False
            if any(session in visitor.visits for key, visitor in self._visitors.items() if key != secret):
                return False
            visits = self._visitors[secret].visits
            if session not in visits and len(visits) >= _MOST_PAGES:
                return False
            visit = self.visit(secret, session)
            if visit.closed is not None:
                # Whoever still asks is still there, though the connection may have been lost.
                visit.closed = self._clock()
            return True

    def visit(self, secret: str, session: str) -> Visit:
        """What a page holds.

        Raises:
          VisitorGone: the visitor is not known any more.
        """
        with self._lock:
            visitor = self._visitors.get(secret)
            if visitor is None:
                raise VisitorGone
            if session not in visitor.visits:
                folder = self.root / secrets.token_hex(16)
                folder.mkdir(mode=0o700)
                visitor.visits[session] = Visit(folder)
            return visitor.visits[session]

    def is_here(self, secret: str, session: str) -> bool:
        """Whether a page's files are still kept."""
        with self._lock:
            return secret in self._visitors and session in self._visitors[secret].visits

    def connect(self, secret: str, session: str) -> None:
        """A page's connection has begun."""
        with self._lock:
            visit = self.visit(secret, session)
            visit.connections += 1
            visit.closed = None

    def hang_up(self, secret: str, session: str) -> None:
        """A page's connection has ended; with its last one it is forgotten soon, unless it comes back or asks."""
        with self._lock:
            if self.is_here(secret, session):
                visit = self._visitors[secret].visits[session]
                visit.connections = max(visit.connections - 1, 0)
                if not visit.connections:
                    visit.closed = self._clock()

    def leave(self, secret: str, session: str) -> None:
        """A page's files go, with the uploads that no other page of the visitor uses; with the last page all do."""
        with self._lock:
            if not self.is_here(secret, session):
                return
            visitor = self._visitors[secret]
            visit = visitor.visits.pop(session)
            shutil.rmtree(visit.folder, ignore_errors=True)
            kept = {path for other in visitor.visits.values() for path in other.claimed}
            self._drop(secret, visit.claimed - kept if visitor.visits else set(visitor.uploads))

    def forget(self, secret: str) -> None:
        """All of a visitor's files go, and the visitor."""
        with self._lock:
            for session in list(self._visitors[secret].visits):
                self.leave(secret, session)
            self._drop(secret, set(self._visitors[secret].uploads))
            del self._visitors[secret]

    def sweep(self) -> None:
        """Forgets pages that were closed, and visitors who have been away too long."""
        with self._lock:
            now = self._clock()
            for secret, visitor in list(self._visitors.items()):
                for session, visit in list(visitor.visits.items()):
                    if visit.closed is not None and visit.closed < now - self._grace:
                        self.leave(secret, session)
                if visitor.seen < now - self._keep:
                    self.forget(secret)
            # What an upload left that was broken off, and so is nobody's.
            for path in self.root.iterdir():
                with contextlib.suppress(OSError):
                    unfinished = path.is_file() and not path.name.startswith(".")
                    if unfinished and path.stat().st_mtime < time.time() - _BROKEN_OFF:
                        path.unlink()

    def reserve(self, secret: str, size: int) -> None:
        """Sets bytes of a visitor's quota aside for an upload that begins.

        Raises:
          InputError: it has been used up.
        """
        with self._lock:
            visitor = self._visitors[secret]
            if sum(visitor.uploads.values()) + visitor.reserved + size > self._quota:
                raise InputError(
                    f"Your pictures together take more than {self._quota // 1_000_000} MB; give fewer or smaller ones."
                )
            visitor.reserved += size

    def take(self, secret: str, size: int, files: Iterable[Path]) -> None:
        """An upload for which `size` bytes were reserved has ended; the files that came of it are the visitor's."""
        with self._lock:
            visitor = self._visitors.get(secret)
            if visitor is None:
                return
            visitor.reserved -= size
            for file in files:
                path = file.resolve()
                if self.root in path.parents and path.is_file():
                    visitor.uploads[path] = path.stat().st_size

    def owns(self, secret: str, file: Path) -> bool:
        """Whether a file is a visitor's: an upload, or in the folder of one of their pages."""
        with self._lock:
            visitor = self._visitors.get(secret)
            if visitor is None:
                return False
            path = file.resolve()
            return path in visitor.uploads or any(visit.folder in path.parents for visit in visitor.visits.values())

    def claim(self, secret: str, session: str, files: Iterable[Path]) -> bool:
        """Notes that a page makes use of uploads; False where one of the files is not the visitor's."""
        with self._lock:
            paths = {file.resolve() for file in files}
            if not all(self.owns(secret, path) for path in paths):
                return False
            self.visit(secret, session).claimed.update(paths & set(self._visitors[secret].uploads))
            return True

    def _drop(self, secret: str, paths: set[Path]) -> None:
        # Uploads of equal content and name share a file, and of equal content a folder.
        others = {path for key, visitor in self._visitors.items() if key != secret for path in visitor.uploads}
        for path in paths:
            self._visitors[secret].uploads.pop(path, None)
            if path not in others:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
