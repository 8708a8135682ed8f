"""The figures behind every threshold of `idfsr_jax/restore/likeness.py` and `idfsr_jax/face/sharpness.py`.

python -m benchmarks.likeness --data data/lfw [--split val] [--people 40]

Pairs of photographs, albums with strangers in them, faces seen at 6 to 64 px, and restorations with the right and with
another person's identity. About five minutes on two cores.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.face import FaceCrop
from idfsr_jax.networks.id_encoder import DLIB_NAME
from idfsr_jax.restore.identity import Identity
from idfsr_jax.restore.likeness import (
    SAME_PERSON,
    STANDING_OUT,
    agreement,
    face_probabilities,
    group_by_person,
    is_told,
    mean_direction,
    reliability,
)
from idfsr_jax.restore.recognition import reduce_crop, small_identity
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.runtime.compile_cache import use_compile_cache

_SIDES = (6, 8, 12, 16, 24, 32, 64)
_SCALES = (4, 8, 16, 32)


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
    units = index.embeddings - restorer.model.center
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    print_pairs(index, units)
    print_albums(index, units)
    print_groups(index, units)
    rng = np.random.default_rng(0)
    people = [records for records in index.members if len(records) >= 4]
    rng.shuffle(people)
    chosen = np.array([rng.permutation(records)[:4] for records in people[: arguments.people]])
    crops = [[FaceCrop(pictures.read(int(k)), index.landmarks[k], np.eye(3)) for k in row] for row in chosen]
    print_small(restorer, crops, units[chosen])
    print_restorations(restorer, crops, units[chosen])
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
    for threshold in (0.3, 0.35, 0.4, 0.45):
        rng = np.random.default_rng(1)
        lost, kept = [], []
        for _ in range(300):
            own = rng.permutation(members[rng.integers(len(members))])[:6]
            others = np.flatnonzero(index.person != index.person[own[0]])
            album = np.concatenate([own, rng.choice(others, rng.integers(1, 3), replace=False)])
            group = set(group_by_person(units[album], threshold)[0].tolist())
            lost += [position not in group for position in range(len(own))]
            kept += [position in group for position in range(len(own), len(album))]
        print(f"grouped at {threshold}: {np.mean(lost):.3f} of the own set aside, {np.mean(kept):.3f} of others kept")


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


def print_small(restorer: Restorer, crops: list[list[FaceCrop]], native: np.ndarray) -> None:
    """Faces seen small: how like their person, how like others, and how often the right one of four is told."""
    model = restorer.model
    for side in _SIDES:
        seen = np.array(
            [
                [
                    small_identity(
                        reduce_crop(crop.image, side), restorer.encoder, model.landmark_net, model.center, model.config
                    )
                    for crop in row
                ]
                for row in crops
            ]
        )
        own, others, cosines = [], [], []
        for face in range(4):
            rest = [k for k in range(4) if k != face]
            table = seen[:, face] @ np.array([mean_direction(row[rest]) for row in seen]).T
            own += list(np.diag(table))
            others += list(table[~np.eye(len(table), dtype=bool)])
            cosines.append(table)
        to_native = np.mean([seen[i, 0] @ mean_direction(native[i, 1:]) for i in range(len(crops))])
        print(f"{side} px: own {np.mean(own):.2f}, others {np.mean(others):.2f}, own", _percentiles(np.array(own), 5))
        print(f"  others below that: {np.mean(np.array(others) < np.percentile(own, 5)):.2f}", end="; ")
        print(f"to full-size photographs {to_native:.2f}", end="; ")
        rng = np.random.default_rng(0)
        told, right = [], []
        for person in range(len(crops)):
            for _ in range(60):
                strangers = rng.choice([k for k in range(len(crops)) if k != person], 3, replace=False)
                column = cosines[0][[person, *strangers], person]
                probabilities = face_probabilities([float(value) for value in column], [side] * 4)
                told.append(is_told(probabilities))
                right.append(np.argmax(probabilities) == 0)
        correct = sum(was_right and was_told for was_right, was_told in zip(right, told, strict=True))
        print(f"of four, told {np.mean(told):.2f}, of these right {correct / max(sum(told), 1):.3f}")


def print_restorations(restorer: Restorer, crops: list[list[FaceCrop]], units: np.ndarray) -> None:
    """How far results, reduced again, are from the input, with the right and with another identity."""
    model = restorer.model
    for scale in _SCALES:
        own, others = [], []
        for i, row in enumerate(crops):
            side = model.config.data.size // scale
            y = np.array(Image.fromarray(row[0].image).resize((side, side), Image.Resampling.BOX, reducing_gap=None))
            for step, found in ((0, own), (1, others), (7, others)):
                k = (i + step) % len(crops)
                mean = mean_direction(units[k, 1:]).astype(np.float32)
                person = Identity(mean, mean, np.zeros(1, np.float32), 3, DLIB_NAME, model.digest)
                found.append(restorer.restore(y, person, crops[k][1:], seed=1).distance())
        caught = np.mean(np.array(others) > np.percentile(own, 95))
        print(f"{side} px: own", _percentiles(np.array(own), 50, 95), f"others beyond the 95th: {caught:.2f}")


def _percentiles(values: np.ndarray, *shares: int) -> str:
    return ", ".join(
        f"{share}%: {value:.3f}" for share, value in zip(shares, np.percentile(values, shares), strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
