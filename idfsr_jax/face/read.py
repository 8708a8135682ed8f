"""Photographs in, pictures out: every file becomes 8-bit RGB the right way up, or one clear sentence of refusal."""

import json
import os
import stat
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, PngImagePlugin

from idfsr_jax.errors import InputError, UnreadableImage

# An explicit list, because Pillow would otherwise also try formats that run other programs (EPS) or are no pictures.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_JPEG_COMMENT_LIMIT = 65_533


def read_image(path: str | Path, *, max_pixels: int = 100_000_000) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a picture file to uint8 RGB, as a viewer would show it.

    EXIF orientation is applied; palettes, grey, 1-bit and CMYK are converted; transparency is laid over white; 16-bit
    grey is scaled to 8 bits; of an animation the first frame is taken.

    Args:
      path: a regular file.
      max_pixels: larger pictures are refused from their header alone, before any pixel is decoded.

    Returns:
      The pixels, uint8 in 0..255.

    Raises:
      UnreadableImage: the file is missing, empty, not a regular file, too large, damaged, or not a picture.
    """
    path = Path(path)
    _require_regular_file(path)
    # Pillow warns of large pictures, odd EXIF and damaged TIFF; what matters of these is checked or raised below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=_FORMATS) as image:
                _require_size(path, image.width, image.height, max_pixels)
                image.load()
                return _to_rgb(path, _upright(image))
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise UnreadableImage(
                f"{path}: has more than the {max_pixels:,} pixels allowed; reduce it and try again."
            ) from None
        except Image.UnidentifiedImageError:
            raise UnreadableImage(
                f"{path}: is not a picture in a format that can be read; convert it to JPEG or PNG."
            ) from None
        # A damaged file makes Pillow's plugins raise nearly anything (OSError, SyntaxError, struct.error, IndexError).
        except Exception as error:
            reason = str(error).strip().rstrip(".") or type(error).__name__
            raise UnreadableImage(f"{path}: is damaged or cut short ({reason}); use an intact copy.") from error


def write_image(path: str | Path, image: UInt8[np.ndarray, "h w 3"], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a PNG or JPEG, by the path's ending, completely or not at all.

    The metadata become PNG text chunks, or one JSON object in a JPEG comment; `read_metadata` reads both. Missing
    folders are made.

    Args:
      path: ends in .png, .jpg or .jpeg.
      image: uint8 RGB.
      metadata: keys of 1 to 79 Latin-1 characters, values any text.

    Raises:
      InputError: another ending, or a folder stands at the path.
    """
    path = Path(path)
    metadata = dict(metadata or {})
    kind = path.suffix.lower()
    if kind not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{path}: pictures are written as .png or .jpg; choose a name with one of these endings.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; choose another name for the picture.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(temporary, "xb") as file:
            if kind == ".png":
                Image.fromarray(image).save(file, format="PNG", pnginfo=_png_text(metadata))
            else:
                comment = json.dumps(metadata, ensure_ascii=False, sort_keys=True).encode() if metadata else b""
                if len(comment) > _JPEG_COMMENT_LIMIT:
                    raise InputError(f"{path}: its metadata do not fit into a JPEG; write a .png instead.")
                Image.fromarray(image).save(file, format="JPEG", quality=95, subsampling=0, comment=comment)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata that `write_image` put into a file; empty if there are none.

    Raises:
      UnreadableImage: the file is not a picture.
    """
    path = Path(path)
    _require_regular_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
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


def _require_regular_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be opened"
        raise UnreadableImage(f"{path}: {reason}; give the path of a picture.") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImage(f"{path}: is a folder; give the path of a picture.")
    # Opening a pipe would wait for a writer that may never come.
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(f"{path}: is a pipe or device; save the picture to a file first.")
    if status.st_size == 0:
        raise UnreadableImage(f"{path}: is empty; use an intact copy.")


def _require_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImage(
            f"{path}: has {width} x {height} pixels, more than the {max_pixels:,} allowed; reduce it and try again."
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    # Pixels are intact here; a nonsensical EXIF block is no reason to refuse the photograph.
    except Exception:
        return image


def _to_rgb(path: Path, image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode in _SIXTEEN_BIT:
        # Pillow's own conversion clips 16-bit grey at 255.
        grey = np.asarray(image).astype(np.int64)
        if np.min(grey) < 0 or np.max(grey) > 65_535:
            raise UnreadableImage(f"{path}: has 32-bit pixels of unknown range; save it with 8 or 16 bits.")
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise UnreadableImage(f"{path}: has floating-point pixels of unknown range; save it with 8 or 16 bits.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    # A copy, since the array that Pillow shares is read-only.
    return np.array(image.convert("RGB"))


def _png_text(metadata: dict[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        info.add_itxt(key, value)
    return info
