"""All faces of a photograph, the small ones too: every rung of the ladder is climbed, and what they find is joined."""

import math
from functools import partial

import numpy as np
from jaxtyping import UInt8

from idfsr_jax.face.detect import Box, Face, as_it_lies, detect_boxes, find_faces, landmarks_in_box

_BASE_SIDE = 1600
_RUNGS = (1, 2, 4, 8)
_TILE_PIXELS = 8_000_000
_OVERLAP = 320  # Pixels of the enlarged photograph: a face larger than that was seen on the rung before.
_BUDGET = 40_000_000
"""Pixels that are looked at, all rungs together, before a rung is left out: 10 to 30 s on one core."""
_SAME_FACE = 0.3
_LEAST_SCORES = {1: 0.0, 2: 0.0, 4: 0.0, 8: 0.15}


def find_every_face(image: UInt8[np.ndarray, "h w 3"], *, budget: int = _BUDGET) -> list[Face]:
    """All faces of a photograph, from left to right, though it lie on its side or its head.

    dlib's detector sees faces of 80 px and more. It is shown the photograph reduced to 1600 px at most, then enlarged
    from there 2, 4 and 8 times, in tiles; the eightfold enlargement finds faces 10 px wide in a small photograph. A
    rung that would exceed the budget is left out, except where nothing has been found yet and it alone stays within.
    Where no face is sure, the photograph is looked at turned as well, each time with a quarter of the budget.

    Args:
      image: uint8 RGB.
      budget: pixels to look at, at the most, but for the first rung.

    Returns:
      The faces; empty if no rung shows one.
    """
    faces = as_it_lies(image, _find_upright(image, budget), partial(_find_upright, budget=budget // 4))
    return sorted(faces, key=lambda face: (face.box[0] + face.box[2] / 2, face.box[1]))


def _find_upright(image: UInt8[np.ndarray, "h w 3"], budget: int) -> list[Face]:
    """What the rungs show of a photograph as it is."""
    height, width = image.shape[:2]
    base = min(1.0, _BASE_SIDE / max(height, width))
    found: list[tuple[Box, float]] = []
    seen = 0
    for rung in _RUNGS:
        scale = base * rung
        pixels = math.ceil(height * scale) * math.ceil(width * scale)
        if rung > 1 and (pixels if not found else seen + pixels) > budget:
            break
        # The last rung answers mostly to texture, and is slow; it is for photographs in which nobody is larger.
        if rung == _RUNGS[-1] and found and pixels > budget // 4:
            break
        seen += pixels
        found += [each for each in _detect_tiled(image, scale) if each[1] >= _LEAST_SCORES[rung]]
    if not found:
        return find_faces(image, ladder=())  # Its border shows heads that the photograph's edge cuts off.
    return [Face(box, score, landmarks_in_box(image, box)) for box, score in _without_repeats(found, width, height)]


def _detect_tiled(image: UInt8[np.ndarray, "h w 3"], scale: float) -> list[tuple[Box, float]]:
    """Detections in a copy `scale` times as large, made tile by tile, so that memory stays bounded."""
    height, width = image.shape[:2]
    side = math.sqrt(_TILE_PIXELS) / scale
    overlap = math.ceil(_OVERLAP / scale)
    found = []
    for top in _starts(height, side, overlap):
        for left in _starts(width, side, overlap):
            bottom, right = math.ceil(top + side + overlap), math.ceil(left + side + overlap)
            tile = np.ascontiguousarray(image[top:bottom, left:right])
            found += [((x + left, y + top, w, h), score) for (x, y, w, h), score in detect_boxes(tile, scale)]
    return found


def _starts(length: int, side: float, overlap: int) -> list[int]:
    """Where tiles of `side` + `overlap` begin, so that they cover a length."""
    count = max(1, math.ceil((length - overlap) / side))
    return [round(number * side) for number in range(count)]


def _without_repeats(found: list[tuple[Box, float]], width: int, height: int) -> list[tuple[Box, float]]:
    """The surest detection of each face (greedy non-maximum suppression), where its centre lies in the photograph."""
    kept: list[tuple[Box, float]] = []
    for box, score in sorted(found, key=lambda each: -each[1]):
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        if 0 <= x < width and 0 <= y < height and all(_overlap(box, other) < _SAME_FACE for other, _ in kept):
            kept.append((box, score))
    return kept


def _overlap(a: Box, b: Box) -> float:
    """The shared area over the smaller one's: a face within a face is one."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0) / min(a[2] * a[3], b[2] * b[3])
