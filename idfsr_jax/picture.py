"""From what the user gives, an LR crop or a whole photograph, to the LR face in the canonical frame."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import bicubic_upsample
from idfsr_jax.errors import InputError, NoFace
from idfsr_jax.face import apply_transform, choose_face, crop_side, cut_crop, ffhq_transform, find_faces, read_image
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.pictures import to_float

CROP_SIDES = (4, 64)
"""Square pictures of these sides (least, largest) are taken for aligned LR crops."""
_BOX_TO_CROP = 1.9
"""Side of the canonical crop over that of the box around a face, brows to chin."""
_BOX_DROP = 0.12
"""How far the crop's centre lies above the box's, as a share of the box."""


@dataclass(frozen=True)
class LowResolutionFace:
    """An LR face in the canonical frame, and where it came from.

    Attributes:
      y: the LR crop, uint8 [n, n, 3], n = S / s.
      photo: the whole photograph, or None where a crop was given.
      transform: from unit coordinates of the crop to continuous pixels of the photograph.
    """

    y: UInt8[np.ndarray, "n n 3"]
    photo: UInt8[np.ndarray, "h w 3"] | None = None
    transform: Float64[np.ndarray, "3 3"] | None = None


def find_low_resolution_face(
    picture: str | Path | np.ndarray,
    config: Config,
    landmark_net: Any,
    *,
    box: tuple[int, int, int, int] | None = None,
    scale: int | None = None,
) -> LowResolutionFace:
    """Finds and straightens the small face that is to be restored.

    A square picture of 4 to 64 px, without a box, is an aligned crop already. In a photograph the face is looked for,
    or lies in the box; a box is turned into a rough crop, which LandmarkNet then straightens.

    Args:
      picture: file or uint8 RGB.
      config: of the model.
      landmark_net: parameters of LandmarkNet.
      box: x, y, width, height of the face, brows to chin, in photo pixels.
      scale: down-sampling factor s; by default the nearest to the face's own size.

    Raises:
      InputError: unreadable, no face, several faces, a box outside the picture, a scale that the model does not know.
    """
    name = picture if isinstance(picture, (str, Path)) else "the picture"
    image = read_image(picture) if isinstance(picture, (str, Path)) else picture
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"{name}: has shape {image.shape} and type {image.dtype}; give uint8 RGB, [height, width, 3].")
    height, width = image.shape[:2]
    if box is None and height == width and height <= CROP_SIDES[1]:
        if height < CROP_SIDES[0]:
            raise InputError(
                f"{name}: is {width} px wide, and a face needs {CROP_SIDES[0]} px at the least; give a larger one."
            )
        side = low_resolution_side(height, config, scale, name)
        return LowResolutionFace(_resize(image, side))
    if box is None and max(height, width) <= CROP_SIDES[1]:
        raise InputError(
            f"{name}: is {width} x {height} px, and an aligned crop is square; crop it to the head, or give --box."
        )
    if box is not None:
        transform = _straighten(image, _rough_transform(image, box, name), config, landmark_net)
    else:
        try:
            face = choose_face(find_faces(image), image, name, "only")
        except NoFace as error:
            raise NoFace(f"{name}: no face was found; give its place by --box x,y,width,height.") from error
        transform = ffhq_transform(face.landmarks)
    side = low_resolution_side(round(crop_side(transform)), config, scale, name)
    return LowResolutionFace(cut_crop(image, transform, side), image, transform)


def low_resolution_side(native: int, config: Config, scale: int | None, name: str | Path) -> int:
    """The side n = S / s of the LR crop: of the scale that is given, or the nearest (in octaves) to the native side.

    Raises:
      InputError: the model was not trained for the scale, or the face is as large as the model's result already.
    """
    size, scales = config.data.size, config.data.scales
    if scale is not None:
        if scale not in scales:
            raise InputError(
                f"{name}: --scale {scale} is none of the model's, which are {', '.join(map(str, scales))}."
            )
        return size // scale
    if native >= size:
        raise InputError(
            f"{name}: the face's crop is {native} px wide, and this model makes {size} px; there is nothing to restore "
            f"(give --scale {scales[0]} to reduce it first)."
        )
    return min((size // s for s in scales), key=lambda side: abs(np.log2(side / native)))


def _rough_transform(
    image: UInt8[np.ndarray, "h w 3"], box: tuple[int, int, int, int], name: str | Path
) -> Float64[np.ndarray, "3 3"]:
    x, y, w, h = box
    height, width = image.shape[:2]
    if w < 2 or h < 2 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise InputError(
            f"{name}: the box {x},{y},{w},{h} does not lie in the {width} x {height} picture; give x,y,width,height."
        )
    side = _BOX_TO_CROP * max(w, h)
    centre = np.array([x + w / 2, y + h / 2 - _BOX_DROP * h])
    return np.array([[side, 0.0, centre[0] - side / 2], [0.0, side, centre[1] - side / 2], [0.0, 0.0, 1.0]])


def _straighten(
    image: UInt8[np.ndarray, "h w 3"], transform: Float64[np.ndarray, "3 3"], config: Config, landmark_net: Any
) -> Float64[np.ndarray, "3 3"]:
    """Moves a rough crop to where the canonical one lies, by the landmarks that LandmarkNet sees in it."""
    for _ in range(2):
        side = min(max(4, round(crop_side(transform))), config.landmarks.size)
        y = to_float(cut_crop(image, transform, side))[None]
        points = np.asarray(_estimate_landmarks(landmark_net, y, config))[0]
        transform = ffhq_transform(apply_transform(transform, points).astype(np.float32))
    return transform


@partial(jax.jit, static_argnames="config")
def _estimate_landmarks(
    landmark_net: Any, y: Float[jax.Array, "1 n n 3"], config: Config
) -> Float[jax.Array, "1 68 2"]:
    return estimate_landmarks(landmark_net, bicubic_upsample(y, config.landmarks.size), config.landmarks)


def _resize(image: UInt8[np.ndarray, "n n 3"], side: int) -> UInt8[np.ndarray, "m m 3"]:
    if image.shape[0] == side:
        return image
    # Box filtering is what the model's own degradation does; enlarging takes bicubic.
    kind = Image.Resampling.BOX if side < image.shape[0] else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image).resize((side, side), kind))
