"""What every written picture says about its origin: in its metadata, and, if asked for, in a mark that is seen."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from idfsr_jax.config import Config
from idfsr_jax.method.model import Model
from idfsr_jax.restore.identity import Identity

LABEL = "synthesised"
"""The visible mark."""


def provenance(
    model: Model, identity: Identity, seed: int, config: Config, consistency: float | None, reveal: float
) -> dict[str, str]:
    """The metadata of a restoration; a consistency of None is the model's own, as far as the input is trusted."""
    held = f"{config.sample.consistency:g} at most" if consistency is None else f"{consistency:g}"
    return {
        "Software": "idfsr-jax",
        "Description": "The face in this picture is synthesised from reference photographs by idfsr-jax; "
        "it is no evidence.",
        "idfsr:model": model.digest,
        "idfsr:identity": identity.digest,
        "idfsr:seed": str(seed),
        "idfsr:sampler": f"{config.sample.sampler}, {config.sample.steps} steps, "
        f"guidance {config.sample.guidance:g}, temperature {config.sample.temperature:g}, "
        f"reveal {reveal:g}",
        "idfsr:consistency": held,
    }


def mark(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with a small word in its lower right corner, white on black, that says that it is synthesised.

    It is a fiftieth of the picture's shorter side high, but legible; where it would take more than half of the width,
    it is shortened.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(8, round(min(height, width) / 50)))
    for text in (LABEL, "synth.", "AI"):
        left, top, right, bottom = draw.textbbox((0, 0), text, font)
        if right - left + 2 <= width / 2:
            break
    box_width, box_height = round(right - left) + 3, round(bottom - top) + 3
    draw.rectangle((width - box_width, height - box_height, width, height), "black")
    draw.text((width - box_width + 2 - left, height - box_height + 1 - top), text, "white", font)
    return np.array(picture)
