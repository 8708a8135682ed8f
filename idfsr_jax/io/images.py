"""Pictures as numbers and as bytes; sheets and grids of them."""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 5
_PANEL = 192
_LABEL = 22


def to_float(images: UInt8[np.ndarray | Array, "*b s s 3"]) -> Float[Array, "*b s s 3"]:
    """0..255 to [-1, 1], float32."""
    if isinstance(images, np.ndarray):
        # On the host nothing is compiled. XLA divides by a constant so, and the bits shall not depend on who does it.
        return jax.device_put(images.astype(np.float32) * np.float32(1.0 / 127.5) - np.float32(1.0))
    return jnp.asarray(images, jnp.float32) / 127.5 - 1.0


def to_uint8(images: Float[np.ndarray | Array, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """[-1, 1] to 0..255, rounded; what lies outside is clipped."""
    return np.clip((np.asarray(images) + 1.0) * 127.5 + 0.5, 0.0, 255.0).astype(np.uint8)


def label_panels(panels: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures in rows, each under its label; small ones are enlarged with their pixels left visible."""
    rows = -(-len(panels) // _COLUMNS)
    width = min(_COLUMNS, len(panels)) * _PANEL
    canvas = Image.new("RGB", (width, rows * (_PANEL + _LABEL)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for place, (label, image) in enumerate(panels):
        left, top = place % _COLUMNS * _PANEL, place // _COLUMNS * (_PANEL + _LABEL)
        kind = Image.Resampling.NEAREST if image.shape[0] <= 32 else Image.Resampling.BICUBIC
        draw.text((left + 4, top + 3), label, "black", font)
        canvas.paste(Image.fromarray(image).resize((_PANEL - 4, _PANEL - 4), kind), (left + 2, top + _LABEL))
    return np.array(canvas)


def grid(rows: Iterable[Float[np.ndarray | Array, "b s s 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Batches of pictures in [-1, 1], a row each, as one picture."""
    return to_uint8(np.concatenate([np.concatenate(list(np.asarray(row)), axis=1) for row in rows], axis=0))
