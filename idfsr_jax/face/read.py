"""Photographs in: every file becomes 8-bit sRGB the right way up, or one clear sentence of refusal."""

import io
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from idfsr_jax.face.colour import profile_of, to_srgb
from idfsr_jax.face.depth import GREY, colours_of_deep, grey_of_deep, holds_deep_colours
from idfsr_jax.face.png import bare_png, mended_png
from idfsr_jax.io.errors import InputError, UnreadableImage
from idfsr_jax.io.files import file_sha256
from idfsr_jax.io.kinds import HEIC, can_read_heic, kind_of, require_read

# An explicit list, because Pillow would otherwise also try formats that run other programs (EPS) or are no pictures.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_GPS, _EXIF, _ORIENTATION = 0x8825, 0x8769, 0x0112
_KEPT = {0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298}
"""Of EXIF: description, maker, model, date of change, artist, copyright."""
_KEPT_OF_PICTURE = {0x829A, 0x829D, 0x8827, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292, 0x920A}
"""Of its part on the picture: exposure, aperture, sensitivity, dates with their zones and fractions, focal length."""


@dataclass(frozen=True)
class Picture:
    """What a file holds.

    Attributes:
      pixels: uint8 sRGB in 0..255, transparency laid over white.
      alpha: opacity in 0..255; None where all is opaque.
      dpi: dots an inch, across and down; None where the file does not say.
      exif: tags of EXIF that a result may keep: dates, maker, artist, copyright.
      picture_exif: the same of EXIF's part on the picture.
      place: tags of EXIF's part on the place (GPS).
      notes: what of the file is damaged, was assumed or left out, a sentence each.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"] | None = None
    dpi: tuple[float, float] | None = None
    exif: Mapping[int, Any] = field(default_factory=dict)
    picture_exif: Mapping[int, Any] = field(default_factory=dict)
    place: Mapping[int, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_image(path: str | Path, *, max_pixels: int = 100_000_000) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of `read_picture`, uint8 sRGB in 0..255.

    Raises:
      UnreadableImage: see `read_picture`.
    """
    return read_picture(path, max_pixels=max_pixels).pixels


def read_picture(path: str | Path, *, max_pixels: int = 100_000_000) -> Picture:
    """Decodes a picture file, as a viewer that manages colours would show it.

    EXIF orientation is applied; colours are converted to sRGB by the file's ICC profile, by EXIF's sign of Adobe RGB or
    by a PNG's gamma and primaries; palettes, grey, 1-bit, CMYK and Lab are converted; transparency is laid over white;
    of 16 bits the 8 upper ones are taken that are used; of an animation, or of several pages, the first is taken.

    Args:
      path: a regular file; `~` is expanded.
      max_pixels: larger pictures are refused from their header alone, before any pixel is decoded.

    Raises:
      UnreadableImage: the file is missing, empty, not a regular file, too large, damaged, or not a picture.
    """
    path = Path(path).expanduser()
    head = head_of_regular_file(path)
    try:
        require_read(path, head)
    except InputError as error:
        raise UnreadableImage(str(error)) from None
    formats: tuple[str, ...] = FORMATS
    if kind_of(head) == HEIC and can_read_heic():
        formats = _with_heic()
    # Pillow warns of large pictures, odd EXIF and damaged TIFF; what matters of these is checked or raised below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind_of(head) != "PNG":
            return _decode(path, path, max_pixels, formats)
        mended, damage = mended_png(path)
        try:
            return _decode(path, mended or path, max_pixels, formats, damage)
        except _Damaged as error:
            first = error
        # What stands beside the pixels may be damaged with its sum right.
        for colour, what in ((True, "its pixels and their colours"), (False, "its pixels")):
            said = [*damage, f"all but {what} was left out, as it is damaged"]
            try:
                return _decode(path, bare_png(path, colour=colour), max_pixels, formats, said)
            except _Damaged:
                continue
        raise first


class _Damaged(UnreadableImage):
    """The decoder gave up."""


def _decode(
    path: Path, source: Path | io.BytesIO, max_pixels: int, formats: tuple[str, ...], damage: Sequence[str] = ()
) -> Picture:
    try:
        with Image.open(source, formats=formats) as image:
            _require_size(path, image.width, image.height, max_pixels)
            deep = holds_deep_colours(getattr(image, "tile", []))
            notes = [*damage, *_frames(image)]
            profile, dpi, exif = profile_of(image), _dpi(image), _exif(image)
            image.load()
            levels: Image.Image = image
            said = ""
            if image.mode in GREY:
                levels, said = grey_of_deep(path, image)
                levels.info = dict(image.info)
            elif deep:
                levels, said = colours_of_deep(image, source, formats)
            if levels.mode == "F":
                raise UnreadableImage(f"{path}: has floating-point pixels of unknown range; save it with 8 or 16 bits.")
            pixels, alpha, wrong = _pixels(_upright(levels, image), profile)
            return Picture(pixels, alpha, dpi, *exif, tuple(f"{note}." for note in (*notes, said, wrong) if note))
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(
            f"{path}: has more than the {max_pixels:,} pixels allowed; reduce it and try again."
        ) from None
    except Image.UnidentifiedImageError:
        raise _Damaged(f"{path}: is not a picture in a format that can be read; convert it to JPEG or PNG.") from None
    # A damaged file makes Pillow's plugins raise nearly anything (OSError, SyntaxError, struct.error, IndexError).
    except Exception as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise _Damaged(f"{path}: is damaged or cut short ({reason}); use an intact copy.") from error


def digest_of(path: Path) -> str:
    """The first 16 digits of a file's SHA-256, by which a photograph is known again.

    Raises:
      UnreadableImage: it is missing, empty, or no regular file.
    """
    head_of_regular_file(path)  # Reading a pipe would wait for a writer that may never come.
    return file_sha256(path)[:16]


def head_of_regular_file(path: Path) -> bytes:
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
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror}); use an intact copy.") from error


def _require_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImage(
            f"{path}: has {width} x {height} pixels, more than the {max_pixels:,} allowed; reduce it and try again."
        )


def _with_heic() -> tuple[str, ...]:
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    return (*FORMATS, "HEIF")


def _frames(image: Image.Image) -> list[str]:
    """A sentence where a file holds more pictures than the one that is taken."""
    try:
        count = int(getattr(image, "n_frames", 1))
    except Exception:  # Whatever is wrong with later frames, the first may be intact.
        return []
    if count < 2 or image.format in ("MPO", "JPEG"):  # A camera's second view, or a map of brightness.
        return []
    return [f"it holds {count} pictures, of which the first was taken"]


def _upright(levels: Image.Image, image: Image.Image) -> Image.Image:
    """`levels` turned as the EXIF orientation of `image` says."""
    try:
        if levels is image:
            return ImageOps.exif_transpose(image)
        exif = Image.Exif()
        exif[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
        levels.info["exif"] = exif.tobytes()
        return ImageOps.exif_transpose(levels)
    # Pixels are intact here; a nonsensical EXIF block is no reason to refuse the photograph.
    except Exception:
        return levels


def _pixels(
    image: Image.Image, profile: bytes | None
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"] | None, str]:
    """sRGB over white, opacity, and what is wrong with the profile."""
    opacity = None
    if image.has_transparency_data:
        opacity = image.convert("RGBA").getchannel("A")
        grey = image.mode in ("L", "LA", "La")
        image = image.convert("RGBA").getchannel("R") if grey else image.convert("RGBA").convert("RGB")
    image, wrong = to_srgb(image, profile)
    if opacity is None or opacity.getextrema() == (255, 255):
        # A copy, since the array that Pillow shares is read-only.
        return np.array(image), None, wrong
    image.putalpha(opacity)
    over = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return np.array(over.convert("RGB")), np.array(opacity), wrong


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1.0 < across < 1e5 and 1.0 < down < 1e5 else None


def _exif(image: Image.Image) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """What is kept of EXIF: of the whole, of the picture, of the place."""
    try:
        exif = image.getexif()
        of_picture, place = exif.get_ifd(_EXIF), exif.get_ifd(_GPS)
        return (
            {tag: value for tag, value in exif.items() if tag in _KEPT},
            {tag: value for tag, value in of_picture.items() if tag in _KEPT_OF_PICTURE},
            dict(place),
        )
    except Exception:  # As above.
        return {}, {}, {}
