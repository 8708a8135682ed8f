"""The canonical crop: an upright square around the head, by the recipe of FFHQ (Karras et al. 2019)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image

from idfsr_jax.face.detect import (
    Box,
    Face,
    as_it_lies,
    face_in_box,
    faces_that_count,
    find_faces,
    is_one_place,
    prominence,
    require_face,
)
from idfsr_jax.face.flaws import flaw_of
from idfsr_jax.face.read import read_picture
from idfsr_jax.face.window import reflected_window, sample_affine, to_bytes
from idfsr_jax.io.errors import InputError, SeveralFaces

_LEAST_SIDE, _MOST_SIDE = 32, 512
_FOREHEAD = 0.3  # Of the height from brows to chin.
_MARGIN = 4  # Pixels around the quad that the interpolation may touch.


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A face in the canonical frame; equal to itself alone.

    Attributes:
      image: uint8 RGB.
      landmarks: 68 points (x, y) in unit coordinates: 0..1 across the crop, a pixel (column j, row i) of an S-pixel
        crop having its centre at ((j + 0.5) / S, (i + 0.5) / S).
      transform: affine matrix from unit coordinates (x, y, 1) to continuous photo pixels.
      notes: what of the photograph's file is damaged, was assumed or left out, a sentence each.
      frame: `photograph_frame`; by default all of the crop was photographed.
      box: of the face in its photograph, x, y, width and height from brows to chin; None where it is not known.
      which: of several faces of the photograph, in words; empty where there was one.
    """

    image: UInt8[np.ndarray, "n n 3"]
    landmarks: Float32[np.ndarray, "68 2"]
    transform: Float64[np.ndarray, "3 3"]
    notes: tuple[str, ...] = ()
    frame: Float32[np.ndarray, "2 3"] = field(default_factory=lambda: np.eye(3, dtype=np.float32)[:2])
    box: Box | None = None
    which: str = ""


def ffhq_transform(landmarks: Float[np.ndarray, "68 2"]) -> Float64[np.ndarray, "3 3"]:
    """The similarity from unit coordinates to the photo that FFHQ's crop stands for.

    With e the vector between the eyes, m the one from the eyes' midpoint to the mouth's, the crop's half axis x points
    along e + perp(m) and has length max(2 |e|, 1.8 |m|); its centre is the eyes' midpoint + 0.1 m (Karras et al. 2019,
    "A Style-Based Generator Architecture for Generative Adversarial Networks", appendix C).

    Args:
      landmarks: dlib's 68 points in continuous photo pixels.

    Raises:
      InputError: the points coincide, so that they define no square.
    """
    points = landmarks.astype(np.float64)
    left_eye, right_eye = points[36:42].mean(0), points[42:48].mean(0)
    eyes = (left_eye + right_eye) / 2
    across = right_eye - left_eye
    down = (points[48] + points[54]) / 2 - eyes
    x = across + np.array([down[1], -down[0]])
    length = np.hypot(*x)
    half = max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    if not (length > 0 and half > 0 and np.isfinite(length)):
        raise InputError("the landmarks of this face coincide; give another photo or box.")
    x = x / length * half
    y = np.array([-x[1], x[0]])
    corner = eyes + 0.1 * down - x - y
    return np.array([[2 * x[0], 2 * y[0], corner[0]], [2 * x[1], 2 * y[1], corner[1]], [0.0, 0.0, 1.0]])


def apply_transform(
    transform: Float64[np.ndarray, "3 3"], points: Float[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "n 2"]:
    """Maps points (x, y) by an affine matrix."""
    return points.astype(np.float64) @ transform[:2, :2].T + transform[:2, 2]


def crop_side(transform: Float64[np.ndarray, "3 3"]) -> float:
    """Side of the crop's square in photo pixels."""
    return math.sqrt(abs(np.linalg.det(transform[:2, :2])))


def photograph_frame(transform: Float64[np.ndarray, "3 3"], width: int, height: int) -> Float32[np.ndarray, "2 3"]:
    """The affine matrix from unit coordinates of a crop to unit coordinates of its photograph.

    A crop may reach beyond its photograph; what it shows there is the photograph's mirror image. The points of the crop
    that this matrix takes into [0, 1] x [0, 1] are those that were photographed.

    Args:
      transform: of the crop, from its unit coordinates to continuous photo pixels.
      width: of the photograph, pixels.
      height: of the photograph, pixels.
    """
    return (np.diag([1.0 / width, 1.0 / height]) @ transform[:2]).astype(np.float32)


def cut_crop(
    image: UInt8[np.ndarray, "h w 3"], transform: Float64[np.ndarray, "3 3"], size: int
) -> UInt8[np.ndarray, "n n 3"]:
    """Resamples the square that a transform stands for to size x size pixels.

    Bicubic; where the photo is finer than the crop, nothing aliases: the photo is first reduced to at most twice the
    crop's resolution, and the crop, cut at that, again, both by Lanczos filtering. (Turning at the crop's own
    resolution would blur it by an amount that depends on the angle.) Beyond the edges the photo is mirrored.

    Args:
      image: uint8 RGB.
      transform: from unit coordinates to continuous photo pixels.
      size: side of the crop in pixels.
    """
    side = crop_side(transform)
    fine = size if side <= size else min(2 * size, math.ceil(side))
    reduction = max(1.0, side / fine)
    corners = apply_transform(transform, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    margin = math.ceil(_MARGIN * reduction)
    left, top = (int(value) - margin for value in np.floor(corners.min(0)))
    right, bottom = (int(value) + margin for value in np.ceil(corners.max(0)))
    window = Image.fromarray(np.ascontiguousarray(reflected_window(image, left, top, right, bottom)))
    scale_x = scale_y = 1.0
    if reduction > 1.0:
        reduced = (math.ceil(window.width / reduction), math.ceil(window.height / reduction))
        scale_x, scale_y = reduced[0] / window.width, reduced[1] / window.height
        window = window.resize(reduced, Image.Resampling.LANCZOS, reducing_gap=3.0)
    to_window = np.array([[scale_x, 0.0, -left * scale_x], [0.0, scale_y, -top * scale_y], [0.0, 0.0, 1.0]])
    pixel_to_window = to_window @ transform @ np.diag([1 / fine, 1 / fine, 1.0])
    crop = to_bytes(sample_affine(window, pixel_to_window, (fine, fine), Image.Resampling.BICUBIC))
    return resize_crop(crop, size)


def is_near(transform: Float64[np.ndarray, "3 3"], image: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether a crop's corners lie in a photograph or at most four of its sides away, none on another."""
    corners = apply_transform(transform, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    height, width = image.shape[:2]
    return crop_side(transform) >= 1.0 and bool(np.all(np.abs(corners / (width, height) - 0.5) <= 4.5))


def align_face(image: UInt8[np.ndarray, "h w 3"], face: Face) -> FaceCrop:
    """Cuts a face's canonical crop at the photo's own resolution, from 32 to 512 px.

    Args:
      image: uint8 RGB.
      face: from `find_faces` or `face_in_box`.
    """
    transform = ffhq_transform(face.landmarks)
    unit = apply_transform(np.linalg.inv(transform), face.landmarks)
    return replace(crop_at(image, transform, unit.astype(np.float32)), box=face.box)


def crop_at(
    image: UInt8[np.ndarray, "h w 3"],
    transform: Float64[np.ndarray, "3 3"],
    landmarks: Float32[np.ndarray, "68 2"],
) -> FaceCrop:
    """The canonical crop of a face whose place and landmarks are known; see `FaceCrop` and `align_face`."""
    size = max(_LEAST_SIDE, min(_MOST_SIDE, round(crop_side(transform))))
    height, width = image.shape[:2]
    frame = photograph_frame(transform, width, height)
    return FaceCrop(cut_crop(image, transform, size), landmarks, transform, frame=frame)


def resize_crop(image: UInt8[np.ndarray, "n n 3"], size: int) -> UInt8[np.ndarray, "m m 3"]:
    """Resizes a square crop to size x size pixels by Lanczos filtering, antialiased when it shrinks."""
    if image.shape[0] == size:
        return image
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0))


def crop_face(path: str | Path) -> FaceCrop:
    """Photograph file, with one face in it, to canonical crop.

    Raises:
      SeveralFaces: several were found.
      InputError: as of `crop_faces`.
    """
    crop, *others = crop_faces(Path(path))
    if others:
        raise SeveralFaces(
            f"{path}: shows {1 + len(others)} faces; crop it to one person, or give the box of the face."
        )
    return crop


def crop_faces(path: Path, box: Box | None = None) -> list[FaceCrop]:
    """Photograph file to the canonical crops of all faces that it may be about.

    Args:
      path: the photograph.
      box: x, y, width and height that point at one of the faces, whether it is found or not.

    Returns:
      The face pointed at, then the others, the largest and most central ones first. Those that are dithered, posterised
      or blank are left out.

    Raises:
      UnreadableImage: the file cannot be read.
      NoFace: no face was found.
      InputError: the box lies outside the photo, or the face that it points at, or every face, has such a flaw.
    """
    picture = read_picture(path)
    image = picture.pixels
    height, width = image.shape[:2]
    find = partial(find_faces, others=True)
    faces = as_it_lies(image, find(image), find)
    if box is None:
        require_face(faces, path)
    faces = sorted(faces_that_count(faces), key=lambda face: -prominence(face.box, width, height))
    if box is not None:
        pointed = next((face for face in faces if is_one_place(face.box, box)), None)
        try:
            pointed = pointed or face_in_box(image, box)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        faces = [pointed, *(face for face in faces if face is not pointed)]
    flaws = [flaw_of(_around(image, face)) for face in faces]
    if all(flaws) or (box is not None and flaws[0]):
        raise InputError(f"{path}: its face is {flaws[0]}, which shows nobody's skin; use a photograph of full tones.")
    sound = [face for face, flaw in zip(faces, flaws, strict=True) if not flaw]
    order = sorted(face.box for face in sound)
    which = [
        f"face {order.index(box) + 1} of {len(sound)} from the left, {box[2]} x {box[3]} px at {box[0]},{box[1]}"
        if len(sound) > 1
        else ""
        for box in (face.box for face in sound)
    ]
    return [
        replace(align_face(image, face), notes=picture.notes, which=words)
        for face, words in zip(sound, which, strict=True)
    ]


def _around(image: UInt8[np.ndarray, "h w 3"], face: Face) -> UInt8[np.ndarray, "rows columns 3"]:
    """The part of a photograph from the hair to the chin."""
    (left, top), (right, bottom) = face.landmarks.min(0), face.landmarks.max(0)
    top -= _FOREHEAD * (bottom - top)
    height, width = image.shape[:2]
    rows = slice(min(max(0, int(top)), height - 1), max(1, math.ceil(bottom)))
    return image[rows, min(max(0, int(left)), width - 1) : max(1, math.ceil(right))]


def read_crops(photos: Sequence[str | Path | FaceCrop]) -> list[FaceCrop]:
    """Crops of photographs with one face each; crops pass through.

    Raises:
      InputError: a photograph cannot be read, or has no face or several.
    """
    return [photo if isinstance(photo, FaceCrop) else crop_face(photo) for photo in photos]
