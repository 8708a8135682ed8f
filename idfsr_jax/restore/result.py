"""What restoring gives back: pictures, the way they came about, and how to write both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idfsr_jax.face import crop_side, write_image
from idfsr_jax.face.blend import blend_face, paste_mask
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import label_panels, to_uint8
from idfsr_jax.io.names import beside
from idfsr_jax.method.condition import Condition
from idfsr_jax.restore.checks import require_numbers
from idfsr_jax.restore.find_face import LowResolutionFace
from idfsr_jax.restore.likeness import Likeness
from idfsr_jax.restore.provenance import mark
from idfsr_jax.restore.recognition import seen_side
from idfsr_jax.restore.spread import spread_picture

_MAX_ENLARGED_SIDE = 8192
_MAX_SIDE = 16_384
_WASTED = 2.5

Enlarger = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""A photograph, uint8 RGB, and the (width, height) to bring it to."""


def lanczos(photo: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Enlarges a photograph by Lanczos filtering."""
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class Restoration:
    """One restored face.

    Attributes:
      face: the LR face that was restored.
      images: the samples, canonical crops, uint8 [S, S, 3].
      condition: what the denoiser saw, batch of one.
      reference: the photograph chosen as the (nearest) reference, canonical crop; None without photographs.
      unfitted: computes the same sample with the identity before fitting; called for the sheet only.
      metadata: what every written picture says about its origin.
      likeness: of a small crop to the photographs made as small; None without photographs.
      before: another face of the same photograph, which is put into it before this one; see `Restorer.together`.
    """

    face: LowResolutionFace
    images: list[UInt8[np.ndarray, "s s 3"]]
    condition: Condition
    reference: UInt8[np.ndarray, "n n 3"] | None
    unfitted: Callable[[], UInt8[np.ndarray, "s s 3"]]
    metadata: Mapping[str, str]
    likeness: Callable[[UInt8[np.ndarray, "m m 3"]], Likeness] | None
    before: "Restoration | None" = None

    def picture(
        self, index: int | None = 0, *, enlarge: float | None = None, background: Enlarger = lanczos
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The crop, or, where a photograph was given, the enlarged photograph with the restored face in it.

        Args:
          index: of the sample; None for the mean of all samples.
          enlarge: how many times as large as the photograph; by default so that the face keeps every pixel of the crop.
            Of a crop nothing but the default makes sense.
          background: enlarges the photograph, given it and (width, height); Lanczos filtering by default.

        Raises:
          InputError: there is no such sample, `enlarge` is not above 0, the result would have a side of more than
            16,384 px, or `background` made another size.
        """
        require_numbers(Integral, index=index)
        require_numbers(Real, enlarge=enlarge)
        if index is not None and not 0 <= index < len(self.images):
            raise InputError(f"index={index}: there are {len(self.images)} samples, counted from 0.")
        if enlarge is not None and not enlarge > 0:
            raise InputError(f"enlarge={enlarge}: give a number above 0.")
        mean = np.mean(np.stack(self.images).astype(np.float64), axis=0)
        crop = np.rint(mean).astype(np.uint8) if index is None else self.images[index]
        if self.face.photo is None or self.face.transform is None:
            return crop
        height, width = self.face.photo.shape[:2]
        enlarge = self.enlargement() if enlarge is None else enlarge
        size = (max(1, round(width * enlarge)), max(1, round(height * enlarge)))
        if max(size) > _MAX_SIDE:
            raise InputError(
                f"enlarging {width} x {height} px {enlarge:g} times gives more than {_MAX_SIDE} px; enlarge less."
            )
        photo = (
            background(self.face.photo, size)
            if self.before is None
            else self.before.picture(index, enlarge=enlarge, background=background)
        )
        if photo.shape != (size[1], size[0], 3) or photo.dtype != np.uint8:
            raise InputError(f"the background came back as {photo.shape} {photo.dtype}; return uint8 RGB of {size}.")
        placed = np.diag([size[0] / width, size[1] / height, 1.0]) @ self.face.transform
        mask = paste_mask(np.asarray(self.condition.mask)[0, ..., 0], float(np.asarray(self.condition.scale)[0]))
        seed = int(self.metadata.get("idfsr:seed", "0"))
        return blend_face(photo, crop, placed, mask, enlarged=max(1.0, enlarge), seed=seed)

    def enlargement(self) -> float:
        """How many times as large as the photograph the result is by default; 1 of a crop.

        So large that every face keeps all pixels of its crop, within what a viewer can open.
        """
        if self.face.photo is None:
            return 1.0
        transforms = [each.face.transform for each in self._faces() if each.face.transform is not None]
        enlarge = max([1.0, *(len(self.images[0]) / crop_side(transform) for transform in transforms)])
        return min(enlarge, max(1.0, _MAX_ENLARGED_SIDE / max(self.face.photo.shape[:2])))

    def mean(self, *, enlarge: float | None = None, background: Enlarger = lanczos) -> UInt8[np.ndarray, "h w 3"]:
        """As `picture`, of the mean of all samples."""
        return self.picture(None, enlarge=enlarge, background=background)

    def spread(self) -> UInt8[np.ndarray, "h w 3"]:
        """A picture of how much the samples differ, pixel by pixel, beside their mean, with a legend."""
        own = spread_picture(self.images)
        return own if self.before is None else np.concatenate([self.before.spread(), own])

    def doubts(self) -> list[str]:
        """Whether the input contradicts the identity, is better than the result or perhaps no crop; a sentence each.

        The face is compared with the photographs made as small. It is called unlike them wrongly once in twenty, and a
        stranger often passes: see `likeness.Likeness`.
        """
        said = []
        transform, used = self.face.transform, self.face.y.shape[0]
        native = self.face.native.shape[0] if transform is None else round(crop_side(transform))
        if native > _WASTED * used:
            said.append(
                f"the face's crop is {native} px wide and the model looks at {used} px of them; the photograph may "
                "show the face as well as the result does."
            )
        side = seen_side(self.face.native.shape[0])
        small = np.array(Image.fromarray(self.face.native).resize((side, side), Image.Resampling.BOX))
        found = None if self.likeness is None else self.likeness(small)
        if found is not None and found.is_unlike:
            why = "it is perhaps turned away" if found.is_turned else "it may be somebody else, or hidden"
            said.append(
                f"the small face is unlike the photographs (cosine {found.cosine:.2f} at {side} px, where faces of "
                f"a person mostly have {found.least:.2f} or more); {why}."
            )
        return [*said, self.face.doubt] if self.face.doubt else said

    def notes(self) -> list[str]:
        """What whoever sees the result should know: the file's damage, which face was taken, and `doubts`."""
        said = self.file_notes()
        for each in self._faces():
            choice = "" if each.face.choice is None else each.face.choice.sentence()
            said += [*([choice] if choice else []), *each.doubts()]
        return said

    def _faces(self) -> "list[Restoration]":
        """All faces that are in the picture, in the order in which they are put into it."""
        return [*([] if self.before is None else self.before._faces()), self]

    def file_notes(self) -> list[str]:
        """What of the input's file is damaged, was assumed or left out, a sentence each."""
        return [] if self.face.origin is None else list(self.face.origin.notes)

    def losses(self, path: str | Path) -> list[str]:
        """What a result of this name cannot keep of the input's file, a sentence each."""
        origin = self.face.origin
        if origin is None or origin.alpha is None or Path(path).suffix.lower() == ".png":
            return []
        return ["its transparency was laid over white, as a JPEG has none; a .png keeps it."]

    def save(
        self,
        path: str | Path,
        *,
        enlarge: float | None = None,
        background: Enlarger = lanczos,
        label: bool = False,
        metadata: Mapping[str, str] | None = None,
        place: bool = False,
    ) -> list[Path]:
        """Writes the picture, and further samples as name-2, name-3, ...; each says that its face is synthesised.

        Args:
          path: of the first.
          enlarge: see `picture`.
          background: see `picture`.
          label: also prints a small visible mark into each.
          metadata: more to say in each.
          place: whether to keep where the photograph was taken (GPS). Dates, maker, artist, copyright and dots an inch
            are kept in any case, and in a PNG transparency; all else that the file said is dropped.

        Raises:
          InputError: the ending is not .png or .jpg, or the place cannot be written to.
        """
        path = Path(path)
        paths = [path] + [beside(path, f"-{n}") for n in range(2, len(self.images) + 1)]
        for index, each in enumerate(paths):
            self._write(each, self.picture(index, enlarge=enlarge, background=background), label, metadata, place)
        return paths

    def save_spread(
        self,
        path: str | Path,
        *,
        enlarge: float | None = None,
        background: Enlarger = lanczos,
        label: bool = False,
        metadata: Mapping[str, str] | None = None,
        place: bool = False,
    ) -> list[Path]:
        """Writes the mean of all samples beside `path` as name-mean, and their spread as name-spread.

        Args:
          path: of the first sample.
          enlarge: see `picture`.
          background: see `picture`.
          label: see `save`.
          metadata: see `save`.
          place: see `save`.

        Raises:
          InputError: as `save`.
        """
        path = Path(path)
        paths = [beside(path, f"-{part}") for part in ("mean", "spread")]
        self._write(paths[0], self.mean(enlarge=enlarge, background=background), label, metadata, place)
        self._write(paths[1], self.spread(), label, metadata)
        return paths

    def save_sheet(self, path: str | Path, *, label: bool = False, metadata: Mapping[str, str] | None = None) -> None:
        """Writes the `sheet`; label and metadata as in `save`."""
        self._write(Path(path), self.sheet(), label, metadata)

    def _write(
        self,
        path: Path,
        image: UInt8[np.ndarray, "h w 3"],
        label: bool,
        metadata: Mapping[str, str] | None,
        place: bool | None = None,
    ) -> None:
        """Writes a picture; one that stands for the photograph, `place` given, keeps what that one's file said."""
        said = {**self.metadata, **(metadata or {})}
        origin = None if place is None else self.face.origin
        write_image(path, mark(image) if label else image, said, origin=origin, place=bool(place))

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """A labelled comparison of all that went into the picture and came out of it; a row for each face."""
        own = self._row()
        return own if self.before is None else np.concatenate([self.before.sheet(), own])

    def _row(self) -> UInt8[np.ndarray, "h w 3"]:
        c = self.condition
        side = self.images[0].shape[0]
        bicubic = Image.fromarray(self.face.y).resize((side, side), Image.Resampling.BICUBIC)
        mask = np.repeat(np.asarray(c.mask[0]) * 255.0, 3, axis=-1).astype(np.uint8)
        panels: list[tuple[str, UInt8[np.ndarray, "h w 3"]]] = [
            (f"input, {self.face.y.shape[0]} px", self.face.y),
            ("bicubic", np.array(bicubic)),
            ("mask", mask),
            ("what the model sees", to_uint8(c.hidden[0])),
        ]
        if self.reference is not None:
            panels += [("reference", self.reference), ("warped reference", to_uint8(c.references[0, 0]))]
        panels += [("not fitted", self.unfitted()), ("fitted", self.images[0])]
        panels += [(f"fitted, sample {n}", image) for n, image in enumerate(self.images[1:], 2)]
        return label_panels(panels)
