"""Pictures out: PNG and JPEG, whole or not at all, with what is said of them and what the photograph's file said."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from idfsr_jax.face.read import FORMATS, Picture, head_of_regular_file
from idfsr_jax.io.errors import InputError, UnreadableImage
from idfsr_jax.io.files import write_atomically

_JPEG_COMMENT_LIMIT = 65_533
_EXIF_LIMIT = 65_000
_GPS, _EXIF = 0x8825, 0x8769


def write_image(
    path: str | Path,
    image: UInt8[np.ndarray, "h w 3"],
    metadata: Mapping[str, str] | None = None,
    *,
    origin: Picture | None = None,
    place: bool = False,
) -> None:
    """Writes a PNG or JPEG, by the path's ending, completely or not at all.

    The metadata become PNG text chunks, or one JSON object in a JPEG comment; `read_metadata` reads both. Missing
    folders are made.

    Args:
      path: ends in .png, .jpg or .jpeg.
      image: uint8 RGB.
      metadata: keys of 1 to 79 Latin-1 characters, values any text.
      origin: the picture that it was made of, whose dates, dots an inch and, in a PNG, opacity are kept.
      place: whether to keep where that was taken (GPS) as well.

    Raises:
      InputError: another ending, or a folder stands at the path.
      OSError: it cannot be written.
    """
    path = Path(path).expanduser()
    metadata = dict(metadata or {})
    kind = path.suffix.lower()
    if kind not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{path}: pictures are written as .png or .jpg; choose a name with one of these endings.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; choose another name for the picture.")
    kept = {} if origin is None else _kept(origin, place)
    if kind == ".png":
        made = Image.fromarray(image)
        if origin is not None and origin.alpha is not None:
            made = _with_opacity(image, origin.alpha)

        def write(file: IO[bytes]) -> None:
            made.save(file, format="PNG", pnginfo=_png_text(metadata), **kept)
    else:
        comment = json.dumps(metadata, ensure_ascii=False, sort_keys=True).encode() if metadata else b""
        if len(comment) > _JPEG_COMMENT_LIMIT:
            raise InputError(f"{path}: its metadata do not fit into a JPEG; write a .png instead.")

        def write(file: IO[bytes]) -> None:
            Image.fromarray(image).save(file, format="JPEG", quality=95, subsampling=0, comment=comment, **kept)

    write_atomically(path, write)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata that `write_image` put into a file; empty if there are none.

    Raises:
      UnreadableImage: the file is not a picture.
    """
    path = Path(path).expanduser()
    head_of_regular_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if isinstance(image, PngImagePlugin.PngImageFile):
                    return {str(key): str(value) for key, value in image.text.items()}
                comment = image.info.get("comment", b"")
    except Exception as error:
        raise UnreadableImage(f"{path}: is not a picture that can be read; give a PNG or JPEG.") from error
    try:
        values = json.loads(comment)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


def _kept(origin: Picture, place: bool) -> dict[str, Any]:
    """Pillow's options for what a file keeps of its origin's."""
    options: dict[str, Any] = {} if origin.dpi is None else {"dpi": origin.dpi}
    exif = Image.Exif()
    for tag, value in origin.exif.items():
        exif[tag] = value
    if origin.picture_exif:
        exif.get_ifd(_EXIF).update(origin.picture_exif)
    if place and origin.place:
        exif.get_ifd(_GPS).update(origin.place)
    if not (origin.exif or origin.picture_exif or (place and origin.place)):
        return options
    try:
        written = exif.tobytes()
    except Exception:  # Values that no EXIF can hold: a nonsensical block is no reason to lose the picture.
        return options
    return options | ({"exif": written} if len(written) <= _EXIF_LIMIT else {})


def _with_opacity(image: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "rows columns"]) -> Image.Image:
    """The picture with opacity, such that over white it is `image` again wherever it can be."""
    size = (image.shape[1], image.shape[0])
    opacity = Image.fromarray(alpha)
    if opacity.size != size:
        opacity = opacity.resize(size, Image.Resampling.BICUBIC)
    share = np.asarray(opacity, np.float32)[..., None] / 255.0
    colours = 255.0 - (255.0 - image.astype(np.float32)) / np.maximum(share, 1 / 255.0)
    made = Image.fromarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8))
    made.putalpha(opacity)
    return made


def _png_text(metadata: dict[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        info.add_itxt(key, value)
    return info
