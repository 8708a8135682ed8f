"""Faces in photographs and their 68 landmarks, by dlib's HOG detector and shape predictor."""

import cmath
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from idfsr_jax.face.window import reflected_window
from idfsr_jax.io.errors import InputError, NoFace

Box = tuple[int, int, int, int]

_BASE_SIDE = 1600  # The first rung sees no larger picture: a face that matters fills more than 1/20 of it.
_MAX_DETECTION_PIXELS = 8_000_000
_PADDING = 0.25
_PREDICTOR_BOX_SIDE = 200  # Side of the face box in the patch that the shape predictor sees.
_SURE_SCORE = 0.35  # Fainter detections beside a surer one are often clothing or background.
_COUNTS_AS_SEVERAL = 0.25
_STANDS = 1.0
"""Score of a face from which its photograph is not looked at turned. Of 12 portraits with faces of 10, 14, 20 and 30 px
39 of 48 had more upright, and none on its head, where the surest detection had 0.66."""
_LIES = 0.5
"""By how much surer a face is seen once a photograph that lies is turned; what is no face rarely has so much."""
_SEEN_SIDE = 80
"""Of a face from which the detector sees it, in pixels of what it is shown."""
_TURNS = range(-150, 181, 30)
"""Degrees; the detector sees faces that are up to some 30 from upright."""
_UPRIGHT = 15.0  # Degrees; what estimates landmarks reads such faces as they are.
_TURNED_BOX_SIDE = 120  # Of a face that the detector is shown turned; it sees those of 80 px and more.


@dataclass(frozen=True)
class Face:
    """A face in a photograph.

    Attributes:
      box: x, y, width and height in photo pixels, from brows to chin; may reach beyond the photo.
      score: the detector's confidence (0 is its threshold, higher is surer); infinite for a box given by hand.
      landmarks: dlib's 68 points (x, y) in continuous photo pixels: pixel (column j, row i) has its centre at
        (j + 0.5, i + 0.5).
    """

    box: Box
    score: float
    landmarks: Float32[np.ndarray, "68 2"]


def find_faces(
    image: UInt8[np.ndarray, "h w 3"], *, ladder: Sequence[int] = (0, 1, 2), others: bool = False
) -> list[Face]:
    """All faces of the first rung of a ladder that shows any, largest first.

    Rung k looks at the photograph enlarged 2^k times (very large photographs are first reduced, and rungs that would
    cost more than 8 megapixels are skipped). The last rung, always tried, has a reflected border of a quarter around
    the photo, which shows heads cut off by its edge.

    Args:
      image: uint8 RGB.
      ladder: exponents k, in the order to be tried.
      others: whether the rung after the first that shows any is looked at too, if these are so small that others of
        about their size may be missed.

    Returns:
      The faces; empty if no rung shows one.
    """
    height, width = image.shape[:2]
    base = min(1.0, _BASE_SIDE / max(height, width))
    boxes: list[tuple[Box, float]] = []
    for rung in ladder:
        scale = base * 2.0**rung
        if rung == min(ladder) or height * width * scale * scale <= _MAX_DETECTION_PIXELS:
            boxes = detect_boxes(image, scale)
        if boxes:
            if others and rung + 1 in ladder and 4 * height * width * scale * scale <= _MAX_DETECTION_PIXELS:
                boxes += _others(image, boxes, scale)
            break
    else:
        pad_x, pad_y = math.ceil(_PADDING * width), math.ceil(_PADDING * height)
        padded = reflected_window(image, -pad_x, -pad_y, width + pad_x, height + pad_y)
        boxes = [((x - pad_x, y - pad_y, w, h), score) for (x, y, w, h), score in detect_boxes(padded, base)]
        boxes = [(box, score) for box, score in boxes if _holds(box, width, height)]
    faces = [Face(box, score, landmarks_in_box(image, box)) for box, score in boxes]
    return sorted(faces, key=lambda face: _area(face.box), reverse=True)


def _others(image: UInt8[np.ndarray, "h w 3"], boxes: list[tuple[Box, float]], scale: float) -> list[tuple[Box, float]]:
    """Sure faces that count beside those seen at a scale, and are seen at twice that scale alone."""
    least = _COUNTS_AS_SEVERAL * max(_area(box) for box, _ in boxes)
    if math.sqrt(least) * scale >= _SEEN_SIDE:
        return []  # All that count were large enough to be seen.
    return [
        (box, score)
        for box, score in detect_boxes(image, 2 * scale)
        if score >= _SURE_SCORE and _area(box) >= least and not any(is_one_place(box, seen) for seen, _ in boxes)
    ]


def as_it_lies(
    image: UInt8[np.ndarray, "h w 3"],
    faces: list[Face],
    find: Callable[[UInt8[np.ndarray, "rows columns 3"]], list[Face]],
) -> list[Face]:
    """The faces of a photograph that perhaps lies on its side or its head.

    Args:
      image: uint8 RGB.
      faces: what was found in it as it is; where one is sure, these are the answer and nothing is looked at again.
      find: finds upright faces.

    Returns:
      Those of the quarter turn that shows a face the most surely, turned back: boxes and landmarks lie in `image`.
    """
    sure = _surest(faces)
    for quarters in (1, 3, 2):
        if sure >= _STANDS:
            break
        turned = np.ascontiguousarray(np.rot90(image, quarters))
        found = find(turned)
        if _surest(found) < sure + _LIES:
            continue
        sure, faces = _surest(found), found
        height, width = turned.shape[:2]
        for _ in range(quarters):
            faces = [_clockwise(face, height) for face in faces]
            height, width = width, height
    return faces


def _surest(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _clockwise(face: Face, height: int) -> Face:
    """A face of a photograph of that height in the photograph turned clockwise by a quarter."""
    (x, y, w, h), points = face.box, face.landmarks
    landmarks = np.stack([height - points[:, 1], points[:, 0]], axis=1)
    return replace(face, box=(height - y - h, x, h, w), landmarks=landmarks)


def face_in_box(image: UInt8[np.ndarray, "h w 3"], box: Box) -> Face:
    """The face in a box given by hand (brows to chin, ear to ear), however it is turned.

    Args:
      image: uint8 RGB.
      box: x, y, width and height in photo pixels.

    Raises:
      InputError: the box is empty, its centre lies outside the photo, or it is over twice as large as the photo.
    """
    x, y, w, h = box
    height, width = image.shape[:2]
    if not (1 <= w <= 2 * width and 1 <= h <= 2 * height and _holds(box, width, height)):
        raise InputError(f"box {x},{y},{w},{h} does not lie in the {width} x {height} photo; give x,y,width,height.")
    return Face(box, math.inf, landmarks_in_box(image, box, turn_of(image, box) or 0.0))


def faces_that_count(faces: Sequence[Face]) -> list[Face]:
    """Those that a photograph may be about, in their order.

    Faint detections beside surer ones and faces of less than a quarter of the largest one's area are left out.
    """
    sure = _sure(faces)
    largest = max((_area(face.box) for face in sure), default=0)
    return [face for face in sure if _area(face.box) >= _COUNTS_AS_SEVERAL * largest]


def require_face(faces: Sequence[Face], name: str | Path) -> None:
    """Checks that there is a face.

    Raises:
      NoFace: there is none.
    """
    if not faces:
        raise NoFace(f"{name}: no face was found; use a sharp photograph that shows the face from the front.")


def is_one_place(box: Box, other: Box) -> bool:
    """Whether each of two boxes has the other's centre in it."""
    return all(distance_to(a, b[0] + b[2] / 2, b[1] + b[3] / 2)[0] == 0 for a, b in ((box, other), (other, box)))


def prominence(box: Box, width: int, height: int) -> float:
    """How likely a photograph of that size is about a face: its side, the less the farther it is from the middle.

    A face in a corner counts nothing, one in the middle all of its side.
    """
    _, distance = distance_to(box, width / 2, height / 2)
    return math.sqrt(_area(box)) * (1.0 - 2.0 * distance / math.hypot(width, height))


def central_face(faces: Sequence[Face], image: UInt8[np.ndarray, "h w 3"], name: str | Path) -> Face:
    """The face around a photograph's centre, or else the sure one nearest to it.

    Args:
      faces: from `find_faces`.
      image: the photograph that they were found in.
      name: the photograph's name for the error message.

    Raises:
      NoFace: there is none.
    """
    require_face(faces, name)
    height, width = image.shape[:2]

    def distance(face: Face) -> tuple[float, float]:
        return distance_to(face.box, width / 2, height / 2)

    around = [face for face in faces if distance(face)[0] == 0]
    return min(around or _sure(faces), key=distance)


def _sure(faces: Sequence[Face]) -> list[Face]:
    return [face for face in faces if face.score >= _SURE_SCORE] or list(faces)


def _dlib() -> Any:
    # Imported on first use: who only trains on prepared crops need not have it.
    import dlib

    return dlib


@functools.lru_cache(maxsize=1)
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@functools.lru_cache(maxsize=1)
def _predictor() -> Any:
    import face_recognition_models

    return _dlib().shape_predictor(face_recognition_models.pose_predictor_model_location())


def detect_boxes(image: UInt8[np.ndarray, "h w 3"], scale: float) -> list[tuple[Box, float]]:
    """Boxes and scores, in pixels of `image`, of what the detector sees in a copy `scale` times as large."""
    height, width = image.shape[:2]
    if scale != 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))
    rectangles, scores, _ = _detector().run(np.ascontiguousarray(image), 0, 0.0)
    found = []
    for rectangle, score in zip(rectangles, scores, strict=True):
        left, top = rectangle.left() / scale, rectangle.top() / scale
        right, bottom = (rectangle.right() + 1) / scale, (rectangle.bottom() + 1) / scale
        box = (round(left), round(top), max(1, round(right - left)), max(1, round(bottom - top)))
        found.append((box, float(score)))
    return found


def turn_of(image: UInt8[np.ndarray, "h w 3"], box: Box) -> float | None:
    """By how many degrees the face in a box is turned clockwise, 0 if it nearly stands upright; None if none is seen.

    What lies in the box and around it is shown to the detector at twelve angles. A face is seen at several of them; by
    how surely, their mean is weighted. Of ten portraits turned by 0, 20, 45, 60, 90 and 180 degrees all canonical
    crops, by landmarks in the turned face, were then within 2 degrees of upright, 28 to 114 px wide; of those of 16 px
    a face was seen in 36 of 60, once upside down.

    Args:
      image: uint8 RGB.
      box: x, y, width and height in photo pixels, brows to chin.
    """
    patch, _, _, (x, y) = _patch(image, box, _TURNED_BOX_SIDE)
    seen = 0j
    for angle in _TURNS:
        turned = np.asarray(patch.rotate(angle, Image.Resampling.BILINEAR, center=(x, y)))
        scores = [
            score
            for (left, top, w, h), score in detect_boxes(turned, 1.0)
            if distance_to((left, top, w, h), x, y)[1] < _TURNED_BOX_SIDE / 2 < w
        ]
        seen += max(scores, default=0.0) * cmath.exp(1j * math.radians(angle))
    if not seen:
        return None
    turn = math.degrees(cmath.phase(seen))
    return turn if abs(turn) > _UPRIGHT else 0.0


def landmarks_in_box(image: UInt8[np.ndarray, "h w 3"], box: Box, turn: float = 0.0) -> Float32[np.ndarray, "68 2"]:
    """Landmarks in continuous photo pixels.

    The predictor rounds its points to whole pixels and reads single pixels, so it is shown the face at one fixed size:
    that gives fractions of a pixel on small faces, and no aliasing on large ones.

    Args:
      image: uint8 RGB.
      box: x, y, width and height in photo pixels, brows to chin.
      turn: degrees by which the face is turned clockwise; the predictor reads faces that are nearly upright.
    """
    patch, origin, scale, center = _patch(image, box, _PREDICTOR_BOX_SIDE)
    if turn:
        patch = patch.rotate(turn, Image.Resampling.BILINEAR, center=center)
    half = math.sqrt(box[2] * box[3]) / 2
    left, top = (round(middle - half * factor) for middle, factor in zip(center, scale, strict=True))
    right, bottom = (round(middle + half * factor) - 1 for middle, factor in zip(center, scale, strict=True))
    shape = _predictor()(np.asarray(patch), _dlib().rectangle(left, top, right, bottom))
    # dlib puts a pixel's centre at whole numbers; ours is at +0.5.
    points = np.array([(point.x + 0.5, point.y + 0.5) for point in shape.parts()])
    if turn:
        cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        points = (points - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center
    return (points / scale + origin).astype(np.float32)


def _patch(
    image: UInt8[np.ndarray, "h w 3"], box: Box, side: int
) -> tuple[Image.Image, tuple[int, int], tuple[float, float], tuple[float, float]]:
    """A box and half as much on every side, resized so that the box is `side` pixels wide.

    Returns:
      The patch, its corner in the photo, its size over the photo's across and down, and the box's centre in the patch.
    """
    x, y, w, h = box
    reach = math.sqrt(w * h)
    center_x, center_y = x + w / 2, y + h / 2
    left, top = math.floor(center_x - reach), math.floor(center_y - reach)
    right, bottom = math.ceil(center_x + reach), math.ceil(center_y + reach)
    patch = Image.fromarray(reflected_window(image, left, top, right, bottom))
    size = (round(patch.width * side / reach), round(patch.height * side / reach))
    scale_x, scale_y = size[0] / patch.width, size[1] / patch.height
    center = (center_x - left) * scale_x, (center_y - top) * scale_y
    return patch.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), (left, top), (scale_x, scale_y), center


def _area(box: Box) -> int:
    return box[2] * box[3]


def _holds(box: Box, width: int, height: int) -> bool:
    x, y, w, h = box
    return 0 <= x + w / 2 < width and 0 <= y + h / 2 < height


def distance_to(box: Box, x: float, y: float) -> tuple[float, float]:
    """Distance of a point from a box (0 inside), then from its centre."""
    left, top, w, h = box
    outside = math.hypot(max(left - x, 0.0, x - left - w), max(top - y, 0.0, y - top - h))
    return outside, math.hypot(left + w / 2 - x, top + h / 2 - y)
