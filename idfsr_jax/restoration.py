"""What restoring gives back: pictures, the way they came about, and how to write both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idfsr_jax.face import crop_side, paste_face, write_image
from idfsr_jax.models.condition import Condition
from idfsr_jax.picture import LowResolutionFace
from idfsr_jax.pictures import label_panels, to_uint8

_MAX_ENLARGED_SIDE = 8192


@dataclass(frozen=True)
class Restoration:
    """One restored face.

    Attributes:
      face: the LR face that was restored.
      images: the samples, canonical crops, uint8 [S, S, 3].
      condition: what the denoiser saw, batch of one.
      reference: the photograph chosen as reference, canonical crop.
      unfitted: computes the same sample with the identity before fitting; called for the sheet only.
      metadata: what every written picture says about its origin.
      truth: the true crop, where it is known.
    """

    face: LowResolutionFace
    images: list[UInt8[np.ndarray, "s s 3"]]
    condition: Condition
    reference: UInt8[np.ndarray, "n n 3"]
    unfitted: Callable[[], UInt8[np.ndarray, "s s 3"]]
    metadata: Mapping[str, str]
    truth: UInt8[np.ndarray, "t t 3"] | None = None

    def picture(self, index: int = 0) -> UInt8[np.ndarray, "h w 3"]:
        """The crop, or, where a photograph was given, the enlarged photograph with the restored face in it."""
        crop = self.images[index]
        if self.face.photo is None or self.face.transform is None:
            return crop
        height, width = self.face.photo.shape[:2]
        # So large that the face keeps every pixel of the crop, within what a viewer can open.
        factor = max(1.0, crop.shape[0] / crop_side(self.face.transform))
        factor = min(factor, max(1.0, _MAX_ENLARGED_SIDE / max(height, width)))
        size = (round(width * factor), round(height * factor))
        photo = np.array(Image.fromarray(self.face.photo).resize(size, Image.Resampling.LANCZOS))
        enlarged = np.diag([size[0] / width, size[1] / height, 1.0]) @ self.face.transform
        return paste_face(photo, crop, enlarged, np.ones(crop.shape[:2], np.float32))

    def save(self, path: str | Path) -> list[Path]:
        """Writes the picture, and further samples as name-2, name-3, ...; each says that its face is synthesised.

        Raises:
          InputError: the ending is not .png or .jpg, or the place cannot be written to.
        """
        path = Path(path)
        paths = [path] + [path.with_stem(f"{path.stem}-{n}") for n in range(2, len(self.images) + 1)]
        for index, each in enumerate(paths):
            write_image(each, self.picture(index), dict(self.metadata))
        return paths

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """A labelled comparison of all that went into the picture and came out of it."""
        c = self.condition
        side = self.images[0].shape[0]
        bicubic = Image.fromarray(self.face.y).resize((side, side), Image.Resampling.BICUBIC)
        mask = np.repeat(np.asarray(c.mask[0]) * 255.0, 3, axis=-1).astype(np.uint8)
        panels: list[tuple[str, UInt8[np.ndarray, "h w 3"]]] = [
            (f"input, {self.face.y.shape[0]} px", self.face.y),
            ("bicubic", np.array(bicubic)),
            ("mask", mask),
            ("what the model sees", to_uint8(c.hidden[0])),
            ("reference", self.reference),
            ("warped reference", to_uint8(c.reference[0])),
            ("not fitted", self.unfitted()),
            ("fitted", self.images[0]),
        ]
        panels += [(f"fitted, sample {n}", image) for n, image in enumerate(self.images[1:], 2)]
        if self.truth is not None:
            panels.append(("truth", self.truth))
        return label_panels(panels)
