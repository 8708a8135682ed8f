"""A photograph with its faces numbered, for whoever has to say which one is meant."""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from idfsr_jax.restore.places import Choice

_SIDE = 1600
_TAKEN, _OTHER = "#ffb000", "#40c4ff"


def overview(
    image: UInt8[np.ndarray, "h w 3"], choice: Choice, side: int = _SIDE
) -> UInt8[np.ndarray, "rows columns 3"]:
    """The photograph, enlarged or reduced, with a numbered box around every face.

    Under each box stands the probability that the face is the person's, if the person is among them and the face is not
    unlike; the likeliest is drawn in yellow, the others in blue.

    Args:
      image: uint8 RGB.
      choice: of its faces.
      side: the longer one of the result, in pixels; the numbers are 22 px high whatever it is.
    """
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    canvas = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(22)
    for position, place in enumerate(choice.places):
        x, y, w, h = (value * factor for value in place.box)
        colour = _TAKEN if position == choice.chosen else _OTHER
        draw.rectangle((x - 4, y - 4, x + w + 4, y + h + 4), outline=colour, width=3)
        text = str(position + 1)
        if choice.probabilities and not math.isnan(choice.probabilities[position]):
            text += f"  {choice.probabilities[position]:.0%}"
        left, top, right, bottom = draw.textbbox((x - 4, y + h + 6), text, font)
        draw.rectangle((left - 4, top - 2, right + 4, bottom + 3), "black")
        draw.text((x - 4, y + h + 6), text, colour, font)
    return np.array(canvas)
