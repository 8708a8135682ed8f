"""Pixels of more than 8 bits, as 8: the range that they are held in, found where the file does not say."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8, UInt16
from PIL import Image

from idfsr_jax.io.errors import UnreadableImage

GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
"""Pillow's modes of grey pictures with more than 8 bits."""
_RANGES = (255, 1023, 4095, 16_383, 65_535)
"""Largest values of 8, 10, 12, 14 and 16 bits, which cameras and scanners keep in 16."""
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_WHITE_IS_ZERO, _MAX_SAMPLE = 262, 281
"""Tags of TIFF: PhotometricInterpretation, MaxSampleValue."""


def grey_of_deep(path: Path, image: Image.Image) -> tuple[Image.Image, str]:
    """A grey picture of 16 bits as one of 8, mode L.

    Returns:
      The picture, and in what range its values were taken to lie, a sentence without a full stop; empty if in all.

    Raises:
      UnreadableImage: the values are not of 16 bits.
    """
    values = np.asarray(image).astype(np.int64)
    if np.min(values) < 0 or np.max(values) > 65_535:
        raise UnreadableImage(f"{path}: has 32-bit pixels of unknown range; save it with 8 or 16 bits.")
    tags = getattr(image, "tag_v2", {})
    said = tags.get(_MAX_SAMPLE)
    said = int(said[0] if isinstance(said, tuple) else said) if said else 0
    # Pillow brings the values of a PGM, which says its range, to 16 bits.
    top = 65_535 if image.format == "PPM" else _range(int(values.max()), said)
    if tags.get(_WHITE_IS_ZERO) == 0:
        values = top - values
    return Image.fromarray(_scaled(values, top)), _note(top, int(values.max()))


def colours_of_deep(image: Image.Image, source: Path | io.BytesIO, formats: tuple[str, ...]) -> tuple[Image.Image, str]:
    """A colour picture of 16 bits, of which Pillow keeps the upper 8, with the bits in which its values lie.

    Args:
      image: as it was loaded.
      source: where from.
      formats: that Pillow may take it for.

    Returns:
      See `grey_of_deep`.
    """
    upper = np.asarray(image)
    if int(upper.max()) >= 64:  # More than 14 bits are used, so all 16 are.
        return image, ""
    if isinstance(source, io.BytesIO):
        source.seek(0)
    with Image.open(source, formats=formats) as again:
        again.tile = [tile._replace(args=_other_order(tile.args)) for tile in again.tile]
        again.load()
        lower = np.asarray(again)
    if lower.shape != upper.shape:
        return image, ""
    values: UInt16[np.ndarray, "h w c"] = upper.astype(np.uint16) << 8 | lower
    colours = values[..., :3]
    top = _range(int(colours.max()), 0)
    result = upper.copy()
    result[..., :3] = _scaled(colours.astype(np.int64), top)
    if upper.shape[2] == 4:
        result[..., 3] = _scaled(values[..., 3].astype(np.int64), _range(int(values[..., 3].max()), 0))
    made = Image.fromarray(result)
    made.info = dict(image.info)
    return made, _note(top, int(colours.max()))


def holds_deep_colours(tiles: list) -> bool:
    """Whether tiles of an opened file, not loaded yet, are of 16 bits a colour."""
    return bool(tiles) and all(_other_order(tile.args) != tile.args for tile in tiles)


def _other_order(args: Any) -> Any:
    """A decoder's arguments with the lower byte of each value in the place of the upper one."""
    mode = args if isinstance(args, str) else args[0] if args else ""
    name, _, order = str(mode).partition(";16")
    if name not in ("RGB", "RGBA", "RGBX") or order not in _OTHER_ORDER:
        return args
    other = f"{name};16{_OTHER_ORDER[order]}"
    return other if isinstance(args, str) else (other, *args[1:])


def _range(largest: int, said: int) -> int:
    if largest <= said <= 65_535 and said > 255:
        return said
    return next(top for top in _RANGES if largest <= top)


def _scaled(values: Int[np.ndarray, "*n"], top: int) -> UInt8[np.ndarray, "*n"]:
    return ((values * 255 + top // 2) // top).astype(np.uint8)


def _note(top: int, largest: int) -> str:
    if top == 65_535 or largest == 0:
        return ""
    return f"its values were taken to lie in 0..{top} ({top.bit_length()} bits), as the largest is {largest}"
