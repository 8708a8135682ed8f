"""The chip that a face recogniser sees: where it lies, and how it is cut from a photograph on the host.

A chip is a similarity-aligned square around eyes, nose and mouth. This file needs no JAX, so that worker processes can
use it; `idfsr_jax.networks.chips.face_chips` is its differentiable twin and shares `similarity_to_landmarks`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image


@dataclass(frozen=True, eq=False)
class ChipTemplate:
    """Where a recogniser wants which points of a face.

    Attributes:
      side: of the chip, pixels.
      groups: each point is the mean of these of the 68 landmarks; int32 [k, m].
      positions: where the points belong, continuous chip pixels (a pixel's centre is at +0.5); float64 [k, 2].
      error_in_chip: whether the misfit of landmarks and template is least in the chip's pixels or in the photograph's.
      crop_side: canonical crops of 1.5 times this side or more are reduced to it before a chip is cut out of them:
        there a chip's pixel spans about one of the crop's.
    """

    side: int
    groups: Int[np.ndarray, "k m"]
    positions: Float[np.ndarray, "k 2"]
    error_in_chip: bool
    crop_side: int
    mean: tuple[float, float] = field(init=False)
    spread: float = field(init=False)
    rows: Float[np.ndarray, "k 2"] = field(init=False)
    """Least squares over similarities is linear in the landmarks: these rows are its pseudo-inverse."""

    def __post_init__(self) -> None:
        mean = self.positions.mean(axis=0)
        offsets = self.positions - mean
        spread = np.sum(offsets**2)
        object.__setattr__(self, "mean", (float(mean[0]), float(mean[1])))
        object.__setattr__(self, "spread", float(spread))
        object.__setattr__(self, "rows", offsets / spread)


CHIP_SIDE = 150
"""Side of dlib's chip, pixels."""

_PADDING = 0.25
"""Border around the mean face, as a share of the mean face's side (dlib's default for face descriptors)."""

_DLIB_POINTS = (*range(27, 55), *range(60, 65))
"""The landmarks that fix dlib's chip: nose, eyes, upper lip. Brows and lower lip move with the expression too much."""

# dlib's mean face (`get_face_chip_details`), points 27-54 and 60-64, in units of the face's side.
_MEAN_FACE = np.array(
    [
        (0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625),
        (0.366880, 0.587326), (0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345),
        (0.613373, 0.587326), (0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852),
        (0.334606, 0.231733), (0.260918, 0.245099), (0.182743, 0.244077), (0.645647, 0.231733),
        (0.714428, 0.179852), (0.793132, 0.178758), (0.858516, 0.216423), (0.797510, 0.244077),
        (0.719335, 0.245099), (0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388),
        (0.490127, 0.742578), (0.551395, 0.727388), (0.639268, 0.745405), (0.726104, 0.780233),
        (0.290379, 0.784792), (0.428096, 0.778746), (0.490127, 0.785343), (0.552157, 0.778746),
        (0.689874, 0.784792),
    ]
)  # fmt: skip

DLIB_CHIP = ChipTemplate(
    side=CHIP_SIDE,
    groups=np.array(_DLIB_POINTS, np.int32)[:, None],
    positions=(_MEAN_FACE + _PADDING) / (1.0 + 2.0 * _PADDING) * CHIP_SIDE,
    error_in_chip=False,
    crop_side=256,
)
"""What dlib's ResNet was trained on (`get_face_chip_details`)."""

ARCFACE_POSITIONS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose tip and mouth corners in a 112 px chip, pixel centres at whole numbers (Deng et al. 2019, "ArcFace")."""

ARCFACE_CHIP = ChipTemplate(
    side=112,
    groups=np.array([[*range(36, 42)], [*range(42, 48)], [30] * 6, [48] * 6, [54] * 6], np.int32),
    positions=ARCFACE_POSITIONS + 0.5,
    error_in_chip=True,
    crop_side=144,
)
"""What ArcFace, AdaFace and their kin are trained on."""


def similarity_to_landmarks(landmarks: Any, template: ChipTemplate = DLIB_CHIP) -> tuple[Any, Any, Any, Any]:
    """The similarity that carries a chip's template onto landmarks, in the least-squares sense.

    Umeyama 1991 in two dimensions, where it has a closed form: linear in the landmarks if the error is theirs, and that
    over the squared correlation of landmarks and template if the error is the chip's. Works on NumPy and JAX float
    arrays alike, and is differentiable.

    Args:
      landmarks: float [..., 68, 2] in any square coordinates; not all in one place.
      template: the chip.

    Returns:
      (a, b, x, y), each [...]: chip position (u, v), in continuous chip pixels, lies at (a u - b v + x, b u + a v + y).
    """
    points = landmarks[..., template.groups, :].mean(axis=-2)
    rows_x, rows_y = template.rows.astype(points.dtype).T
    a = (points[..., 0] * rows_x + points[..., 1] * rows_y).sum(axis=-1)
    b = (points[..., 1] * rows_x - points[..., 0] * rows_y).sum(axis=-1)
    middle = points.mean(axis=-2)
    if template.error_in_chip:
        spread = ((points - middle[..., None, :]) ** 2).sum(axis=(-2, -1))
        factor = spread / (template.spread * (a * a + b * b))
        a, b = a * factor, b * factor
    u, v = template.mean
    return a, b, middle[..., 0] - a * u + b * v, middle[..., 1] - b * u - a * v


def chip_transform(
    landmarks: Float[np.ndarray, "68 2"], template: ChipTemplate = DLIB_CHIP
) -> Float[np.ndarray, "2 3"]:
    """Affine matrix from continuous chip pixels (0 to the chip's side) to the landmarks' own coordinates, float64.

    Args:
      landmarks: dlib's 68 points in any square coordinates; unit ones give a matrix into unit coordinates.
      template: the chip.
    """
    a, b, x, y = similarity_to_landmarks(landmarks.astype(np.float64), template)
    return np.array([[a, -b, x], [b, a, y]])


def cut_chip(
    image: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "68 2"], template: ChipTemplate = DLIB_CHIP
) -> UInt8[np.ndarray, "s s 3"]:
    """Cuts the chip of one face out of a photograph or crop.

    Bilinear, after an area reduction by a whole factor where the chip is half as fine as the photograph or coarser;
    beyond the border the picture is black, both as dlib has it. dlib also stretches its chip by about one pixel of the
    photograph, which shows only where the face is tiny, and is left out.

    Args:
      image: RGB.
      landmarks: dlib's 68 points in continuous pixels of `image` (a pixel's centre is at +0.5).
      template: the chip.
    """
    matrix = chip_transform(landmarks, template)
    factor = max(1, int(np.hypot(matrix[0, 0], matrix[1, 0])))
    picture = Image.fromarray(image)
    if factor > 1:
        picture = picture.reduce(factor)
    coefficients = tuple(float(value) for value in (matrix / factor).ravel())
    size = (template.side, template.side)
    return np.array(picture.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
