"""Whether two crops come from one photograph that was saved again, resized, cropped, recoloured or mirrored."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

_SIDE = 64
_MARGIN = 10
_STEPS = 12
_BLOCKS = 4
_FACE_ROWS, _FACE_COLUMNS = slice(12, 44), slice(6, 38)
_MOST_MOVED = 12.0
_SAME = 0.97
"""Of 24 pairs of portraits of one sitting, two expressions, none reached it (0.957 at the most). Copies saved at
quality 30, reduced to a third, cropped, sharpened and mirrored had 0.991 and more, eight each; of eight with a gamma of
0.7 one had less, 0.962."""
_HOPELESS = 0.6

Same = Literal["", "same", "mirrored"]


def same_photograph(one: UInt8[np.ndarray, "n n 3"], other: UInt8[np.ndarray, "m m 3"]) -> Same:
    """Whether two canonical crops show one photograph.

    Their lightness is brought to 64 x 64 pixels, one is moved onto the other by the similarity of least squares (Lucas
    and Kanade 1981, with gain and offset), and within the face, coarse shading taken away, the part that differs most
    decides; see `similarity`.

    Returns:
      "same"; "mirrored", where one is the other's mirror image; or "".
    """
    first, second = fine_lightness(one), fine_lightness(other)
    if similarity(first, second) >= _SAME:
        return "same"
    return "mirrored" if similarity(first, np.ascontiguousarray(second[:, ::-1])) >= _SAME else ""


def fine_lightness(crop: UInt8[np.ndarray, "n n 3"]) -> Float[np.ndarray, "s s"]:
    """What `similarity` compares: lightness at 64 x 64 pixels, float32."""
    grey = Image.fromarray(crop).convert("L").convert("F").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(grey, np.float32)


def similarity(one: Float[np.ndarray, "s s"], other: Float[np.ndarray, "s s"]) -> float:
    """How alike two lightnesses are, the one moved onto the other: 1 - max_b mean_b (f - g)^2 / 2 over 4 x 4 parts b.

    f and g are those of the face, smoothed, without coarse shading and of unit variance; of one part alone this would
    be their correlation. 0 where the one cannot be moved onto the other.
    """
    inner = slice(_MARGIN, _SIDE - _MARGIN)
    target = _normal(one[inner, inner])
    if float(np.mean(target * _normal(other[inner, inner]))) < _HOPELESS:
        return 0.0
    moved = other[inner, inner]
    middle = (_SIDE - 1) / 2
    y, x = np.mgrid[inner, inner].astype(np.float64)
    u, v = x - middle, y - middle
    a, b, tx, ty = 1.0, 0.0, 0.0, 0.0
    for _ in range(_STEPS):
        px, py = a * u - b * v + tx + middle, b * u + a * v + ty + middle
        moved = _sampled(other, px, py)
        gx, gy = _sampled(np.gradient(other, axis=1), px, py), _sampled(np.gradient(other, axis=0), px, py)
        columns = (gx * u + gy * v, gy * u - gx * v, gx, gy, moved, np.ones_like(moved))
        matrix = np.stack([column.ravel() for column in columns], axis=1)
        solved, *_ = np.linalg.lstsq(matrix, (one[inner, inner] - moved).ravel(), rcond=None)
        gain = 1.0 + solved[4]
        if gain <= 0.05:
            return 0.0
        a, b, tx, ty = (value + step / gain for value, step in zip((a, b, tx, ty), solved[:4], strict=True))
        if max(abs(a - 1) * _SIDE / 2, abs(b) * _SIDE / 2, abs(tx), abs(ty)) > _MOST_MOVED:
            return 0.0
        if np.abs(solved[:4]).max() < 1e-3:
            break
    # The face alone: hair before a wall would outweigh it.
    faces = [_smooth(image)[_FACE_ROWS, _FACE_COLUMNS] for image in (one[inner, inner], moved)]
    fine = [_normal(_without_shading(face)) for face in faces]
    # Where one part alone differs, an expression has changed.
    blocks = ((fine[0] - fine[1]) ** 2).reshape(_BLOCKS, -1, _BLOCKS, fine[0].shape[1] // _BLOCKS).mean((1, 3))
    return float(1.0 - blocks.max() / 2.0)


def _smooth(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """(1, 2, 1) / 4 twice along both sides, so that sharpening, blur and compression matter little."""
    for _ in range(2):
        for axis in (0, 1):
            padded = np.pad(image, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
            parts = [np.take(padded, np.arange(start, start + image.shape[axis]), axis) for start in (0, 1, 2)]
            image = (parts[0] + 2 * parts[1] + parts[2]) / 4
    return image


def _sampled(
    image: Float[np.ndarray, "s s"], x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"]
) -> Float64[np.ndarray, "h w"]:
    """Bilinear samples; beyond the border the border's own."""
    x, y = np.clip(x, 0, _SIDE - 1.001), np.clip(y, 0, _SIDE - 1.001)
    left, top = x.astype(int), y.astype(int)
    fx, fy = x - left, y - top
    upper = image[top, left] * (1 - fx) + image[top, left + 1] * fx
    lower = image[top + 1, left] * (1 - fx) + image[top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float64)


def _without_shading(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    coarse = Image.fromarray(np.asarray(image, np.float32)).resize((6, 6), Image.Resampling.BOX)
    return image - np.asarray(coarse.resize(image.shape[::-1], Image.Resampling.BICUBIC), image.dtype)


def _normal(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    image = image - image.mean()
    return image / max(float(image.std()), 1e-6)
