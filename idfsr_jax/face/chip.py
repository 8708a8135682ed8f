"""The 150 px chip that dlib's face recogniser sees: where it lies, and how it is cut from a photograph on the host.

A chip is a similarity-aligned square around eyes, nose and mouth. This file needs no JAX, so that worker processes can
use it; `idfsr_jax.models.id_encoder.face_chips` is its differentiable twin and shares `similarity_to_landmarks`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

CHIP_SIDE = 150
"""Side of a chip, pixels."""

_PADDING = 0.25
"""Border around the mean face, as a share of the mean face's side (dlib's default for face descriptors)."""

_CHIP_POINTS = np.array([*range(27, 55), *range(60, 65)], np.int32)
"""The landmarks that fix a chip: nose, eyes and upper lip. Brows and lower lip move with the expression too much."""

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

_TEMPLATE = (_MEAN_FACE + _PADDING) / (1.0 + 2.0 * _PADDING) * CHIP_SIDE
_TEMPLATE_MEAN = _TEMPLATE.mean(axis=0)
_OFFSETS = _TEMPLATE - _TEMPLATE_MEAN
# Least squares over similarities is linear in the landmarks: these rows are its pseudo-inverse.
_ROTATION_ROWS = _OFFSETS / np.sum(_OFFSETS**2)


def similarity_to_landmarks(landmarks: Any) -> tuple[Any, Any, Any, Any]:
    """The similarity that carries the chip's template onto landmarks, in the least-squares sense.

    Umeyama 1991 in two dimensions, where it has a closed form that is linear in the landmarks. Works on NumPy and JAX
    float arrays alike, and is differentiable.

    Args:
      landmarks: float [..., 68, 2] in any square coordinates.

    Returns:
      (a, b, x, y), each [...]: chip position (u, v), in continuous chip pixels, lies at (a u - b v + x, b u + a v + y).
    """
    points = landmarks[..., _CHIP_POINTS, :]
    rows_x, rows_y = _ROTATION_ROWS.astype(points.dtype).T
    a = (points[..., 0] * rows_x + points[..., 1] * rows_y).sum(axis=-1)
    b = (points[..., 1] * rows_x - points[..., 0] * rows_y).sum(axis=-1)
    middle = points.mean(axis=-2)
    u, v = float(_TEMPLATE_MEAN[0]), float(_TEMPLATE_MEAN[1])
    return a, b, middle[..., 0] - a * u + b * v, middle[..., 1] - b * u - a * v


def chip_transform(landmarks: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "2 3"]:
    """Affine matrix from continuous chip pixels (0 to 150) to the landmarks' own coordinates, float64.

    Args:
      landmarks: dlib's 68 points in any square coordinates; unit ones give a matrix into unit coordinates.
    """
    a, b, x, y = similarity_to_landmarks(landmarks.astype(np.float64))
    return np.array([[a, -b, x], [b, a, y]])


def cut_chip(image: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "68 2"]) -> UInt8[np.ndarray, "150 150 3"]:
    """Cuts the chip of one face out of a photograph or crop.

    Bilinear, after an area reduction by a whole factor where the chip is half as fine as the photograph or coarser;
    beyond the border the picture is black, both as dlib has it. dlib also stretches a chip by about one pixel of the
    photograph, which shows only where the face is tiny, and is left out.

    Args:
      image: RGB.
      landmarks: dlib's 68 points in continuous pixels of `image` (a pixel's centre is at +0.5).
    """
    matrix = chip_transform(landmarks)
    factor = max(1, int(np.hypot(matrix[0, 0], matrix[1, 0])))
    picture = Image.fromarray(image)
    if factor > 1:
        picture = picture.reduce(factor)
    coefficients = tuple(float(value) for value in (matrix / factor).ravel())
    size = (CHIP_SIDE, CHIP_SIDE)
    return np.array(picture.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
