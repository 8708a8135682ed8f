"""Inputs and photographs in other light: whether the result keeps the input's, and who it shows.

    python -m benchmarks.light --data data/faces --protocol configs/protocols/lfw_val.json

The light falls on the truth before it is made small, or on all photographs of the person, and on nothing else. The ID
embedding is not fitted.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float, UInt8

from benchmarks.table import publish
from idfsr_jax.evaluation.judges import Judge, load_judges
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.protocol import CLEAN, read_protocol
from idfsr_jax.evaluation.restoring import restore
from idfsr_jax.evaluation.study import Case, Study, cases_of, load_study
from idfsr_jax.io.errors import InputError
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.restore.recognition import photograph_descriptors
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.runtime.compile_cache import use_compile_cache

_GREY = np.array([[0.2126, 0.7152, 0.0722]] * 3)
_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
LIGHTS: dict[str, Float[np.ndarray, "3 3"]] = {
    "a quarter": 0.25 * np.eye(3),
    "a half": 0.5 * np.eye(3),
    "double": 2.0 * np.eye(3),
    "warm": np.diag([1.3, 1.0, 0.6]),
    "cold": np.diag([0.7, 1.0, 1.4]),
    "grey": _GREY,
    "sepia": _SEPIA,
}
"""What becomes of linear red, green and blue."""
_RADIUS = 0.08
"""Of the places where colours are compared, in distances of the outer corners of the eyes."""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    data: Path
    """Prepared data set with the protocol's photographs."""
    protocol: Path
    """Of which people what is restored, and from what."""
    scale: int = 8
    """How far the truths are made small."""
    people: int = 0
    """The first so many of the protocol alone; all if 0."""
    judge: str = "dlib"
    """Who says how like the truth a result is; a recogniser of the model, or the path of another in ONNX."""
    weights: Path | None = None
    """Model folder; the shipped one if not given."""
    out: Path | None = None
    """Also write the table as JSON."""


def main() -> int:
    """Prints the table; 2 where protocol, data or judge cannot be used."""
    options = tyro.cli(Options, description=__doc__)
    use_compile_cache()
    try:
        return measure(options)
    except InputError as error:
        print(f"light: {error}", file=sys.stderr)
        return 2


def measure(options: Options) -> int:
    """All lights, on the inputs and on the photographs."""
    restorer = Restorer.load(options.weights)
    (judge,) = load_judges([options.judge], restorer)
    whole = read_protocol(options.protocol)
    protocol = replace(whole, people=whole.people[: options.people or None])
    study = load_study(protocol, options.data, restorer.config.data.size)
    cases = cases_of(protocol, options.scale, CLEAN)
    inputs = [case.photo for case in cases]
    photographs = sorted({photo for person in protocol.people for photo in person.photographs})
    facts: list[dict[str, Any]] = [{"light": "as it is", "on": ""} | scores(restorer, judge, study, cases)]
    for on, photos in (("the input", inputs), ("the photographs", photographs)):
        for light, matrix in LIGHTS.items():
            changed = lit_study(study, photos, matrix, restorer if on == "the photographs" else None)
            facts.append({"light": light, "on": on} | scores(restorer, judge, changed, cases))
    title = f"{options.scale}x, {len(cases)} pictures of {len(protocol.people)} people, judged by {judge.title}"
    header = ["light", "on", "colours, CIEDE2000, median", "nine in ten below", "identity"]
    rows = [
        [row["light"], row["on"], f"{row['median']:.1f}", f"{row['nine']:.1f}", f"{row['identity']:.3f}"]
        for row in facts
    ]
    publish(title, header, rows, facts, options.out)
    return 0


def lit(images: UInt8[np.ndarray, "n s s 3"], matrix: Float[np.ndarray, "3 3"]) -> UInt8[np.ndarray, "n s s 3"]:
    """Pictures (sRGB) in other light.

    Args:
      images: as they are.
      matrix: what becomes of linear red, green and blue; what gets too bright is clipped.
    """
    values = images / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ matrix.T
    linear = np.clip(linear, 0.0, 1.0)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255.0 * values).astype(np.uint8)


def lit_study(
    study: Study, photos: Sequence[str], matrix: Float[np.ndarray, "3 3"], described_by: Restorer | None
) -> Study:
    """A study in which some photographs lie in other light.

    Args:
      study: as it is.
      photos: which.
      matrix: see `lit`.
      described_by: of what model the recognisers look at them anew; None leaves the descriptors.
    """
    records, images = study.records(photos), study.images.copy()
    images[records] = lit(images[records], matrix)
    changed = replace(study, images=images)
    if described_by is None:
        return changed
    embeddings = study.index.embeddings.copy()
    crops = changed.crops(photos)
    found = [photograph_descriptors(recogniser, crops) for recogniser in described_by.recognisers]
    embeddings[records] = np.concatenate(found, axis=1)
    return replace(changed, index=replace(study.index, embeddings=embeddings))


def scores(restorer: Restorer, judge: Judge, study: Study, cases: Sequence[Case]) -> dict[str, Any]:
    """How far colours of the results lie from the truths', and the mean cosine to them."""
    records = study.records([case.photo for case in cases])
    truth, points = study.images[records], study.index.landmarks[records]
    results = to_uint8(restore(Method("unfitted", identity="unfitted"), cases, study, restorer, {}))
    seen, true = (judge.embed(np.asarray(to_float(pictures)), points) for pictures in (results, truth))
    differences = colour_differences(results, truth, points)
    return {
        "median": float(np.median(differences)),
        "nine": float(np.quantile(differences, 0.9)),
        "identity": float(np.mean(np.sum(seen * true, axis=1))),
    }


def colour_differences(
    results: UInt8[np.ndarray, "n s s 3"], truth: UInt8[np.ndarray, "n s s 3"], points: Float[np.ndarray, "n 68 2"]
) -> Float[np.ndarray, "n 4"]:
    """CIEDE2000 (Sharma et al. 2005) between the mean colours of forehead, both cheeks and chin.

    Args:
      results: pictures.
      truth: what they should be.
      points: landmarks of the truth, unit coordinates.
    """
    from skimage.color import deltaE_ciede2000, rgb2lab

    found, wanted = (np.stack([_colours(*each) for each in zip(images, points)]) for images in (results, truth))
    return np.asarray(deltaE_ciede2000(rgb2lab(found), rgb2lab(wanted)))


def _colours(image: UInt8[np.ndarray, "s s 3"], points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "4 3"]:
    """Mean sRGB, 0 to 1, of forehead, cheeks and chin."""
    brows, nose = points[[21, 22]].mean(axis=0), points[33]
    places = [
        brows + 0.4 * (brows - nose),
        *(points[list(p)].mean(axis=0) for p in ((2, 31, 48), (14, 35, 54), (8, 57))),
    ]
    radius = _RADIUS * np.linalg.norm(points[45] - points[36])
    grid = (np.arange(len(image)) + 0.5) / len(image)
    x, y = np.meshgrid(grid, grid)
    return np.stack([image[np.hypot(x - u, y - v) <= radius].mean(axis=0) / 255.0 for u, v in places])


if __name__ == "__main__":
    sys.exit(main())
