"""Whether two crops come from one photograph that was saved again, resized, cropped, recoloured or mirrored."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

_SIDE = 64
_MARGIN = 10
_STEPS = 12
_MOST_MOVED = 12.0
_SAME = 0.95
_HOPELESS = 0.6

Same = Literal["", "same", "mirrored"]


def same_photograph(one: UInt8[np.ndarray, "n n 3"], other: UInt8[np.ndarray, "m m 3"]) -> Same:
    """Whether two canonical crops show one photograph.

    Their lightness is brought to 64 x 64 pixels, one is moved onto the other by the similarity of least squares (Lucas
    and Kanade 1981, with gain and offset), and what remains is compared by its correlation once the coarse shading,
    which all faces have alike, is taken away.

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
    """The correlation of two lightnesses after the one is moved onto the other, coarse shading taken away."""
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
    fine = _normal(_without_shading(one[inner, inner])) * _normal(_without_shading(moved))
    return float(np.mean(fine))


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
