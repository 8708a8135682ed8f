"""Whom a model serves worse, as far as the photographs themselves tell: `python -m idfsr_jax.evaluation.groups --help`.

Face data sets seldom say who is shown. Two things can be measured in any of them: how light the skin is in a person's
photographs, by the individual typology angle (Chardon et al. 1991), which light and camera disturb; and how far the
head is turned in the picture that was restored.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float, Float32, UInt8
from skimage.color import rgb2lab

from idfsr_jax.data.index import FaceImages, load_index
from idfsr_jax.evaluation.protocol import setting_name
from idfsr_jax.evaluation.statistics import from_the_rest, summary
from idfsr_jax.face import resize_crop
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.landmarks import turn

_SIDE = 64
_THIRDS = {"skin": ("darkest third", "middle third", "lightest third"), "pose": ("frontal", "between", "turned")}


def skin_angle(image: UInt8[np.ndarray, "n n 3"], landmarks: Float32[np.ndarray, "68 2"]) -> float:
    """The individual typology angle of the cheeks, in degrees: above 55 very light, below -30 dark.

    arctan((L* - 50) / b*) in CIELAB, of the medians over two patches under the eyes beside the nose.

    Args:
      image: a crop.
      landmarks: unit coordinates.
    """
    side = len(image)
    patches = []
    for eye, mouth in (((36, 41), 48), ((42, 47), 54)):
        # Half way between the middle of an eye and the corner of the mouth below it.
        center = (landmarks[eye[0] : eye[1] + 1].mean(0) + landmarks[mouth]) / 2
        reach = 0.1 * np.linalg.norm(landmarks[36] - landmarks[45])
        low = np.clip(((center - reach) * side).astype(int), 0, side - 2)
        high = np.maximum(np.clip(np.ceil((center + reach) * side).astype(int), 1, side), low + 1)
        patches.append(image[low[1] : high[1], low[0] : high[0]].reshape(-1, 3))
    lightness, _, yellow = np.median(rgb2lab(np.concatenate(patches)), axis=0)
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def thirds(values: Mapping[str, float], names: Sequence[str]) -> dict[str, str]:
    """Puts each key into one of three groups of equal size by its value, the smallest first."""
    order = sorted(values, key=lambda key: (values[key], key))
    return {key: names[3 * place // len(order)] for place, key in enumerate(order)}


def table(
    pictures: Sequence[Mapping[str, Any]], groups: Mapping[str, Mapping[str, str]], metrics: Sequence[str]
) -> list[list[str]]:
    """A row for each group of each kind: how many pictures and people, and each metric's mean with its interval.

    Args:
      pictures: of one method, scale and degradation, as `results.json` has them.
      groups: for each kind, "skin" or "pose", the group of each photograph.
      metrics: their names.
    """
    rows = []
    for kind, of_photo in groups.items():
        for name in _THIRDS[kind]:
            chosen = [picture for picture in pictures if of_photo[picture["photo"]] == name]
            if not chosen:
                continue
            people = [picture["person"] for picture in chosen]
            facts = [summary([picture["metrics"].get(metric) for picture in chosen], people) for metric in metrics]
            cells = [f"{fact['mean']:.3f} [{fact['interval'][0]:.3f}, {fact['interval'][1]:.3f}]" for fact in facts]
            rows.append([f"{kind}: {name}", f"{len(chosen)} of {len(set(people))}", *cells])
    return rows


def differences(
    pictures: Sequence[Mapping[str, Any]], groups: Mapping[str, Mapping[str, str]], metrics: Sequence[str]
) -> list[list[str]]:
    """A row for each group: by how much it differs from all other pictures; see `table`."""
    rows = []
    for kind, of_photo in groups.items():
        for name in _THIRDS[kind]:
            cells = []
            for metric in metrics:
                known = [picture for picture in pictures if picture["metrics"].get(metric) is not None]
                chosen = np.array([of_photo[picture["photo"]] == name for picture in known], bool)
                if not chosen.any() or chosen.all():
                    cells.append("")
                    continue
                values = np.array([picture["metrics"][metric] for picture in known], np.float64)
                mean, low, high = from_the_rest(values, [picture["person"] for picture in known], chosen)
                cells.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
            rows.append([f"{kind}: {name}", *cells])
    return rows


def main(
    results: Path, dataset: Path, method: str = "fitted", scale: int | float | None = 16, degradation: str = "area"
) -> None:
    """Prints a table of the groups, and one of their differences from all other pictures.

    Args:
      results: The `results.json` of an evaluation.
      dataset: The data set that it was made on.
      method: One of its methods.
      scale: Of the pictures.
      degradation: Of the pictures.
    """
    try:
        facts = json.loads(results.read_bytes())
        split, pictures = facts["protocol"]["split"], facts["pictures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{results}: is no results.json of `idfsr evaluate`; give that file.") from error
    wanted = {"method": method, "scale": scale, "degradation": degradation}
    pictures = [picture for picture in pictures if all(picture[name] == value for name, value in wanted.items())]
    if not pictures:
        raise InputError(f"{results}: has no pictures of {wanted}; give a method, scale and degradation that it has.")
    index, images = load_index(dataset, split), FaceImages(dataset, split)
    record = {photo: number for number, photo in enumerate(index.photos)}
    members = dict(zip(index.people, index.members, strict=True))
    people = {picture["person"] for picture in pictures}
    if not people <= members.keys() or any(picture["photo"] not in record for picture in pictures):
        raise InputError(f"{dataset}: lacks photographs of {results}; give the data set that it was made on.")
    angle = lambda number: skin_angle(resize_crop(images.read(number), _SIDE), index.landmarks[number])  # noqa: E731
    tones = {person: float(np.median([angle(int(number)) for number in members[person]])) for person in people}
    tone_of = thirds(tones, _THIRDS["skin"])
    groups = {
        "skin": {picture["photo"]: tone_of[picture["person"]] for picture in pictures},
        "pose": thirds({p["photo"]: turn(index.landmarks[record[p["photo"]]]) for p in pictures}, _THIRDS["pose"]),
    }
    judges = [judge["name"] for judge in facts["judges"]]
    metrics = [*(f"identity/{judge}" for judge in judges), "psnr_face", "lpips_vgg"]
    header = ["group", "pictures of people", *metrics]
    limits = np.quantile(list(tones.values()), [0, 1 / 3, 2 / 3, 1])
    print(f"{method}, {setting_name((scale, degradation))}; skin angles {_listed(limits)} degrees\n")
    for cells in (header, ["---"] * len(header), *table(pictures, groups, metrics)):
        print("| " + " | ".join(cells) + " |")
    header = ["group, minus the others", *metrics]
    print()
    for cells in (header, ["---"] * len(header), *differences(pictures, groups, metrics)):
        print("| " + " | ".join(cells) + " |")


def _listed(numbers: Float[np.ndarray, " n"]) -> str:
    return ", ".join(f"{number:.0f}" for number in numbers)


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        print(f"groups: {error}", file=sys.stderr)
        sys.exit(2)
