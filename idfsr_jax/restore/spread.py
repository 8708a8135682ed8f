"""What is invented: where several restorations of one input differ."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

_PANEL = 384
_BAR = 18
_MARGIN = 12
_LINE = 20
_LEAST_FULL = 16.0
# From black over purple and orange to pale yellow, lightness rising all the way, so that it reads in grey too.
_STOPS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


def spread_of(images: Sequence[UInt8[np.ndarray, "s s 3"]]) -> Float32[np.ndarray, "s s"]:
    """Standard deviation of every pixel over pictures, in grey levels: root mean square over the channels."""
    values = np.stack(images).astype(np.float32)
    return np.sqrt(values.var(axis=0).mean(axis=-1))


def spread_picture(images: Sequence[UInt8[np.ndarray, "s s 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """The mean of pictures beside a map of their spread, with a legend.

    Args:
      images: at least two restorations of one input.

    Returns:
      A picture to look at; the map's white end is the largest spread, or 16 grey levels if that is more.
    """
    spread = spread_of(images)
    full = max(float(spread.max()), _LEAST_FULL)
    mean = np.rint(np.mean(np.stack(images).astype(np.float64), axis=0)).astype(np.uint8)
    panel, step = (_PANEL, _PANEL), _PANEL + _MARGIN
    canvas = Image.new("RGB", (2 * step + _MARGIN, _PANEL + 3 * _MARGIN + 4 * _LINE + _BAR), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    top = _MARGIN + _LINE
    draw.text((_MARGIN, _MARGIN - 4), f"mean of {len(images)} restorations", "black", font)
    draw.text((_MARGIN + step, _MARGIN - 4), "how much they differ, pixel by pixel", "black", font)
    canvas.paste(Image.fromarray(mean).resize(panel, Image.Resampling.BICUBIC), (_MARGIN, top))
    canvas.paste(
        Image.fromarray(_colours(spread / full)).resize(panel, Image.Resampling.NEAREST), (_MARGIN + step, top)
    )
    bar = np.repeat(np.linspace(0.0, 1.0, 2 * step - _MARGIN)[None], _BAR, axis=0)
    top += _PANEL + _MARGIN
    canvas.paste(Image.fromarray(_colours(bar)), (_MARGIN, top))
    for share in (0.0, 0.5, 1.0):
        text = f"{share * full:.0f}" + (" grey levels (standard deviation)" if share == 0.0 else "")
        left = _MARGIN + share * (bar.shape[1] - draw.textlength(text, font))
        draw.text((left, top + _BAR + 2), text, "black", font)
    text = "Bright pixels are the model's guess, different every time; dark ones follow from what was given to it."
    draw.text((_MARGIN, top + _BAR + _LINE + 4), text, "black", ImageFont.load_default(13))
    return np.array(canvas)


def _colours(values: Float32[np.ndarray, "h w"] | np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    places = np.linspace(0.0, 1.0, len(_STOPS))
    return np.rint(np.stack([np.interp(values, places, stop) for stop in _STOPS.T], axis=-1)).astype(np.uint8)
