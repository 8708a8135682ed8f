"""What a visitor of the page does once a person is learnt: restores a picture, answers a question. No Gradio here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from idfsr_jax.app.people import Person
from idfsr_jax.app.wording import on_the_page
from idfsr_jax.face import cut_crop, read_image, read_metadata, write_image
from idfsr_jax.face.detect import distance_to
from idfsr_jax.io.errors import InputError, NoFace, SeveralFaces
from idfsr_jax.restore.find_face import is_aligned
from idfsr_jax.restore.overview import overview
from idfsr_jax.restore.places import Box, Choice, UndecidedFaces
from idfsr_jax.restore.provenance import mark
from idfsr_jax.restore.result import Restoration, lanczos

MAX_VARIANTS = 6
_VIEW = 640
"""Side of the close-ups that are compared, in pixels."""
_SHOWN = 720
"""Longer side of a picture to click into, in pixels; numbers in it have to be read on a telephone."""
_NOBODY = -1
"""The position of the face that was taken, where none is yet."""
_NEAR = 1.0
"""How far from a box, in widths of it, a click still means its face."""


@dataclass(frozen=True)
class Wishes:
    """What may be chosen.

    Attributes:
      variants: how many restorations to draw.
      faithful: whether the result, made small again, is to be the input.
      seed: of the noise.
      label: whether to print a visible mark.
      reveal: how much of the small face the model is shown, 0 to 1; None for its own choice.
    """

    variants: int = 1
    faithful: bool = False
    seed: int = 0
    label: bool = False
    reveal: float | None = None


@dataclass(frozen=True)
class Question:
    """Where is the face? It is answered by one click into a picture, or by two for the eyes.

    Attributes:
      kind: what to click at.
      sentence: what is asked.
      image: the picture to click into.
      scale: its size over that of the photograph.
      boxes: of the faces to choose from, x, y, width and height in photo pixels.
    """

    kind: Literal["face", "eyes"]
    sentence: str
    image: UInt8[np.ndarray, "h w 3"]
    scale: float
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Base:
    """A photograph with faces restored already.

    Attributes:
      picture: its file.
      enlarged: how many times as large as the photograph it is.
    """

    picture: Path
    enlarged: float


@dataclass(frozen=True)
class Result:
    """Files that were written, and what is to be known of them.

    Attributes:
      before: the face as it was given, enlarged.
      after: the face of each variant, as large.
      pictures: what there is to download, for each variant.
      spread: where the variants differ; None of a single one.
      notes: a sentence each.
      enlarged: how many times as large as the photograph the pictures are; None where a crop was given.
      others: the other faces of the photograph, if there are any.
    """

    before: Path
    after: tuple[Path, ...]
    pictures: tuple[Path, ...]
    spread: Path | None
    notes: tuple[str, ...] = ()
    enlarged: float | None = None
    others: Question | None = field(default=None, repr=False)


def restore_picture(
    restorer: Any,
    person: Person | None,
    picture: Path | None,
    wishes: Wishes,
    *,
    face: int | None = None,
    eyes: tuple[float, float, float, float] | None = None,
) -> Restoration | Question:
    """Restores the small face in a picture, as `idfsr restore` does; or asks which or where it is.

    Args:
      restorer: a `Restorer`.
      person: who was learnt.
      picture: a file.
      wishes: what was chosen.
      face: number of the face from the left, from 1, where that was answered.
      eyes: their centres in photo pixels, where that was answered.

    Raises:
      InputError: something is missing, or the picture cannot be used.
    """
    if person is None:
        raise InputError("The person is not known yet; finish step 1 first.")
    if picture is None:
        raise InputError("There is no picture yet; drop the small one into step 2.")
    if not 1 <= wishes.variants <= MAX_VARIANTS:
        raise InputError(f"{wishes.variants} variants: choose 1 to {MAX_VARIANTS}.")
    try:
        return restorer.restore(
            picture,
            person.identity,
            person.crops,
            face=face,
            eyes=eyes,
            seed=wishes.seed,
            variants=wishes.variants,
            consistency=1.0 if wishes.faithful else None,
            reveal=wishes.reveal,
        )
    except UndecidedFaces as error:
        boxes = tuple(place.box for place in error.choice.places)
        shown = overview(error.image, error.choice, _SHOWN)
        return Question("face", on_the_page(str(error), [picture]), shown, _scale(shown, error.image), boxes)
    except SeveralFaces:
        return ask_which(restorer, picture)
    except NoFace as error:
        return _eyes_question(picture, error)


def ask_which(restorer: Any, picture: Path | None) -> Question:
    """Shows the faces of a picture, numbered, before any is restored; or asks where the eyes are if there are none.

    Args:
      restorer: a `Restorer`.
      picture: a file.

    Raises:
      InputError: it is missing or cannot be read, or is as small as a crop of one face.
    """
    if picture is None:
        raise InputError("There is no picture yet; drop the small one into step 2.")
    pixels = read_image(picture)
    height, width = pixels.shape[:2]
    if is_aligned(pixels)[0]:
        if height != width:
            size = f"{width} x {height} px"
            raise InputError(f"{picture.name}: is {size}, and an aligned crop is square; crop it to the head.")
        raise InputError(f"{picture.name}: is taken for a crop of one face; restore it as it is.")
    try:
        image, places = restorer.faces(picture)
    except NoFace as error:
        return _eyes_question(picture, error)
    shown = overview(image, Choice(tuple(places), _NOBODY), _SHOWN)
    count = "One face was" if len(places) == 1 else f"{len(places)} faces were"
    sentence = f"{count} found; click the one that is to be restored."
    return Question("face", sentence, shown, _scale(shown, image), tuple(place.box for place in places))


def _eyes_question(picture: Path, error: NoFace) -> Question:
    image = read_image(picture)
    shown = overview(image, Choice((), _NOBODY), _SHOWN)
    return Question("eyes", on_the_page(str(error), [picture]), shown, _scale(shown, image))


def write_result(restoration: Restoration, folder: Path, name: str, wishes: Wishes, base: Base | None = None) -> Result:
    """Writes what is shown and what can be downloaded; each file says that its face is synthesised.

    Args:
      restoration: of a picture.
      folder: an empty or new one.
      name: that the downloads start with.
      wishes: what was chosen.
      base: the same picture with other faces restored already, which stay as they are.
    """
    into, said = _into(restoration, base), _said(restoration, base)
    pictures = restoration.save(folder / f"{name}-restored.png", label=wishes.label, metadata=said, **into)
    before, *after = _close_ups(restoration, into)
    write_image(folder / "before.png", before, {"Description": "The input of a restoration by idfsr-jax, enlarged."})
    views = [folder / f"after-{number}.png" for number in range(1, len(after) + 1)]
    for path, view in zip(views, after, strict=True):
        write_image(path, mark(view) if wishes.label else view, said)
    spread = None
    if len(after) > 1:
        spread = folder / "spread.png"
        image = restoration.spread()
        write_image(spread, mark(image) if wishes.label else image, restoration.metadata)
    notes = tuple(on_the_page(note) for note in (*restoration.file_notes(), *restoration.doubts()))
    enlarged = into.get("enlarge", restoration.enlargement()) if restoration.face.photo is not None else None
    others = _other_faces(restoration)
    return Result(folder / "before.png", tuple(views), tuple(pictures), spread, notes, enlarged, others)


def _into(restoration: Restoration, base: Base | None) -> dict[str, Any]:
    """The options of `Restoration.picture` that put a face into what earlier restorations left."""
    if base is None:
        return {}
    left = read_image(base.picture)

    def background(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return left if left.shape[1::-1] == size else lanczos(left, size)

    # Never smaller than it is, so that no face loses what was made of it.
    return {"enlarge": max(restoration.enlargement(), base.enlarged), "background": background}


def _said(restoration: Restoration, base: Base | None) -> Mapping[str, str]:
    """The metadata of a picture: where it holds several faces, how each was made, in their order, joined by "+"."""
    if base is None:
        return restoration.metadata
    before, last = read_metadata(base.picture), restoration.metadata
    each = ("idfsr:identity", "idfsr:seed", "idfsr:sampler", "idfsr:consistency")
    return {**last, **{key: f"{before[key]}+{last[key]}" for key in each}}


def face_at(question: Question, x: float, y: float) -> int:
    """The number of the face that a click means.

    Args:
      question: which face.
      x: of the click, in pixels of the question's picture.
      y: likewise.

    Raises:
      InputError: no face is near.
    """
    distances = [distance_to(box, x / question.scale, y / question.scale)[0] for box in question.boxes]
    nearest = int(np.argmin(distances))
    if distances[nearest] > _NEAR * question.boxes[nearest][2]:
        raise InputError("There is no face at that place; click one of those that are framed.")
    return nearest + 1


def eyes_at(question: Question, clicks: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Two clicks into the question's picture as the centres of the eyes, in photo pixels."""
    (x1, y1), (x2, y2) = ((x / question.scale, y / question.scale) for x, y in clicks)
    return x1, y1, x2, y2


def _close_ups(restoration: Restoration, into: dict[str, Any]) -> list[UInt8[np.ndarray, "n n 3"]]:
    """The face as it was given, and as every variant has it, all of one size."""
    face = restoration.face
    if face.photo is None or face.transform is None:
        return [_enlarged(face.native), *(_enlarged(image) for image in restoration.images)]
    pictures = [restoration.picture(index, **into) for index in range(len(restoration.images))]
    height, width = pictures[0].shape[:2]
    factor = width / face.photo.shape[1], height / face.photo.shape[0]
    transform: Float64[np.ndarray, "3 3"] = np.diag([*factor, 1.0]) @ face.transform
    return [cut_crop(image, transform, _VIEW) for image in (lanczos(face.photo, (width, height)), *pictures)]


def _enlarged(image: UInt8[np.ndarray, "n n 3"]) -> UInt8[np.ndarray, "m m 3"]:
    return np.array(Image.fromarray(image).resize((_VIEW, _VIEW), Image.Resampling.BICUBIC))


def _other_faces(restoration: Restoration) -> Question | None:
    face = restoration.face
    if face.photo is None or face.choice is None or len(face.choice.places) < 2:
        return None
    shown = overview(face.photo, face.choice, _SHOWN)
    boxes, number = tuple(place.box for place in face.choice.places), face.choice.chosen + 1
    why = "as you said"
    if face.choice.probabilities:
        why = f"as most like the person{face.choice.probability()}"
    sentence = f"Of {len(boxes)} faces number {number} was taken, {why}; click another one to restore that."
    return Question("face", sentence, shown, _scale(shown, face.photo), boxes)


def _scale(shown: UInt8[np.ndarray, "h w 3"], image: UInt8[np.ndarray, "rows columns 3"]) -> float:
    return shown.shape[1] / image.shape[1]
