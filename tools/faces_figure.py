"""The faces of docs/results.md: people made small to 8x, 16x and 32x and restored by the shipped model.

python -m tools.faces_figure FOLDER --out docs/faces.jpg --people 6 --credit "whose photographs these are"

FOLDER holds a folder for each person. The last photograph of each, by its name, is made small and restored; the others
are those that the identity is fitted to, and the references. Shown are the first people by name: none is chosen.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from idfsr_jax.commands import demo
from idfsr_jax.evaluation.figures import sheet
from idfsr_jax.face import resize_crop, write_image
from idfsr_jax.io.errors import InputError
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.runtime.compile_cache import use_compile_cache

Picture = UInt8[np.ndarray, "_ _ 3"]
SCALES = (8, 16, 32)
_ENDINGS = (".jpg", ".jpeg", ".png")
_CREDIT = 20


def row_of(restorer: Restorer, folder: Path) -> list[Picture]:
    """A person's first photograph, then input and result at each scale, then the truth.

    Args:
      restorer: of a model of pixels.
      folder: of the person's photographs.

    Raises:
      InputError: there are not two photographs, or one shows no face.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    if len(paths) < 2:
        raise InputError(f"{folder}: holds {len(paths)} photographs; give one to fit and one to restore at the least.")
    *given, held_out = [demo.largest_face(path) for path in paths]
    size = restorer.config.data.size
    truth, person = resize_crop(held_out.image, size), restorer.fit(given)
    panels = [resize_crop(given[0].image, size)]
    for scale in SCALES:
        small = demo.shrink(truth, scale)
        panels += [small, restorer.restore(small, person, given).images[0]]
    return [*panels, truth]


def signed(image: Picture, credit: str) -> Picture:
    """A picture with a line of text below it."""
    height, width = image.shape[:2]
    canvas = Image.new("RGB", (width, height + _CREDIT), "white")
    canvas.paste(Image.fromarray(image))
    ImageDraw.Draw(canvas).text((3, height + 4), credit, "black", ImageFont.load_default(11))
    return np.array(canvas)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of photographs for each person in it")
    parser.add_argument("--out", type=Path, required=True, help="PNG or JPEG to write")
    parser.add_argument("--people", type=int, default=6, help="how many of the first are shown")
    parser.add_argument("--credit", required=True, help="whose photographs these are; written below them")
    parser.add_argument("--weights", type=Path, help="model folder; the shipped one if not given")
    options = parser.parse_args(arguments)
    try:
        folders = sorted(path for path in options.folder.glob("*/"))[: options.people]
        if not folders:
            raise InputError(f"{options.folder}: holds no folders; give one that has a folder for each person.")
        use_compile_cache()
        restorer = Restorer.load(options.weights)
        size = restorer.config.data.size
        labels = [text for scale in SCALES for text in (f"{scale}x: {size // scale} px", f"{scale}x, restored")]
        faces = sheet(["given", *labels, "truth, not given"], [row_of(restorer, folder) for folder in folders])
        facts = {"Copyright": options.credit, "Comment": "The restored faces are synthesised."}
        write_image(options.out, signed(faces, options.credit), facts)
    except InputError as error:
        print(f"faces_figure: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
