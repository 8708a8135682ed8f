"""Who is like whom: whether photographs show one person, how well they pin that person down, and which face is theirs.

All of it works on unit identities (`networks.id_encoder.unit_identity`), and all numbers below were measured with
`python -m benchmarks.likeness`: the val split of LFW, 40 people who were in no training, 211 photographs; 498 pairs of
one person, 21,657 of two. Cosine: 0.709 on average within a person (5th percentile 0.419), -0.008 between people (99th
0.480); 4.6% of the former fall below 0.4, 2.2% of the latter reach it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

SAME_PERSON = 0.4
"""Least mean cosine at which two groups of photographs are joined. In 300 albums of four to six photographs and one or
two of somebody else, 2.4% of the person's own were set aside so, and 1.1% of the others' were kept."""

STANDING_OUT = 0.1
"""How much more like the person one of several faces has to be than any other, besides reaching `SAME_PERSON`. Of
groups of four people, one of whom was on one to five other photographs, 96 to 99% were told so, and 0.1 to 0.3% of
these wrong; of groups without the person 6 to 10% were taken for one with."""

AGREEING = 0.54
"""Mean cosine of all pairs, below which photographs disagree: the 5th percentile over the 40 people."""

TYPICAL_AGREEMENT = 0.71
"""Mean cosine of two photographs of one person; stands in where there is one photograph only."""

FEW = 3
"""With fewer photographs than this an identity is a guess: one alone has a cosine of 0.85 to what many say together,
three have 0.93, five 0.96."""

TELLING = 0.8
"""Least probability at which one of several faces is taken. Of groups of four people whose faces were cut to 12, 16, 24
and 32 px crops, 34, 58, 91 and 98% reached it, and 91, 96, 98 and 99.6% of these were the right person."""

_TELLS = {6: (5.0, 0.73), 8: (6.8, 0.59), 12: (8.8, 0.48), 16: (9.5, 0.36), 24: (14.0, 0.34), 32: (20.0, 0.36)}
"""How a cosine of face and references, both seen at that side in pixels, tells people apart: how steeply (maximum
likelihood of the softmax below over groups of four) and halfway between the means of one person and of two, since small
faces are all alike."""


def group_by_person(
    identities: Float[np.ndarray, "k d"], threshold: float = SAME_PERSON
) -> list[Int[np.ndarray, " _"]]:
    """Groups of photographs that show one person each, the largest first.

    Average linkage: the two groups whose photographs have the highest mean cosine are joined while it reaches the
    threshold (Sokal and Michener 1958). Of equally large groups the one that agrees more comes first.

    Args:
      identities: unit vectors.
      threshold: of the mean cosine.

    Returns:
      Positions, ascending within each group.
    """
    cosine = (identities @ identities.T).astype(np.float64)
    groups = [np.array([position]) for position in range(len(identities))]
    while len(groups) > 1:
        mean = np.array([[cosine[np.ix_(a, b)].mean() if a is not b else -2.0 for b in groups] for a in groups])
        first, second = sorted(int(place) for place in np.unravel_index(np.argmax(mean), mean.shape))
        if mean[first, second] < threshold:
            break
        groups[first] = np.sort(np.concatenate([groups[first], groups.pop(second)]))
    return sorted(groups, key=lambda group: (-len(group), -cosine[np.ix_(group, group)].mean(), group[0]))


def agreement(identities: Float[np.ndarray, "k d"]) -> float:
    """Mean cosine of all pairs; `TYPICAL_AGREEMENT` where there is no pair."""
    count = len(identities)
    if count < 2:
        return TYPICAL_AGREEMENT
    return float((identities @ identities.T)[np.triu_indices(count, 1)].mean())


def reliability(count: int, agreed: float) -> float:
    """The expected cosine between the mean of `count` photographs and what very many of the person would say.

    sqrt(k r / (1 + (k - 1) r)) (Spearman 1910, Brown 1910), r being the mean cosine of pairs. On val it is right to
    0.01: for 1, 2, 3 and 5 photographs it says 0.84, 0.90, 0.93 and 0.95 where 0.85, 0.91, 0.93 and 0.96 were measured.

    Args:
      count: photographs, at least one.
      agreed: `agreement` of them.
    """
    r = min(max(agreed, 0.0), 1.0)
    return float(np.sqrt(count * r / (1.0 + (count - 1) * r)))


def likeness_to_others(identities: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    """The cosine of every photograph to the mean of all others; NaN where there are none."""
    if len(identities) < 2:
        return np.full(len(identities), np.nan)
    others = identities.sum(0) - identities
    norms = np.maximum(np.linalg.norm(others, axis=1), 1e-12)
    return np.sum(identities * others, axis=1) / norms


def mean_direction(
    identities: Float[np.ndarray, "k d"], weights: Float[np.ndarray, " k"] | None = None
) -> Float[np.ndarray, " d"]:
    """The normalised mean of unit vectors, weighted if weights are given."""
    mean = np.average(identities, axis=0, weights=weights)
    return (mean / np.maximum(np.linalg.norm(mean), 1e-12)).astype(identities.dtype)


def face_probabilities(likenesses: Sequence[float], sides: Sequence[int]) -> Float[np.ndarray, " n"]:
    """How probable it is of each of several faces that it is the person's, if the person is among them.

    softmax(b_i (c_i - h_i)): c the cosine of face and references, b and h the steepness and the halfway cosine at the
    resolution of each.

    Args:
      likenesses: c, face and references seen at the same resolution.
      sides: that resolution, pixels.
    """
    known = list(_TELLS)
    steepness = np.interp(sides, known, [_TELLS[side][0] for side in known])
    halfway = np.interp(sides, known, [_TELLS[side][1] for side in known])
    exponent = steepness * (np.asarray(likenesses, np.float64) - halfway)
    odds = np.exp(exponent - exponent.max())
    return odds / odds.sum()


def is_told(probabilities: Float[np.ndarray, " n"]) -> bool:
    """Whether the best of several faces stands out far enough to be taken."""
    return bool(np.max(probabilities) >= TELLING)


_LEAST_LIKENESS = {6: 0.56, 8: 0.40, 12: 0.34, 16: 0.27, 24: 0.39, 32: 0.40, 64: 0.58}
"""The 5th percentile, by the side of the crop, of the cosine between a small face of a person and three photographs of
the person seen at that side; of other people's faces 11, 20, 43, 67, 94, 97 and 100% fall below it."""

_MOST_DISTANCE = {4: 11.0, 8: 16.0, 16: 23.0, 32: 29.0}
"""The 95th percentile, by the side of the LR crop, of the root mean square distance between the input's face and the
result reduced to the input's size, in grey levels. It says little: of restorations with another person's identity and
photographs 6, 15, 15 and 14% lie beyond it."""


def is_unlike(likeness: float, side: int) -> bool:
    """Whether a face is less like the references than 19 of 20 faces of the same person are.

    Args:
      likeness: cosine of face and references, seen at the same resolution.
      side: of the face's crop, in pixels.
    """
    return likeness < float(np.interp(side, list(_LEAST_LIKENESS), list(_LEAST_LIKENESS.values())))


def is_far(distance: float, side: int) -> bool:
    """Whether a result, reduced again, is farther from the input than 19 of 20 with the right identity are.

    Args:
      distance: root mean square over the face, in grey levels.
      side: of the LR crop, in pixels.
    """
    return distance > float(np.interp(side, list(_MOST_DISTANCE), list(_MOST_DISTANCE.values())))
