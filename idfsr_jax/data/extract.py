"""Photograph file -> aligned face, as the processes of `prepare` do it; nothing here may import JAX."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from idfsr_jax.face import align_face, central_face, find_faces, read_image
from idfsr_jax.face.align import photograph_frame
from idfsr_jax.face.chip import ARCFACE_CHIP, DLIB_CHIP, cut_chip
from idfsr_jax.io.errors import NoFace, UnreadableImage


@dataclass(frozen=True)
class ExtractSettings:
    """What `prepare` asks of every photograph."""

    max_side: int = 512
    min_side: int = 48
    """Least native side of a crop, pixels of the photograph."""
    jpeg_quality: int = 95
    chips: tuple[Literal["dlib", "arcface"], ...] = ("dlib",)
    """Whose chips to cut, one for each recogniser."""


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


def encode_jpeg(image: UInt8[np.ndarray, "h w 3"], quality: int) -> bytes:
    """An image as JPEG bytes, chroma at full resolution."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def extract(path: Path, name: str, settings: ExtractSettings) -> Extracted | Refusal:
    """Reads one photograph and cuts out its face; whatever goes wrong with it becomes a refusal."""
    try:
        image = read_image(path)
        face = central_face(find_faces(image), image, name)
        crop = align_face(image, face, max_side=settings.max_side)
        side = crop.image.shape[0]
        if side < settings.min_side:
            message = f"{name}: the face is {side} px wide with its surroundings, less than {settings.min_side}."
            return Refusal(name, "face too small", message)
        return Extracted(
            jpeg=encode_jpeg(crop.image, settings.jpeg_quality),
            landmarks=np.asarray(crop.landmarks, np.float32),
            chips=tuple(cut_chip(image, face.landmarks, CHIPS[chip]) for chip in settings.chips),
            frame=photograph_frame(crop.transform, image.shape[1], image.shape[0]),
            source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    except UnreadableImage as error:
        return Refusal(name, "unreadable", str(error))
    except NoFace as error:
        return Refusal(name, "no face", str(error))
    except Exception as error:  # One bad file, whatever is bad about it, never stops the rest.
        return Refusal(name, "failed", f"{name}: {type(error).__name__}: {error}")
