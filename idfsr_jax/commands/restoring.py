"""The work of `idfsr restore`: faces found, sampled together, written one by one; and what came of every picture."""

import contextlib
import errno
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from idfsr_jax.commands import album
from idfsr_jax.commands.album import Outcome
from idfsr_jax.commands.options import complain, note, say
from idfsr_jax.face import write_image
from idfsr_jax.io.arguments import variant_paths
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.overview import overview
from idfsr_jax.restore.places import LeftAlone, UndecidedFaces

OVERVIEW = {
    "Software": "idfsr-jax",
    "Description": "An overview of the faces that idfsr-jax found in a photograph; nothing in it is synthesised.",
}

_NO_ROOM = frozenset({errno.EDQUOT, errno.ENOSPC, errno.EROFS})
"""What befalls every further picture as well."""
_MOST_WAITING = 16
_MOST_PIXELS = 100_000_000
"""Of the photographs that wait, three bytes each; or of one that has more."""

_NOT_ENLARGED = "--enlarge was left out, as this is an aligned crop, which becomes as large as the model makes it."

T = TypeVar("T")


@dataclass(frozen=True)
class Person:
    """Whose face is restored: the identity's file, the `Identity`, and crops of the person's photographs."""

    name: Path
    identity: Any
    crops: Sequence[Any]


@dataclass(frozen=True)
class Request:
    """What is asked for, of every input alike.

    Attributes:
      finding: options of `Restorer.find`, or, of several people, of `Restorer.find_each`.
      sampling: options of `Restorer.sample`.
      enlarge: of the photograph.
      label: whether to print a visible mark.
      sums: SHA-256 of all else that decides (model, identity, photographs); None where nothing is to be skipped.
      place: whether to keep where photographs were taken.
    """

    finding: dict[str, Any]
    sampling: dict[str, Any]
    enlarge: float | None
    label: bool
    sums: list[str] | None
    place: bool = False

    @property
    def is_album(self) -> bool:
        """Whether what is there already is skipped, and no failure whatever stops the rest."""
        return self.sums is not None

    def digest(self, source: Path) -> str:
        """Names all that decides what becomes of an input."""
        wanted = {"enlarge": self.enlarge, "label": self.label, "place": self.place, "sums": self.sums}
        return album.request_digest(source, {**self.finding, **self.sampling, **wanted})


@dataclass(frozen=True)
class Job:
    """An input, and where its result and its comparison sheet belong."""

    source: Path
    result: Path
    sheet: Path | None
    overview: Path
    """Where its faces are shown numbered, if it is not clear which is meant."""


@dataclass(frozen=True)
class Waiting:
    """Faces of one picture to be sampled, each a `Found`; and what the pictures that come of them say besides."""

    job: Job
    found: Sequence[Any]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def restore_all(restorer: Any, people: Sequence[Person], jobs: Sequence[Job], request: Request) -> list[Outcome]:
    """Restores pictures; says of each what came of it.

    Faces are sampled in batches, over all devices; the photographs of one batch are in memory at a time.

    Args:
      restorer: a `Restorer`.
      people: whose faces are restored.
      jobs: distinct.
      request: what is asked for.
    """
    outcomes: dict[Job, Outcome] = {}
    try:
        _restore_each(restorer, people, jobs, request, outcomes)
    except OSError as error:
        if not request.is_album or error.errno not in _NO_ROOM:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        complain(f"{where}{error.strerror}; make room and give the same command again, which goes on where it was.")
        for job in jobs:
            why = f"{job.source}: not done ({error.strerror}); make room and give the same command again."
            outcomes.setdefault(job, Outcome(job.source, "failed", why=why))
    return [outcomes[job] for job in jobs]


def _restore_each(
    restorer: Any,
    people: Sequence[Person],
    jobs: Sequence[Job],
    request: Request,
    outcomes: dict[Job, Outcome],
) -> None:
    """The work of `restore_all`; what came of each is put into `outcomes` as soon as it is known."""
    waiting: list[Waiting] = []
    for job in jobs:
        try:
            came = _attempted(partial(_find, restorer, people, job, request), job, request)
        except Exception:
            _finish(restorer, waiting, request, outcomes)  # Whoever waits is not to blame.
            raise
        if isinstance(came, Outcome):
            outcomes[job] = came
            continue
        waiting.append(came)
        pixels = sum(each.found[0].pixels for each in waiting)
        if len(waiting) == _MOST_WAITING or pixels > _MOST_PIXELS:
            _finish(restorer, waiting, request, outcomes)
            waiting = []
    _finish(restorer, waiting, request, outcomes)


def _attempted(work: Callable[[], T], job: Job, request: Request) -> T | Outcome:
    """What `work` returns; or, where it cannot be done, what came of the job, after a complaint."""
    try:
        return work()
    except InputError as error:
        complain(error)
        return Outcome(job.source, "failed", why=str(error))
    except Exception as error:
        if not request.is_album or (isinstance(error, OSError) and error.errno in (None, *_NO_ROOM)):
            raise
        # In an album of thousands one picture that meets a fault of ours, or of a disk's, shall not cost the night.
        if isinstance(error, OSError):
            why = f"{job.source}: its result cannot be written ({error.strerror}); choose another place."
        else:
            why = f"{job.source}: unexpected {type(error).__name__}: {error}"
        complain(why)
        return Outcome(job.source, "failed", why=why)


def _find(restorer: Any, people: Sequence[Person], job: Job, request: Request) -> Waiting | Outcome:
    """Looks for the faces; or says that all is done already."""
    metadata = {}
    if request.is_album:
        metadata[album.REQUEST] = request.digest(job.source)
        written = [job.result, *variant_paths([job.result], request.sampling["variants"])]
        if album.is_done([*written, *([job.sheet] if job.sheet else [])], metadata[album.REQUEST]):
            why = "there already, from the same input and options"
            return Outcome(job.source, "skipped", job.result, why, album.notes_in(job.result))
    refused: list[str] = []
    try:
        if len(people) == 1:
            found = [restorer.find(job.source, people[0].identity, people[0].crops, **request.finding)]
        else:
            given = [(person.identity, person.crops) for person in people]
            found = restorer.find_each(job.source, given, **request.finding, note=refused.append)
        notes = (_whose(people, found), *refused) if len(people) > 1 else ()
        return Waiting(job, [face for face in found if face is not None], metadata, notes)
    except UndecidedFaces as error:
        sentence = str(error)
        # Nobody is asked about an album's strangers, nor about a photograph's only face.
        if not (isinstance(error, LeftAlone) and (request.is_album or len(error.choice.places) == 1)):
            write_image(job.overview, overview(error.image, error.choice), OVERVIEW)
            sentence = f"{sentence.removesuffix('.')} (they are numbered in {job.overview})."
        if not isinstance(error, LeftAlone):
            raise InputError(sentence) from error
        earlier = (f"{job.result} is of an earlier request.",) if job.result.exists() else ()
        for each in (sentence, *earlier):
            note(each)
        return Outcome(job.source, "left alone", why=error.reason, notes=earlier)


def _whose(people: Sequence[Person], found: Sequence[Any]) -> str:
    """Says which face of a photograph is whose."""
    said = []
    for person, each in zip(people, found, strict=True):
        which = "none" if each is None else f"{each.face.choice.chosen + 1} of {len(each.face.choice.places)}"
        said.append(f"{person.name} is {which}")
    return f"of the faces, counted from the left, {', '.join(said)}."


def _finish(restorer: Any, waiting: Sequence[Waiting], request: Request, outcomes: dict[Job, Outcome]) -> None:
    """Samples faces together, writes what comes of them one by one, and says so in `outcomes`."""
    ready: Sequence[Any] = [None] * len(waiting)
    if len(waiting) > 1:
        # What fails here fails again below, where each is sampled alone and costs nobody else's picture.
        with contextlib.suppress(Exception):
            sampled = iter(restorer.sample([face for each in waiting for face in each.found], **request.sampling))
            ready = [list(itertools.islice(sampled, len(each.found))) for each in waiting]
    for each, own in zip(waiting, ready, strict=True):
        outcomes[each.job] = _attempted(partial(_write, restorer, each, own, request), each.job, request)


def _write(restorer: Any, each: Waiting, ready: Sequence[Any] | None, request: Request) -> Outcome:
    """Writes restorations of one picture, `ready` or else sampled now."""
    restoration = restorer.together(ready or restorer.sample(each.found, **request.sampling))
    job = each.job
    is_crop = each.found[0].pixels == 0
    left_out = (_NOT_ENLARGED,) if is_crop and request.enlarge is not None else ()
    doubts = (*restoration.notes(), *restoration.losses(job.result), *left_out)
    # Whoever gives the command again is told them again; names of files do not belong into a picture.
    metadata = {**each.metadata, album.NOTES: json.dumps(doubts)} if request.is_album and doubts else each.metadata
    options: dict[str, Any] = {
        "enlarge": request.enlarge,
        "label": request.label,
        "metadata": metadata,
        "place": request.place,
    }
    if request.sampling["variants"] > 1:
        restoration.save_spread(job.result, **options)
    if job.sheet is not None:
        restoration.save_sheet(job.sheet, label=request.label, metadata=each.metadata)
    restoration.save(job.result, **options)
    say(f"{job.source} -> {job.result}")
    notes = (*doubts, *each.notes)
    for sentence in notes:
        note(f"{job.source}: {sentence}")
    return Outcome(job.source, "restored", job.result, notes=notes)
