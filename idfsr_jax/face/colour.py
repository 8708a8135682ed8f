"""What a picture's numbers mean as colours: profiles, gamma and primaries, and their conversion to sRGB."""

import io
import struct
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageCms

_D50 = (0.9642, 1.0, 0.8249)
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""x, y of white, red, green and blue (IEC 61966-2-1)."""
_ADOBE_RGB = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_ADOBE_GAMMA = 563 / 256
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SAME = 1
"""Levels that a conversion to sRGB may change a colour by, and still be none."""
_EXIF, _COLOUR_SPACE, _INTEROPERABILITY, _UNCALIBRATED = 0x8769, 0xA001, 0xA005, 0xFFFF
_MODES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}


def profile_of(image: Image.Image) -> bytes | None:
    """The ICC profile of a picture's colours; None if they are sRGB, or the file does not say.

    Where the file holds no profile, what it says otherwise is made into one: EXIF's sign of Adobe RGB (DCF 2.0), and
    the gamma and primaries of a PNG.
    """
    profile = image.info.get("icc_profile")
    if profile:
        return profile
    if image.format == "PNG":
        gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity")
        if "srgb" in image.info or (gamma is None and primaries is None):
            return None
        gamma = 1 / 2.2 if not gamma else float(gamma)
        primaries = _SRGB if primaries is None else tuple(float(value) for value in primaries)
        usual = abs(gamma - 1 / 2.2) < 0.005 and np.allclose(primaries, _SRGB, atol=0.002)
        return None if usual or not _are_primaries(primaries) else matrix_profile(primaries, 1 / gamma)
    return matrix_profile(_ADOBE_RGB, _ADOBE_GAMMA) if _is_adobe_rgb(image) else None


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """A picture as sRGB.

    A profile is followed by LittleCMS, relative colorimetric with the black point adapted; one that changes no colour
    by more than a level leaves the pixels as they are.

    Args:
      image: of 8 bits and without transparency, in any mode.
      profile: ICC, of the picture's colours.

    Returns:
      The picture, RGB; and what is wrong with the profile, a sentence without a full stop, empty if nothing is.
    """
    if not profile or image.mode == "1":
        return image.convert("RGB"), ""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = str(source.profile.xcolor_space)
        if image.mode not in _MODES or (image.mode == "L" and space == "RGB "):
            image = image.convert("RGB")
        if space != _MODES[image.mode]:
            what = f"its colour profile is one for {space.strip()}, which its pixels are not, and was left out"
            return image.convert("RGB"), what
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if image.mode in ("RGB", "L") and _changes_nothing(transform, image.mode):
            return image.convert("RGB"), ""
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted, ""
    # LittleCMS refuses what is no profile; Pillow says so in several ways.
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError, KeyError):
        return image.convert("RGB"), "its colour profile is damaged and was left out"


def matrix_profile(primaries: tuple[float, ...], gamma: float) -> bytes:
    """An ICC profile (version 2.4) of three primaries and a power law.

    Args:
      primaries: x and y of white, red, green and blue.
      gamma: linear light is the number to this power.
    """
    columns = _columns_d50(primaries)
    text = b"RGB"
    parts = [
        (b"desc", b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 8 + 3 + 67)),
        (b"cprt", b"text" + bytes(4) + b"none\0"),
        (b"wtpt", b"XYZ " + bytes(4) + _fixed(*_D50)),
        *((tag, b"XYZ " + bytes(4) + _fixed(*columns[:, i])) for i, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))),
    ]
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    parts += [(tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, offset = b"", b"", 128 + 4 + 12 * len(parts)
    for tag, data in parts:
        table += tag + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(*_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says so: by a colour space of 2, or by none and the sign R03 (DCF 2.0)."""
    try:
        exif = image.getexif()
        space = exif.get_ifd(_EXIF).get(_COLOUR_SPACE)
        index = exif.get_ifd(_INTEROPERABILITY).get(1) if space == _UNCALIBRATED else None
    except Exception:  # EXIF that is nonsense says nothing.
        return False
    return space == 2 or str(index).strip("\0 ") == "R03"


def _columns_d50(primaries: tuple[float, ...]) -> Float[np.ndarray, "3 3"]:
    """XYZ of the primaries, adapted from their white to D50 (Bradford, as ICC profiles have it)."""
    xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in zip(primaries[::2], primaries[1::2], strict=True)]).T
    white, columns = xyz[:, 0], xyz[:, 1:]
    columns = columns * np.linalg.solve(columns, white)
    cones = np.diag((_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white))
    return np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ columns


def _are_primaries(values: tuple[float, ...]) -> bool:
    """Whether the colours span a plane, so that they can be converted."""
    if len(values) != 8 or min(values[1::2]) <= 0.0:
        return False
    points = np.array(values[2:]).reshape(3, 2)
    return bool(abs(np.linalg.det(points[1:] - points[0])) > 1e-4)


def _changes_nothing(transform: Any, mode: str) -> bool:
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        patch = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        patch = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3))
    converted = ImageCms.applyTransform(patch, transform)
    difference = np.asarray(converted, np.int16) - np.asarray(patch.convert("RGB"), np.int16)
    return int(np.abs(difference).max()) <= _SAME


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
