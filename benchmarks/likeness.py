"""The figures behind every threshold of `idfsr_jax/restore/likeness.py` and `idfsr_jax/face/sharpness.py`.

python -m benchmarks.likeness --data data/lfw [--split val] [--people 40]

Pairs of photographs, albums with strangers in them, and faces seen at 6 to 64 px, clean and as cameras leave them.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from scipy.optimize import minimize_scalar

from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method.degrade import Degradation, degrade, fixed_degradation, resampling_tables
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import turn
from idfsr_jax.restore.likeness import (
    SAME_PERSON,
    STANDING_OUT,
    TURNED,
    Likeness,
    agreement,
    face_probabilities,
    group_by_person,
    is_told,
    mean_direction,
    reliability,
)
from idfsr_jax.restore.recognition import reduce_crop
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.runtime.compile_cache import use_compile_cache

_SIDES = (6, 8, 12, 16, 24, 32, 48, 64)
_FINE = 128


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that `idfsr prepare` wrote")
    parser.add_argument("--split", default="val")
    parser.add_argument("--people", type=int, default=40, help="of those with four photographs or more")
    arguments = parser.parse_args()
    use_compile_cache()
    restorer = Restorer.load()
    index, pictures = load_index(arguments.data, arguments.split), FaceImages(arguments.data, arguments.split)
    units = unit_parts(index.embeddings - restorer.model.center, restorer.sizes)[:, : restorer.sizes[0]]
    print_pairs(index, units)
    print_albums(index, units)
    print_groups(index, units)
    rng = np.random.default_rng(0)
    people = [records for records in index.members if len(records) >= 4]
    rng.shuffle(people)
    chosen = [rng.permutation(records) for records in people[: arguments.people]]
    crops = [[FaceCrop(pictures.read(int(k)), index.landmarks[k], np.eye(3)) for k in row] for row in chosen]
    print_small(restorer, crops)
    return 0


def print_pairs(index: Index, units: np.ndarray) -> None:
    """Cosines of all pairs."""
    cosine = (units @ units.T)[np.triu_indices(len(units), 1)]
    same = (index.person[:, None] == index.person[None])[np.triu_indices(len(units), 1)]
    for name, values in (("same person", cosine[same]), ("two people", cosine[~same])):
        print(f"{name}: {len(values)} pairs, mean {values.mean():.3f},", _percentiles(values, 1, 5, 50, 95, 99))
    for threshold in (0.3, 0.35, 0.4, 0.45, 0.5):
        missed, passed = np.mean(cosine[same] < threshold), np.mean(cosine[~same] >= threshold)
        print(f"  at {threshold}: {missed:.3f} of the same below, {passed:.3f} of others not")


def print_albums(index: Index, units: np.ndarray) -> None:
    """Agreement, reliability, and what grouping makes of albums with strangers in them."""
    members = [records for records in index.members if len(records) >= 3]
    print("agreement of albums:", _percentiles(np.array([agreement(units[each]) for each in members]), 5, 50, 95))
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 5):
        found = []
        for records in (each for each in members if len(each) >= count + 3 for _ in range(20)):
            order = rng.permutation(records)
            rest = mean_direction(units[order[count:]])
            found.append(mean_direction(units[order[:count]]) @ rest / reliability(len(order) - count, 0.71))
        print(f"{count} photographs: cosine {np.mean(found):.3f}, foreseen {reliability(count, 0.71):.3f}")
    members = [records for records in index.members if len(records) >= 4]
    rng = np.random.default_rng(1)
    lost, kept = [], []
    for _ in range(300):
        own = rng.permutation(members[rng.integers(len(members))])[:6]
        others = np.flatnonzero(index.person != index.person[own[0]])
        album = np.concatenate([own, rng.choice(others, rng.integers(1, 3), replace=False)])
        group = set(group_by_person(units[album])[0].tolist())
        lost += [position not in group for position in range(len(own))]
        kept += [position in group for position in range(len(own), len(album))]
    print(f"grouped at {SAME_PERSON}: {np.mean(lost):.3f} of the own set aside, {np.mean(kept):.3f} of others kept")


def print_groups(index: Index, units: np.ndarray, size: int = 4, draws: int = 6000) -> None:
    """Group pictures beside photographs of one person alone: how often that person is told, and how often wrongly."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 5):
        own = [each for each in index.members if len(each) > count]
        cosines = np.zeros((draws, size))
        for row in cosines:
            person = own[rng.integers(len(own))]
            order = rng.permutation(person)
            others = [each for each in index.members if each is not person]
            rest = [rng.choice(others[k]) for k in rng.permutation(len(others))[: size - 1]]
            row[:] = units[[order[count], *rest]] @ mean_direction(units[order[:count]])
        most, next_ = np.sort(cosines, axis=1)[:, :-3:-1].T
        told = (most >= SAME_PERSON) & (most - next_ >= STANDING_OUT)
        wrong = np.mean(np.argmax(cosines, axis=1)[told] != 0)
        absent = np.mean(cosines[:, 1:].max(axis=1) >= SAME_PERSON)
        print(f"of {size}, {count} others: told {told.mean():.3f}, wrong {wrong:.4f}; without: {absent:.3f} taken")


def print_small(restorer: Restorer, crops: list[list[FaceCrop]]) -> None:
    """Faces seen small: which of their own person and of strangers are like three photographs of a person."""
    owner, sizes = np.repeat(np.arange(len(crops)), [len(row) for row in crops]), restorer.sizes
    is_own = owner[:, None] == np.arange(len(crops))
    every = [crop for row in crops for crop in row]
    for side in _SIDES:
        references, turns = _seen(restorer, [reduce_crop(crop.image, side) for crop in every])
        cosines = _cosines_to_people(references, references, owner, sizes)
        print(f"{side} px")
        print_left_alone("clean", cosines, is_own, turns, side)
        groups = _groups_of_four(cosines, owner)
        slope = minimize_scalar(partial(_surprise, groups), bounds=(0.1, 100.0), method="bounded").x
        halfway = (cosines[is_own].mean() + cosines[~is_own].mean()) / 2
        print(f"    halfway {halfway:.3f}, steepness {slope:.1f}; {_told_of_four(groups, side)}")
        ordinary = fixed_degradation(1, side, blur=0.5, noise=3.0, quality=75)
        spoilt = fixed_degradation(1, side, blur=0.7, noise=8.0, quality=40)
        for kind, degradation in (("ordinary", ordinary), ("spoilt", spoilt)):
            small, turns = _seen(restorer, _degraded(every, side, degradation))
            table = _cosines_to_people(small, references, owner, sizes)
            print_left_alone(kind, table, is_own, turns, side)
            print(f"    {_told_of_four(_groups_of_four(table, owner), side)}")


def print_left_alone(kind: str, cosines: np.ndarray, is_own: np.ndarray, turns: np.ndarray, side: int) -> None:
    """Of strangers the share that is restored, of the person's own faces the share that is left alone."""
    own, others, turned = cosines[is_own], cosines[~is_own], turns >= TURNED
    print(f"  {kind}: own {own.mean():.3f},", _percentiles(own, 5), end="; ")
    print(f"others {others.mean():.3f},", _percentiles(others, 95), end=f"; {turned.sum()} turned")
    print(f", of these below the 5% {np.sum(own[turned] < np.percentile(own, 5))}")
    for only, where in ((True, "the only face"), (False, "one of several")):
        left = np.array([[bool(Likeness(float(c), side).against(only=only)) for c in row] for row in cosines])
        restored, alone = 1 - left[~is_own].mean(), left[is_own].mean()
        print(f"    {where}: strangers restored {restored:.3f}, own left alone {alone:.3f}")


def _seen(restorer: Restorer, small: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The unit vectors of small faces, and how far each is turned."""
    found = [restorer.see_small(y) for y in small]
    return np.array([unit for unit, _ in found]), np.array([turn(points) for _, points in found])


def _degraded(crops: Sequence[FaceCrop], side: int, degradation: Degradation) -> list[np.ndarray]:
    """Crops made small, blurred, noisy and compressed."""
    tables = resampling_tables(_FINE)
    spoil = jax.jit(lambda image, key: degrade(image, degradation, tables, key)[1])
    fine = [to_float(resize_crop(crop.image, _FINE)[None]) for crop in crops]
    pictures = [spoil(image, jax.random.key(number))[0, :side, :side] for number, image in enumerate(fine)]
    return [np.asarray(to_uint8(picture)) for picture in pictures]


def _cosines_to_people(
    units: np.ndarray, references: np.ndarray, owner: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    """Of each face to three references of each person, of its own person to three others; [faces, people]."""
    people = np.unique(owner)
    means = np.array([unit_parts(references[owner == person][:3].mean(0), sizes) for person in people])
    cosines = units @ means.T / len(sizes)
    for face, person in enumerate(owner):
        others = np.flatnonzero((owner == person) & (np.arange(len(owner)) != face))[:3]
        cosines[face, person] = units[face] @ unit_parts(references[others].mean(0), sizes) / len(sizes)
    return cosines


def _groups_of_four(cosines: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Cosines to a person of one of the person's faces and of three strangers', ten times for each face; [n, 4]."""
    rng = np.random.default_rng(0)
    draw = lambda person: rng.choice(np.flatnonzero(owner != person), 3, replace=False)  # noqa: E731
    return np.array([cosines[[k, *draw(person)], person] for k, person in enumerate(owner) for _ in range(10)])


def _told_of_four(groups: np.ndarray, side: int) -> str:
    """How often the person is told among four, and how often rightly."""
    chances = np.array([face_probabilities([Likeness(float(each), side) for each in row]) for row in groups])
    told, right = np.array([is_told(row) for row in chances]), chances.argmax(1) == 0
    return f"of four, told {told.mean():.3f}, of these right {right[told].mean():.3f}"


def _surprise(cosines: np.ndarray, slope: float) -> float:
    """Mean negative logarithm of the first one's share in a softmax."""
    return float(np.mean(np.log(np.exp(slope * (cosines - cosines[:, :1])).sum(1))))


def _percentiles(values: np.ndarray, *shares: int) -> str:
    return ", ".join(
        f"{share}%: {value:.3f}" for share, value in zip(shares, np.percentile(values, shares), strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
