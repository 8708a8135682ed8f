"""Photographs of a face that are no likeness of it: dithered, of few tones, or blank."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_BLANK = 16.0
_CLIPPED = 0.9
_DOTS = 24.0
_DOTS_OF_CONTRAST = 0.6
_TONES, _COLOURS = 0.16, 64
_LEAST_INNER = 0.15


def flaw_of(face: UInt8[np.ndarray, "h w 3"]) -> str:
    """What makes a face useless as a reference, in words that follow "its face is"; empty if nothing does.

    - blank: between the 1st and the 99th percentile of lightness lie fewer than 16 levels, or nine tenths are clipped;
    - dithered: what differs from pixel to pixel is more than 24 levels, and more than 0.6 of what differs otherwise;
    - posterised: there are at most 64 colours, and the effective number of tones, the exponential of the entropy of the
      histogram without its clipped ends, is less than 0.16 of the levels between these percentiles; or nearly all is
      clipped, to black and white.

    Measured on portraits and on photographs of LFW's training split (71 faces): none of them is flawed, none darkened
    to 0.15, doubled in light, with noise of 35 levels, of JPEG's quality 10 or of a palette of 256 colours; all are
    that are dithered to 1 bit (and then JPEG), of 4 or 8 levels a channel, or of palettes of 16 or 216. Few tones that
    were saved as JPEG are not told.

    Args:
      face: the part of the photograph around the face, at its own pixels.
    """
    grey = np.asarray(Image.fromarray(face).convert("L"))
    if min(grey.shape) < 16:
        return ""
    low, high = np.percentile(grey, (1, 99))
    inner = grey[(grey > 3) & (grey < 252)]
    one_sided = max(float(np.mean(grey <= 3)), float(np.mean(grey >= 252)))
    if high - low < _BLANK or one_sided > _CLIPPED:
        return "blank"
    dots, rest = _dots_and_rest(grey)
    if dots > _DOTS and dots > _DOTS_OF_CONTRAST * rest:
        return "dithered"
    if inner.size < _LEAST_INNER * grey.size:
        return "posterised"
    levels = float(np.percentile(inner, 99) - np.percentile(inner, 1)) + 1.0
    share = np.unique(inner, return_counts=True)[1] / inner.size
    tones = np.exp(-np.sum(share * np.log(share)))
    colours = len(np.unique(face.reshape(-1, 3), axis=0))
    return "posterised" if colours <= _COLOURS and tones < _TONES * levels else ""


def _dots_and_rest(grey: UInt8[np.ndarray, "h w"]) -> tuple[float, float]:
    """Standard deviations of what a 3 x 3 mean takes away and of what it leaves."""
    values = grey.astype(np.float32)
    rows = values[:-2] + values[1:-1] + values[2:]
    mean: Float[np.ndarray, "_ _"] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9.0
    return float(np.std(values[1:-1, 1:-1] - mean)), max(float(np.std(mean)), 1.0)
