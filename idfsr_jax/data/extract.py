"""Photograph file -> aligned face, as the processes of `prepare` do it; nothing here may import JAX."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from idfsr_jax.face import align_face, central_face, find_faces, read_image
from idfsr_jax.face.align import photograph_frame
from idfsr_jax.face.chip import ARCFACE_CHIP, DLIB_CHIP, cut_chip
from idfsr_jax.io.errors import NoFace, UnreadableImage

_LEAST_SIDE = 48
"""Least native side of a crop, pixels of the photograph."""
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Extracted:
    """A face, cut out and encoded."""

    jpeg: bytes
    """The canonical crop at its native side, JPEG without chroma subsampling."""
    landmarks: Float[np.ndarray, "68 2"]
    """Float32, unit coordinates."""
    chips: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    """What each recogniser sees, cut from the photograph itself."""
    frame: Float[np.ndarray, "2 3"]
    """Float32: takes (x, y, 1) in unit coordinates of the crop to unit coordinates of the photograph. Where both lie
    in [0, 1] the crop shows the photograph; elsewhere it is made up."""
    source_sha256: str


@dataclass(frozen=True)
class Refusal:
    """A photograph that was left out."""

    photo: str
    reason: str
    """One of few short phrases, to count by."""
    message: str


CHIPS = {"dlib": DLIB_CHIP, "arcface": ARCFACE_CHIP}


def extract(path: Path, name: str, chips: Sequence[str]) -> Extracted | Refusal:
    """Reads one photograph and cuts out its face; whatever goes wrong with it becomes a refusal.

    Args:
      path: the photograph.
      name: of it, in the data set.
      chips: whose to cut, a name of `CHIPS` for each recogniser.
    """
    try:
        image = read_image(path)
        face = central_face(find_faces(image), image, name)
        crop = align_face(image, face)
        side = crop.image.shape[0]
        if side < _LEAST_SIDE:
            message = f"{name}: the face is {side} px wide with its surroundings, less than {_LEAST_SIDE}."
            return Refusal(name, "face too small", message)
        jpeg = io.BytesIO()
        Image.fromarray(crop.image).save(jpeg, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        return Extracted(
            jpeg=jpeg.getvalue(),
            landmarks=np.asarray(crop.landmarks, np.float32),
            chips=tuple(cut_chip(image, face.landmarks, CHIPS[chip]) for chip in chips),
            frame=photograph_frame(crop.transform, image.shape[1], image.shape[0]),
            source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    except UnreadableImage as error:
        return Refusal(name, "unreadable", str(error))
    except NoFace as error:
        return Refusal(name, "no face", str(error))
    except Exception as error:  # One bad file, whatever is bad about it, never stops the rest.
        return Refusal(name, "failed", f"{name}: {type(error).__name__}: {error}")
