"""Where the faces of a photograph lie: found, or given by a box or two eyes; and which of them is meant."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, UInt8

from idfsr_jax.config import Config
from idfsr_jax.face import Box, apply_transform, crop_side, cut_crop, ffhq_transform
from idfsr_jax.face.detect import turn_of
from idfsr_jax.face.search import find_every_face
from idfsr_jax.io.errors import InputError, NoFace, SeveralFaces
from idfsr_jax.restore.likeness import Likeness, evidence, face_probabilities, is_told, shared_out
from idfsr_jax.restore.recognition import locate, seen_side

Eyes = tuple[float, float, float, float]
T = TypeVar("T")

_BOX_TO_CROP = 1.9
"""Side of the canonical crop over that of the box around a face, brows to chin."""
_BOX_DROP = 0.12
"""How far the crop's centre lies above the box's, as a share of the box."""
_EYES_TO_MOUTH = 1.06
"""From the eyes' midpoint to the mouth's, over the distance of the eyes: dlib's mean face."""
_STRAIGHTENED = 40
"""Side of the crop, in pixels, below which LandmarkNet improves on dlib's predictor: on 57 photographs of LFW's val
split, reduced so that the crop was 16, 24, 32, 48 and 64 px, its corners lay 0.051, 0.037, 0.029, 0.028 and 0.021 sides
from their place by dlib alone and 0.032, 0.033, 0.026, 0.032 and 0.024 after LandmarkNet (0.042 from a box alone)."""

_NOT_SEEN = (
    "no face is seen in the box at any angle, so the one that is meant was taken to stand nearly upright; --eyes says "
    "how it is turned."
)

_MISPLACED = 0.12
"""How far a corner of the face's crop may lie from the picture's that was given as one, as a share of its side. Of 100
aligned crops of LFW's val split one lay further, of 16 to 64 px, and as cameras leave them five of 16 px, one of 20."""
_SETTLED = 0.02
"""How far at most the corners move when LandmarkNet looks once more, where it has found a face."""
_STARTS = tuple(product((1.0, 0.75, 1.35), (0.0, -0.2, 0.2), (0.0, -0.2, 0.2)))
"""Size, and how far to the right and down, of what it looks at first, as shares of the picture, which is the first."""
_UNCLEAR = "its face does not seem to stand where a crop of a head has it; --box says where it is."


@dataclass(frozen=True)
class Place:
    """Where a face lies.

    Attributes:
      box: x, y, width and height, brows to chin, in photo pixels.
      transform: from unit coordinates of the canonical crop to continuous pixels of the photograph.
      doubt: what is not known of it, a sentence; empty if nothing.
    """

    box: Box
    transform: Float64[np.ndarray, "3 3"]
    doubt: str = ""


@dataclass(frozen=True)
class Choice:
    """Which face of a photograph was taken.

    Attributes:
      places: of all faces, from left to right.
      chosen: position of the one taken.
      probabilities: of each, that it is the person's, if the person is among them; NaN of one that is unlike them,
        and empty where nothing was compared.
    """

    places: tuple[Place, ...]
    chosen: int
    probabilities: tuple[float, ...] = ()

    def sentence(self) -> str:
        """What was chosen and how to choose otherwise, or what is doubtful; empty where there is nothing to say."""
        if not self.probabilities:
            return self.places[self.chosen].doubt
        x, y, width, height = self.places[self.chosen].box
        return (
            f"{len(self.places)} faces; took number {self.chosen + 1} from the left, {width} x {height} px at {x},{y}, "
            f"as most like the photographs{self.probability()}; --face N takes another."
        )

    def probability(self) -> str:
        """In brackets how probable the chosen one is; empty where it is not known, or the face unlike the person."""
        value = self.probabilities[self.chosen] if self.probabilities else math.nan
        return "" if math.isnan(value) else f" (probability {value:.2f})"


class UndecidedFaces(SeveralFaces):
    """Faces of which none is taken, mostly as none stands out; holds what an overview of them needs."""

    def __init__(self, message: str, image: UInt8[np.ndarray, "h w 3"], choice: Choice) -> None:
        """The most probable face is the choice's."""
        super().__init__(message)
        self.image = image
        self.choice = choice


class LeftAlone(UndecidedFaces):
    """A face that is not restored, since it is not the person's by all that can be told; `reason` says why in short."""

    def __init__(self, message: str, reason: str, image: UInt8[np.ndarray, "h w 3"], choice: Choice) -> None:
        """The most probable face is the choice's."""
        super().__init__(message, image, choice)
        self.reason = reason


def places_of(
    image: UInt8[np.ndarray, "h w 3"],
    name: str | Path,
    config: Config,
    landmark_net: Any,
    *,
    box: Box | None = None,
    eyes: Eyes | None = None,
) -> list[Place]:
    """The faces of a photograph, from left to right; or the one that box or eyes say.

    What lies in a box is turned upright as dlib's detector sees it and straightened by LandmarkNet; straightened, too,
    is a face too small for dlib's predictor, or for a hand that points at its eyes.

    Raises:
      NoFace: none was found.
      InputError: box or eyes do not lie in the picture.
    """
    if box is not None:
        transform, doubt = _transform_of_box(image, box, name)
        return [Place(box, straighten(image, transform, config, landmark_net), doubt)]
    if eyes is not None:
        found = [_place_of_eyes(image, eyes, name)]
    else:
        found = [Place(face.box, ffhq_transform(face.landmarks)) for face in find_every_face(image)]
    places = [
        replace(place, transform=straighten(image, place.transform, config, landmark_net))
        if crop_side(place.transform) < _STRAIGHTENED
        else place
        for place in found
    ]
    if not places:
        raise NoFace(f"{name}: no face was found; give its place by --box x,y,width,height or --eyes x1,y1,x2,y2.")
    return places


def choose_place(
    image: UInt8[np.ndarray, "h w 3"],
    places: Sequence[Place],
    name: str | Path,
    *,
    number: int | None,
    likeness: Callable[[UInt8[np.ndarray, "n n 3"]], Likeness] | None,
    anyone: bool | None = None,
) -> Choice:
    """The face with a number, or the one most like a person.

    Args:
      image: the photograph.
      places: of its faces.
      name: of the photograph, for complaints.
      number: from 1, from left to right; None lets the likeness choose.
      likeness: of a canonical crop, at the resolution of that crop; None where there is nothing to compare with.
      anyone: whether a face is taken that is unlike the person, or one of several that are too small to tell, if it
        stands out; None for the only face of a photograph alone.

    Raises:
      InputError: there is no face of that number.
      SeveralFaces: several faces, and nothing to compare with.
      LeftAlone: the likeliest face is unlike the person, or too small to tell.
      UndecidedFaces: no face stands out.
    """
    if number is not None:
        if not 1 <= number <= len(places):
            raise InputError(f"{name}: has no face {number}; {len(places)} were found, numbered from the left.")
        return Choice(tuple(places), number - 1)
    only = len(places) == 1
    if only and (likeness is None or anyone is not False):
        return Choice(tuple(places), 0)
    if likeness is None:
        raise SeveralFaces(
            f"{name}: shows {len(places)} faces, and without photographs of the person none can be told from the "
            "others; give --face N, counted from the left, or --photos."
        )
    likenesses = _compared(image, places, likeness)
    probabilities = face_probabilities(likenesses)
    chosen = int(np.argmax(probabilities))
    # Among strangers one may stand out as well, which says nothing.
    shown = [
        math.nan if each.is_unlike else float(value) for each, value in zip(likenesses, probabilities, strict=True)
    ]
    choice = Choice(tuple(places), chosen, () if only else tuple(shown))
    told = is_told(probabilities)
    reason = "" if anyone else likenesses[chosen].against(only=only)
    if reason:
        which, remedy = "its face is", "--anyone restores it all the same"
        if not only:
            which = f"the likeliest of its {len(places)} faces, number {chosen + 1}, is"
            # Where no face stands out, `anyone` does not say which is meant either.
            remedy = "give --face N, counted from the left, or --anyone" if told else "give --face N"
        raise LeftAlone(f"{name}: left alone, as {which} {reason}; {remedy}.", reason, image, choice)
    if not told:
        raise UndecidedFaces(
            f"{name}: shows {len(places)} faces, and the photographs do not tell which is meant; the likeliest is "
            f"number {choice.chosen + 1} from the left{choice.probability()}; give --face N.",
            image,
            choice,
        )
    return choice


def choose_places(
    image: UInt8[np.ndarray, "h w 3"],
    places: Sequence[Place],
    name: str | Path,
    *,
    likenesses: Callable[[UInt8[np.ndarray, "n n 3"]], Sequence[Likeness]],
) -> list[Choice | None]:
    """The face of each of several people, nobody's twice; None where theirs is not told.

    Args:
      image: the photograph.
      places: of its faces.
      name: of the photograph, for complaints.
      likenesses: to each person, of a canonical crop, at the resolution of that crop.

    Raises:
      LeftAlone: no face is told to be anybody's of these.
    """
    found = list(zip(*_compared(image, places, likenesses), strict=True))
    evidences = np.array([[evidence(each) for each in row] for row in found])
    choices = [
        None if face is None or row[face].against(only=len(places) == 1) else Choice(tuple(places), face)
        for row, face in zip(found, shared_out(evidences), strict=True)
    ]
    if not any(choices):
        raise LeftAlone(
            f"{name}: left alone, as it is not told which of its faces is whose; give one --identity and --face N, "
            "counted from the left.",
            "not told whose face it is",
            image,
            Choice(tuple(places), int(np.argmax(evidences.max(axis=0)))),
        )
    return choices


def _compared(
    image: UInt8[np.ndarray, "h w 3"],
    places: Sequence[Place],
    likeness: Callable[[UInt8[np.ndarray, "n n 3"]], T],
) -> list[T]:
    """How like a person, or several, each face is, seen at its own resolution."""
    sides = [seen_side(crop_side(place.transform)) for place in places]
    return [likeness(cut_crop(image, place.transform, side)) for place, side in zip(places, sides, strict=True)]


def place_in_crop(image: UInt8[np.ndarray, "n n 3"], config: Config, landmark_net: Any) -> tuple[Place | None, str]:
    """Where the face stands in a picture that was given as an aligned crop and is none.

    LandmarkNet looks at the picture, and if it does not see a face in its place, from other places too. Where it comes
    to rest is where the face is.

    Args:
      image: uint8 RGB.
      config: the model's.
      landmark_net: LandmarkNet's parameters.

    Returns:
      (place, ""); (None, "") for an aligned crop; (None, a sentence) where it is unclear.
    """
    whole = np.diag([image.shape[1], image.shape[0], 1.0])

    def settled(start: Float64[np.ndarray, "3 3"]) -> tuple[float, Float64[np.ndarray, "3 3"]]:
        near = straighten(image, start, config, landmark_net)
        final = straighten(image, near, config, landmark_net, steps=1)
        return corners_apart(final, near), final

    try:
        unrest, transform = settled(whole)
        if corners_apart(transform, whole) > _MISPLACED:
            found = [(unrest, transform), *(settled(whole @ _square(*start)) for start in _STARTS[1:])]
            # It may rest on what is no face, too, mostly further away.
            badness = [max(rest, _SETTLED / 2) + corners_apart(place, whole) / 20 for rest, place in found]
            unrest, transform = found[int(np.argmin(badness))]
    except InputError:  # Landmarks that coincide.
        return None, _UNCLEAR
    if corners_apart(transform, whole) <= _MISPLACED:
        return None, ""
    if unrest > _SETTLED:
        return None, _UNCLEAR
    off = round(100 * corners_apart(transform, whole))
    where = f"its face was found {off}% of the side from where a crop has it; if that is wrong, --box says where it is."
    return _placed(transform, where), ""


def _square(size: float, right: float, down: float) -> Float64[np.ndarray, "3 3"]:
    """A square around the middle of the unit square, moved."""
    return np.array([[size, 0.0, 0.5 + right - size / 2], [0.0, size, 0.5 + down - size / 2], [0.0, 0.0, 1.0]])


def corners_apart(transform: Float64[np.ndarray, "3 3"], other: Float64[np.ndarray, "3 3"]) -> float:
    """How far the corners of one square lie from another's at most, right or down, in sides of the other."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return float(np.abs(apply_transform(np.linalg.inv(other) @ transform, corners) - corners).max())


def straighten(
    image: UInt8[np.ndarray, "h w 3"],
    transform: Float64[np.ndarray, "3 3"],
    config: Config,
    landmark_net: Any,
    *,
    steps: int = 2,
) -> Float64[np.ndarray, "3 3"]:
    """Moves a rough crop to where the canonical one lies, by the landmarks that LandmarkNet sees in it."""
    for _ in range(steps):
        side = min(max(4, round(crop_side(transform))), config.landmarks.size)
        points = locate(landmark_net, cut_crop(image, transform, side), config)
        transform = ffhq_transform(apply_transform(transform, points).astype(np.float32))
    return transform


def _transform_of_box(
    image: UInt8[np.ndarray, "h w 3"], box: Box, name: str | Path
) -> tuple[Float64[np.ndarray, "3 3"], str]:
    """The rough crop around a box, turned as the face in it is; and a sentence where that cannot be seen."""
    x, y, w, h = box
    height, width = image.shape[:2]
    if w < 2 or h < 2 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise InputError(
            f"{name}: the box {x},{y},{w},{h} does not lie in the {width} x {height} picture; give x,y,width,height."
        )
    side = _BOX_TO_CROP * max(w, h)
    turn = turn_of(image, box)
    angle = np.radians(turn or 0.0)
    across, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corner = np.array([x + w / 2, y + h / 2]) - side / 2 * across - (side / 2 + _BOX_DROP * h) * down
    transform = np.array([*zip(side * across, side * down, corner, strict=True), (0.0, 0.0, 1.0)])
    return transform, _NOT_SEEN if turn is None else ""


def _place_of_eyes(image: UInt8[np.ndarray, "h w 3"], eyes: Eyes, name: str | Path) -> Place:
    """FFHQ's recipe (`ffhq_transform`) with the mouth where a mean face has it.

    On which side of the eyes it lies is what dlib's detector sees there, and below them where it sees nothing.
    """
    height, width = image.shape[:2]
    # The person's right eye is at the left of an upright picture.
    left, right = (np.array(point) for point in sorted([eyes[:2], eyes[2:]]))
    across = right - left
    distance = float(np.hypot(*across))
    inside = all(0 <= x < width and 0 <= y < height for x, y in (left, right))
    if not inside or distance < 1.0:
        places = ",".join(f"{value:g}" for value in eyes)
        raise InputError(
            f"{name}: eyes at {places} are not two places in the {width} x {height} picture; give x1,y1,x2,y2."
        )
    around = round(4.0 * distance / _BOX_TO_CROP)
    corner_x, corner_y = (round(float(each)) for each in (left + right - around) / 2)
    turn = turn_of(image, (corner_x, corner_y, around, around))
    if turn is not None and np.cos(np.radians(turn) - np.arctan2(across[1], across[0])) < 0.0:
        across = -across
    down = _EYES_TO_MOUTH * np.array([-across[1], across[0]])
    x, y = 2.0 * across, 2.0 * np.array([-across[1], across[0]])
    corner = (left + right) / 2 + 0.1 * down - x - y
    transform = np.array([[2 * x[0], 2 * y[0], corner[0]], [2 * x[1], 2 * y[1], corner[1]], [0.0, 0.0, 1.0]])
    return _placed(transform)


def _placed(transform: Float64[np.ndarray, "3 3"], doubt: str = "") -> Place:
    """The face of an upright crop."""
    side = crop_side(transform) / _BOX_TO_CROP
    centre = apply_transform(transform, np.array([[0.5, 0.5]]))[0] + (0.0, _BOX_DROP * side)
    box = (round(centre[0] - side / 2), round(centre[1] - side / 2), round(side), round(side))
    return Place(box, transform, doubt)
