"""From what the user gives, an LR crop or a whole photograph, to the LR face in the canonical frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.face import Box, Picture, crop_side, cut_crop, ffhq_transform, read_picture
from idfsr_jax.face.search import find_every_face
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.places import Choice, Eyes, Place, corners_apart, place_in_crop, places_of

CROP_SIDES = (4, 64)
"""Square pictures of these sides (least, largest) are taken for aligned LR crops, if no face is seen elsewhere."""
_TOLD = 24
"""Least side of a picture, in pixels, in which a face is looked for. Of aligned crops of 120 people of
LFW, clean and as a camera leaves them, one of 960 was seen so from 24 px on, 4 of 960 of 12 to 20 px."""
_FRAMED = 16
"""Least side of a crop, in pixels, in which LandmarkNet tells whether the face stands where it should."""
_ELSEWHERE = 0.2
"""How far a corner of the face's crop then lies from the picture's, as a share of the side."""

_NOT_SEEN = "no face is seen in it, so it was taken for an aligned crop; if it is none, --box says where the face is."
_MOST_NATIVE = 512
"""Side to which larger faces are cut out, which are restored only where a scale is given: enough to compare them by."""


@dataclass(frozen=True)
class LowResolutionFace:
    """An LR face in the canonical frame, and where it came from.

    Attributes:
      y: the LR crop, uint8 [n, n, 3], n = S / s.
      native: the crop at the face's own resolution, at most 512 px.
      photo: the whole photograph, or None where a crop was given.
      transform: from unit coordinates of the crop to continuous pixels of the photograph.
      choice: of this face among all that were found in the photograph.
      origin: what else the file held; None where pixels were given.
      doubt: what is not known of it, a sentence; empty if nothing.
    """

    y: UInt8[np.ndarray, "n n 3"]
    native: UInt8[np.ndarray, "m m 3"]
    photo: UInt8[np.ndarray, "h w 3"] | None = None
    transform: Float64[np.ndarray, "3 3"] | None = None
    choice: Choice | None = None
    origin: Picture | None = None
    doubt: str = ""


def find_low_resolution_faces(
    picture: str | Path | np.ndarray,
    config: Config,
    landmark_net: Any,
    *,
    box: Box | None = None,
    eyes: Eyes | None = None,
    scale: int | None = None,
    choose: Callable[[UInt8[np.ndarray, "h w 3"], Sequence[Place], str | Path], Sequence[Choice]],
) -> list[LowResolutionFace]:
    """Finds and straightens the small faces that are to be restored: of a crop its own, of a photograph those chosen.

    A square picture of 4 to 64 px, without box or eyes, is an aligned crop already, if no face is seen elsewhere in it;
    one of 16 px or more, in which the face stands a little off, is taken for a photograph of it. In a photograph faces
    are looked for, or one lies in the box or has the eyes given.

    Args:
      picture: file or uint8 RGB.
      config: of the model.
      landmark_net: parameters of LandmarkNet.
      box: x, y, width, height of the face, brows to chin, in photo pixels.
      eyes: x, y of one eye's centre, then of the other's, in photo pixels.
      scale: down-sampling factor s; by default all pixels that the face has are used.
      choose: picks those that are meant of the faces that were found.

    Raises:
      InputError: unreadable, no face, `choose` picks none, a box or eyes outside the picture, or a scale that
        leaves too few or too many pixels.
    """
    name = picture if isinstance(picture, (str, Path)) else "the picture"
    origin = read_picture(picture) if isinstance(picture, (str, Path)) else None
    image = picture if origin is None else origin.pixels
    assert isinstance(image, np.ndarray)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"{name}: has shape {image.shape} and type {image.dtype}; give uint8 RGB, [height, width, 3].")
    height, width = image.shape[:2]
    is_crop, doubt = is_aligned(image) if box is None and eyes is None else (False, "")
    moved = None
    if is_crop:
        _require_square(height, width, name)
        if height >= _FRAMED and not doubt:
            moved, doubt = place_in_crop(image, config, landmark_net)
        if moved is None:
            side = low_resolution_side(height, config.data.size, scale, name)
            return [LowResolutionFace(_resize(image, side), native=image, origin=origin, doubt=doubt)]
    if moved is None:
        choices = choose(image, places_of(image, name, config, landmark_net, box=box, eyes=eyes), name)
    else:
        choices = [Choice((moved,), 0)]
    faces = []
    for choice in choices:
        transform = choice.places[choice.chosen].transform
        native = crop_side(transform)
        side = low_resolution_side(round(native), config.data.size, scale, name)
        faces.append(
            LowResolutionFace(
                cut_crop(image, transform, side),
                native=cut_crop(image, transform, max(CROP_SIDES[0], min(round(native), _MOST_NATIVE))),
                photo=image,
                transform=transform,
                choice=choice,
                origin=origin,
            )
        )
    return faces


def is_aligned(image: UInt8[np.ndarray, "h w 3"]) -> tuple[bool, str]:
    """Whether a picture is an aligned crop, and a sentence where nothing tells.

    Below `_TOLD` pixels hardly any face is seen, so that it is not looked for.
    """
    height, width = image.shape[:2]
    if max(height, width) > CROP_SIDES[1] or min(height, width) < _TOLD:
        return max(height, width) <= CROP_SIDES[1], ""
    whole = np.diag([width, height, 1.0])
    faces = find_every_face(image)
    apart = min((corners_apart(ffhq_transform(face.landmarks), whole) for face in faces), default=None)
    return apart is None or apart <= _ELSEWHERE, _NOT_SEEN if apart is None else ""


def _require_square(height: int, width: int, name: str | Path) -> None:
    if height != width:
        raise InputError(
            f"{name}: is {width} x {height} px, and an aligned crop is square; crop it to the head, or give --box."
        )
    if height < CROP_SIDES[0]:
        raise InputError(
            f"{name}: is {width} px wide, and a face needs {CROP_SIDES[0]} px at the least; give a larger one."
        )


def low_resolution_side(native: int, size: int, scale: int | None, name: str | Path) -> int:
    """The side n of the LR crop: all pixels that the face has, from 4 to S / 2; or S / s for a given scale.

    Args:
      native: side of the face's crop in the picture, pixels.
      size: side S of the result.
      scale: down-sampling factor s, if one is given.
      name: of the picture, for complaints.

    Raises:
      InputError: the scale leaves too few or too many pixels, or the face is as large as the result already.
    """
    least, most = CROP_SIDES[0], size // 2
    if scale is not None:
        if scale < 2 or not least <= size // scale <= most:
            raise InputError(f"{name}: --scale {scale} is none of this model's, which are 2 to {size // least}.")
        return size // scale
    if native >= size:
        raise InputError(
            f"{name}: the face's crop is {native} px wide, and this model makes {size} px; there is nothing to restore "
            "(give --scale 4 to reduce it first)."
        )
    return min(max(native, least), most)


def small_enough(
    told: Sequence[Choice | None], size: int, scale: int | None, name: str | Path, note: Callable[[str], None]
) -> list[Choice | None]:
    """The faces of several people, None in place of those that are as large as the result already.

    Args:
      told: the face of each, None where theirs is not told.
      size: side S of the result.
      scale: see `low_resolution_side`.
      name: of the picture, for complaints.
      note: called with a sentence for each that is too large.

    Raises:
      InputError: all are.
    """
    kept: list[Choice | None] = []
    refusals = []
    for choice in told:
        kept.append(choice)
        if choice is None:
            continue
        native = round(crop_side(choice.places[choice.chosen].transform))
        try:
            low_resolution_side(native, size, scale, name)
        except InputError as error:
            kept[-1] = None
            refusals.append(error)
            which = f"face {choice.chosen + 1} of {len(choice.places)}, from the left, stays as it is"
            note(f"{which}: {str(error).removeprefix(f'{name}: ')}")
    if not any(kept):
        raise refusals[0]
    return kept


def _resize(image: UInt8[np.ndarray, "n n 3"], side: int) -> UInt8[np.ndarray, "m m 3"]:
    if image.shape[0] == side:
        return image
    # Box filtering is what the model's own degradation does; enlarging takes bicubic.
    kind = Image.Resampling.BOX if side < image.shape[0] else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image).resize((side, side), kind))
