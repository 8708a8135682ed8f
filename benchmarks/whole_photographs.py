"""Whole photographs with small faces in them, restored as `idfsr restore` does, and measured against themselves.

    python -m benchmarks.whole_photographs --photos lfw/images --protocol configs/protocols/lfw_val.json

Each photograph that a protocol restores is made small by the mean of areas, until the crop of its face is so many
pixels wide, and given whole. At 48 and 64 px its face is looked for; below that a box says where it is.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Float, UInt8
from PIL import Image

from benchmarks.table import publish
from idfsr_jax.evaluation.judges import Judge, load_judges
from idfsr_jax.evaluation.metrics import psnr
from idfsr_jax.evaluation.protocol import read_protocol
from idfsr_jax.evaluation.statistics import summary
from idfsr_jax.face import FaceCrop, apply_transform, crop_faces, crop_side, cut_crop, read_image
from idfsr_jax.io.errors import InputError, NoFace, SeveralFaces
from idfsr_jax.io.images import to_float
from idfsr_jax.method.mask import face_mask
from idfsr_jax.restore.found import Found
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.places import LeftAlone
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.runtime.compile_cache import use_compile_cache

_ELSEWHERE = 0.25
"""How far, in sides of the crop, the centre of a face that was found may lie from where the face is."""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    photos: Path
    """Folder of the protocol's photographs, as they were taken, by the names that it has."""
    protocol: Path
    """Of which people what is restored, and from what."""
    widths: tuple[int, ...] = (12, 16, 24, 32, 48, 64)
    """Of the crop around the face, pixels."""
    looked_for: int = 48
    """Least width at which the face is looked for; below that a box is given."""
    photographs: int = 5
    """Of the person, at the most."""
    people: int = 0
    """The first so many of the protocol alone; all if 0."""
    judge: str = "dlib"
    """Who says how like the truth a result is; a recogniser of the model, or the path of another in ONNX."""
    weights: Path | None = None
    """Model folder; the shipped one if not given."""
    out: Path | None = None
    """Also write the table as JSON."""


@dataclass(frozen=True)
class Truth:
    """A photograph as it was taken.

    Attributes:
      person: whose.
      image: all of it.
      crop: its face.
    """

    person: str
    image: UInt8[np.ndarray, "h w 3"]
    crop: FaceCrop


def main() -> int:
    """Prints the table; 2 where protocol, photographs or judge cannot be used."""
    options = tyro.cli(Options, description=__doc__)
    use_compile_cache()
    try:
        return measure(options)
    except InputError as error:
        print(f"whole_photographs: {error}", file=sys.stderr)
        return 2


def measure(options: Options) -> int:
    """All widths."""
    restorer = Restorer.load(options.weights)
    (judge,) = load_judges([options.judge], restorer)
    people = read_protocol(options.protocol).people[: options.people or None]
    known: dict[str, tuple[Identity, Sequence[FaceCrop]]] = {}
    truths = []
    for person in people:
        photos = [options.photos / name for name in person.photographs[: options.photographs]]
        gathered = restorer.gather(photos, keep_all=True)  # The protocol says whose they are.
        known[person.name] = restorer.fit(gathered), gathered.crops
        truths += [truth_of(options.photos / name, person.name) for name in person.restored]
    facts = []
    for width in options.widths:
        pointed = width < options.looked_for
        found = [find(restorer, each, made_small(each, width), *known[each.person], pointed) for each in truths]
        facts.append(
            {"width": width, "found_by": "a box" if pointed else "the product"}
            | {"outcomes": Counter(each if isinstance(each, str) else "restored" for each in found)}
            | scores(restorer, judge, found, truths)
        )
    title = f"{len(truths)} photographs of {len(people)} people, {options.protocol.stem}, judged by {judge.title}"
    header = ["crop of the face, px", "found by", "restored", "not restored", "identity", "PSNR of the face, dB"]
    publish(title, header, [row_of(each) for each in facts], facts, options.out)
    return 0


def truth_of(path: Path, person: str) -> Truth:
    """The largest and most central face of a photograph."""
    return Truth(person, read_image(path), crop_faces(path)[0])


def made_small(truth: Truth, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph, so small that the crop of its face is `width` pixels wide; the mean of areas."""
    height, wide = truth.image.shape[:2]
    share = width / crop_side(truth.crop.transform)
    size = (max(1, round(wide * share)), max(1, round(height * share)))
    return np.array(Image.fromarray(truth.image).resize(size, Image.Resampling.BOX))


def shares(truth: Truth, small: UInt8[np.ndarray, "h w 3"]) -> tuple[float, float]:
    """How wide and how high the small photograph is, in widths and heights of the large one."""
    return small.shape[1] / truth.image.shape[1], small.shape[0] / truth.image.shape[0]


def find(
    restorer: Restorer,
    truth: Truth,
    small: UInt8[np.ndarray, "h w 3"],
    identity: Identity,
    photos: Sequence[FaceCrop],
    pointed: bool,
) -> Found | str:
    """What the product finds in the small photograph, or why it restores nothing, or not this face."""
    x, y = shares(truth, small)
    box = None
    if pointed:
        assert truth.crop.box is not None
        left, top, wide, high = truth.crop.box
        corners = np.array([left * x, top * y, (left + wide) * x, (top + high) * y])
        left, top, right, bottom = (int(each) for each in np.rint(corners.clip(0, small.shape[1::-1] * 2)))
        box = left, top, right - left, bottom - top
    try:
        found = restorer.find(small, identity, photos, box=box)
    except LeftAlone as error:
        return error.reason
    except NoFace:
        return "no face found"
    except SeveralFaces:
        return "no face stands out"
    except InputError as error:
        return f"refused ({error})"
    if found.face.transform is None:
        return "taken for an aligned crop"
    middle = np.array([[0.5, 0.5]])
    away = apply_transform(found.face.transform, middle) / (x, y) - apply_transform(truth.crop.transform, middle)
    near = np.hypot(*away[0]) < _ELSEWHERE * crop_side(truth.crop.transform)
    return found if near else "another face restored"


def scores(
    restorer: Restorer, judge: Judge, found: Sequence[Found | str], truths: Sequence[Truth]
) -> dict[str, dict[str, Any]]:
    """Identity, and PSNR of the face where the product saw it, of those that were restored; intervals over people."""
    done = [(each, truth) for each, truth in zip(found, truths, strict=True) if isinstance(each, Found)]
    if not done:
        return {}
    size = restorer.config.data.size
    results = to_float(np.stack([each.images[0] for each in restorer.sample([each for each, _ in done])]))
    # The truth as the product's frame cuts it, and where the landmarks lie there.
    frames = [frame_in(truth, each) for each, truth in done]
    same = to_float(np.stack([cut_crop(truth.image, frame, size) for frame, (_, truth) in zip(frames, done)]))
    points = np.stack([landmarks_in(truth, frame) for frame, (_, truth) in zip(frames, done)])
    seen, true = (judge.embed(np.asarray(pictures), points) for pictures in (results, same))
    people = [truth.person for _, truth in done]
    identity, distance = np.sum(seen * true, axis=1), psnr(results, same, face_mask(jnp.asarray(points), size))
    return {"identity": summary(identity.tolist(), people), "psnr_face": summary(distance.tolist(), people)}


def frame_in(truth: Truth, found: Found) -> Float[np.ndarray, "3 3"]:
    """The transform of the face that was found, into the photograph as it was taken."""
    assert found.face.transform is not None and found.face.photo is not None
    x, y = shares(truth, found.face.photo)
    return np.diag([1.0 / x, 1.0 / y, 1.0]) @ found.face.transform


def landmarks_in(truth: Truth, frame: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "68 2"]:
    """The truth's landmarks in unit coordinates of another crop of its photograph."""
    within = np.linalg.inv(frame) @ truth.crop.transform
    return apply_transform(within, truth.crop.landmarks).astype(np.float32)


def row_of(entry: dict[str, Any]) -> list[str]:
    """A width, as text."""
    outcomes = Counter(entry["outcomes"])
    why = ", ".join(f"{count} {reason}" for reason, count in outcomes.most_common() if reason != "restored")
    cells = [str(entry["width"]), entry["found_by"], f"{outcomes['restored']} of {outcomes.total()}", why or "none"]
    for name, form in (("identity", ".3f"), ("psnr_face", ".2f")):
        found = entry.get(name, {})
        low, high = found.get("interval", (np.nan, np.nan))
        cells.append(f"{found['mean']:{form}} ({low:{form}} to {high:{form}})" if found else "")
    return cells


if __name__ == "__main__":
    sys.exit(main())
