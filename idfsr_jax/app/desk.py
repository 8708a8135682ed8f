"""What stands between the page's buttons and `session`: who asks, what is shown, and what is said when it fails."""

import functools
import html
import secrets
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import gradio as gr

from idfsr_jax.app.guard import COOKIE
from idfsr_jax.app.messages import paths_in
from idfsr_jax.app.people import Person, learn_person, recall_person
from idfsr_jax.app.session import (
    Base,
    Question,
    Result,
    Wishes,
    ask_which,
    eyes_at,
    face_at,
    restore_picture,
    write_result,
)
from idfsr_jax.app.visit import Visit
from idfsr_jax.app.visitors import VisitorGone, Visitors
from idfsr_jax.app.wording import on_the_page, said
from idfsr_jax.face import resize_crop, write_image
from idfsr_jax.io.arguments import MAX_SEED
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.photographs import Group

P = ParamSpec("P")

_SEVERAL = "Click a variant to compare and to download it. Where the map is bright, the model guesses."
_OUR_FAULT = "Something went wrong here, and it was not your doing; try again, or with another picture."
_GONE = "This page was closed for too long, and its pictures are deleted; reload it and start anew."
_NEXT = "What is restored stays; learn the next person in step 1 and restore again"
_OR_CLICK = ", or click a face to restore it with the person who is known"
_ALONE = "The saved identity alone says who it is; to have photographs beside it, drop them above and take it again."
_WHOSE = "Which face is the person's? Those with a tick were taken; click another one below to take that."
_FACE = 96
"""Side of the faces of group pictures, in pixels."""
_MARKS = {"used": "✓", "aside": "–", "unusable": "✕"}
SHOWN = ("empty", "slider", "notes", "download", "variants", "spread", "again", "another", "ask", "chooser")
"""Components of the result, in the order in which values are given for them, after one for the step's status."""


def answers(place: int | None, count: int = 0) -> Callable[[Callable[Concatenate["Desk", P], list[Any]]], Any]:
    """Turns whatever a method raises into a sentence on the page; what is our fault is printed for the operator.

    Args:
      place: of the component that sentences go to, among those that the method gives values for; the others stay as
        they are. None if there is no such component, and the sentence pops up instead.
      count: of all of these.
    """

    def decorate(method: Callable[Concatenate["Desk", P], list[Any]]) -> Callable[Concatenate["Desk", P], list[Any]]:
        @functools.wraps(method)
        def wrapped(self: "Desk", *args: P.args, **kwargs: P.kwargs) -> list[Any]:
            try:
                return method(self, *args, **kwargs)
            except InputError as error:
                sentence = on_the_page(str(error), [Path(path) for path in paths_in(list(args))])
            except VisitorGone:
                sentence = _GONE
            except Exception:
                traceback.print_exc(file=sys.stderr)
                sentence = _OUR_FAULT
            if place is None:
                raise gr.Error(html.escape(sentence), duration=12, title="Please look again", print_exception=False)
            return [said("bad", [sentence]) if each == place else gr.skip() for each in range(count)]

        return wrapped

    return decorate


@dataclass(frozen=True)
class Desk:
    """The page's buttons; each method takes the values of components and returns values for others.

    Attributes:
      restorer: a `Restorer`.
      visitors: of the page.
    """

    restorer: Any
    visitors: Visitors

    @answers(None)
    def note(self, photographs: Any, request: gr.Request) -> list[Any]:
        """The photographs have changed; the guard has taken note already."""
        return []

    @answers(0, 3)
    def learn(
        self,
        photographs: Any,
        keep_all: Any,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008, this is how Gradio hands over its bar
    ) -> list[Any]:
        """Learns the person; returns the status, the identity's download, and the faces of group pictures."""
        visit, here = self._visit(request)
        paths = [Path(path) for path in dict.fromkeys(paths_in(photographs))]

        def report(step: int, steps: int) -> None:
            here()
            words = f"Learning, step {step} of {steps}" if step else "Looking through the photographs"
            progress((step, steps), desc=words, unit="steps")

        person = learn_person(self.restorer, paths, keep_all=bool(keep_all), boxes=visit.boxes, progress=report)
        here()
        visit.person = person
        file = visit.folder / "identity.safetensors"
        person.identity.save(file)
        return [_learnt(person), gr.update(value=str(file), visible=True), _shown_faces(visit, person)]

    @answers(0, 3)
    def point(
        self,
        photographs: Any,
        keep_all: Any,
        event: gr.SelectData,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """A click at one of the faces of group pictures: that is the person, who is learnt anew."""
        visit, _ = self._visit(request)
        given = [Path(path) for path in paths_in(photographs)]
        faces, number = _faces_of(visit.person), int(event.index)
        if not 0 <= number < len(faces) or faces[number][0].path not in given:
            raise InputError("These faces are gone; learn the person again.")
        group, face = faces[number]
        box = group.faces[face].box
        assert box is not None
        visit.boxes[group.path] = box
        return self.learn(photographs, keep_all, request, progress)

    @answers(0, 3)
    def recall(self, file: Any, photographs: Any, request: gr.Request) -> list[Any]:
        """Takes a saved identity; returns the status, and no download of what the visitor has."""
        visit, here = self._visit(request)
        given = list(paths_in(file))
        if not given:
            raise InputError("There is no identity yet; choose a file that was downloaded here.")
        beside = [Path(path) for path in dict.fromkeys(paths_in(photographs))]
        person = recall_person(self.restorer, Path(given[0]), beside)
        here()
        visit.person = person
        told = f"The saved identity, with {_plural(len(person.crops))} beside it." if person.crops else _ALONE
        nothing = gr.update(value=None, visible=False)
        return [said("good", [told]) + said("warn", person.warnings), nothing, nothing]

    @answers(None)
    def drop(self, picture: Any, request: gr.Request) -> list[Any]:
        """Another picture was dropped: what belonged to the last one goes."""
        visit, _ = self._visit(request)
        visit.clear()
        visit.question, visit.clicks, visit.base = None, [], None
        return ["", *_nothing()]

    @answers(0, 1 + len(SHOWN))
    def which(self, picture: Any, request: gr.Request) -> list[Any]:
        """Shows the faces of the picture, to click the one that is meant."""
        visit, here = self._visit(request)
        self._take(visit, picture)
        visit.question = ask_which(self.restorer, visit.picture)
        here()
        return ["", *_nothing(*_asked(visit, visit.question))]

    @answers(None)
    def another(self, request: gr.Request) -> list[Any]:
        """Further faces go into the picture that was made."""
        visit, _ = self._visit(request)
        result = visit.result
        if result is None or result.enlarged is None:
            raise InputError("This picture is gone; restore a face of it first.")
        picture = visit.folder / f"base-{secrets.token_hex(4)}.png"
        picture.write_bytes(result.pictures[visit.shown].read_bytes())
        if visit.base is not None:
            visit.base.picture.unlink(missing_ok=True)
        visit.base = Base(picture, result.enlarged)
        sentence, chooser = (_NEXT + _OR_CLICK, gr.skip()) if result.others else (_NEXT, gr.update(visible=False))
        return ["", *_nothing(said("ask", [f"{sentence}."]), chooser)]

    @answers(0, 1 + len(SHOWN))
    def restore(
        self, picture: Any, variants: Any, faithful: Any, seed: Any, label: Any, reveal: Any, request: gr.Request
    ) -> list[Any]:
        """Restores the picture, or asks where the face is."""
        visit, here = self._visit(request)
        self._take(visit, picture)
        return self._restore(visit, here, _wishes(variants, faithful, seed, label, reveal))

    @answers(1 + SHOWN.index("ask"), 1 + len(SHOWN))
    def click(
        self,
        variants: Any,
        faithful: Any,
        seed: Any,
        label: Any,
        reveal: Any,
        event: gr.SelectData,
        request: gr.Request,
    ) -> list[Any]:
        """A click into the picture that a question came with."""
        visit, here = self._visit(request)
        question = visit.question
        if question is None:
            raise InputError("There was no question; restore the picture first.")
        x, y = (float(value) for value in event.index)
        wishes = _wishes(variants, faithful, seed, label, reveal)
        if question.kind == "face":
            return self._restore(visit, here, wishes, face=face_at(question, x, y))
        visit.clicks = [*visit.clicks, (x, y)][-2:]
        if len(visit.clicks) == 1:
            return ["", *_nothing(said("ask", ["Now click the middle of the other eye."]), gr.skip())]
        clicks, visit.clicks = visit.clicks, []
        return self._restore(visit, here, wishes, eyes=eyes_at(question, clicks))

    @answers(None)
    def show(self, event: gr.SelectData, request: gr.Request) -> list[Any]:
        """Compares another variant."""
        visit, _ = self._visit(request)
        if visit.result is None:
            raise InputError("These variants are gone; restore the picture again.")
        number = visit.shown = min(max(int(event.index), 0), len(visit.result.after) - 1)
        views = str(visit.result.before), str(visit.result.after[number])
        return [gr.update(value=views), gr.update(value=str(visit.result.pictures[number]))]

    def _visit(self, request: gr.Request) -> tuple[Visit, Callable[[], None]]:
        """What the asking page holds, and a function that fails once the page is gone."""
        visitor, session = request.cookies.get(COOKIE, ""), request.session_hash or ""

        def here() -> None:
            if not self.visitors.is_here(visitor, session):
                raise VisitorGone

        return self.visitors.visit(visitor, session), here

    def _take(self, visit: Visit, picture: Any) -> None:
        """Makes the picture that the page shows the one that is worked on."""
        given = list(paths_in(picture))
        taken = Path(given[0]) if given else None
        if taken != visit.picture:
            visit.base = None
        visit.picture, visit.question, visit.clicks = taken, None, []

    def _restore(self, visit: Visit, here: Callable[[], None], wishes: Wishes, **where: Any) -> list[Any]:
        here()
        try:
            found = restore_picture(self.restorer, visit.person, visit.picture, wishes, **where)
        except InputError as error:
            # What was clicked on names no file by which the sentence could be cleared of the server's paths.
            raise InputError(on_the_page(str(error), [visit.picture] if visit.picture else [])) from error
        here()
        if isinstance(found, Question):
            visit.question = found
            return ["", *_nothing(*_asked(visit, found))]
        name = "".join(letter if letter.isalnum() else "-" for letter in Path(visit.picture or "face").stem)[:60]
        try:
            visit.result = write_result(found, visit.room(), name or "face", wishes, visit.base)
        except OSError:
            here()  # Whoever has left took the folder along.
            raise
        # Whoever was asked for the eyes, or has a choice of faces, may want to click again.
        visit.question = visit.result.others or visit.question
        asked = _asked(visit, visit.question) if visit.question else ["", gr.update(visible=False)]
        return ["", *_shown(visit.result), *asked]


def _wishes(variants: Any, faithful: Any, seed: Any, label: Any, reveal: Any) -> Wishes:
    """What came from the page, where anything may come from."""
    try:
        count, draw, shown = int(variants), int(seed or 0), float(reveal)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("The choices cannot be read; reload the page.") from error
    if not 0 <= draw <= MAX_SEED:
        raise InputError(f"Draw {draw}: give a whole number from 0 to {MAX_SEED}.")
    return Wishes(count, bool(faithful), draw, bool(label), shown)


def _learnt(person: Person) -> str:
    used = sum(state == "used" for _, state, _ in person.photographs)
    rows = "".join(
        f'<li class="{state}"><span>{_MARKS[state]}</span><b>{html.escape(name)}</b> {html.escape(why)}</li>'
        for name, state, why in person.photographs
    )
    told = f"Learnt from {_plural(used)}."
    report = f"<details><summary>What became of each photograph</summary><ul>{rows}</ul></details>"
    refused = [f"{name}: {why}." for name, state, why in person.photographs if state != "used"]
    asked = said("ask", [_WHOSE] if any(not group.is_told for group in person.groups) else [])
    return said("good", [told]) + said("warn", [*person.warnings, *refused]) + report + asked


def _faces_of(person: Person | None) -> list[tuple[Group, int]]:
    """The faces of all photographs with several, in the order in which the page shows them."""
    groups = person.groups if person else ()
    return [(group, face) for group in groups for face in range(len(group.faces))]


def _shown_faces(visit: Visit, person: Person) -> Any:
    """The faces of all photographs with several, to be clicked."""
    for path in visit.folder.glob("one-*.png"):
        path.unlink(missing_ok=True)
    faces, token = [], secrets.token_hex(4)
    for number, (group, face) in enumerate(_faces_of(person)):
        path = visit.folder / f"one-{token}-{number}.png"
        write_image(path, resize_crop(group.faces[face].image, _FACE), {"Description": "A face of a photograph."})
        taken = "✓ " if face == group.taken else ""  # First, as a long name is cut.
        faces.append((str(path), f"{taken}{face + 1}, {group.path.name}"))
    return gr.update(value=faces or None, visible=bool(faces))


def _plural(count: int) -> str:
    return f"{count} photograph{'s' if count > 1 else ''}"


def _asked(visit: Visit, question: Question) -> list[Any]:
    for path in visit.folder.glob("question-*.png"):
        path.unlink(missing_ok=True)
    # A browser shows what it has of a name that it knows.
    path = visit.folder / f"question-{secrets.token_hex(4)}.png"
    write_image(path, question.image, {"Description": "Faces that idfsr-jax found; nothing in it is synthesised."})
    return [said("ask", [question.sentence]), gr.update(value=str(path), visible=True)]


def _nothing(ask: Any = "", chooser: Any = None) -> list[Any]:
    """`SHOWN` where there is no result, but perhaps a question."""
    hidden = gr.update(value=None, visible=False)
    chooser = gr.update(visible=False) if chooser is None else chooser
    unseen = gr.update(visible=False)
    return [gr.update(visible=not ask), hidden, "", hidden, hidden, hidden, unseen, unseen, ask, chooser]


def _shown(result: Result) -> list[Any]:
    """`SHOWN`, but for the question, of a result."""
    several = len(result.after) > 1
    captions = [(str(path), f"variant {number}") for number, path in enumerate(result.after, 1)]
    return [
        gr.update(visible=False),
        gr.update(value=(str(result.before), str(result.after[0])), visible=True),
        said("warn", result.notes) + said("info", [_SEVERAL] if several else []),
        gr.update(value=str(result.pictures[0]), visible=True),
        gr.update(value=captions if several else None, visible=several),
        gr.update(value=str(result.spread) if result.spread else None, visible=several),
        gr.update(visible=True),
        gr.update(visible=result.enlarged is not None),
    ]
