"""Who is like whom: whether photographs show one person, how well they pin that person down, and which face is theirs.

Photographs are compared by unit identities of one recogniser (`networks.id_encoder.identity_of`), small faces by the
mean of all recognisers' cosines, cleaned. All numbers below were measured with `python -m benchmarks.likeness`: the val
split of LFW, 40 people who were in no training, 211 photographs; 498 pairs of one person, 21,657 of two. Cosine: 0.714
on average within a person (5th percentile 0.442), 0.005 between people (99th 0.494); 4.6% of the former fall below 0.4,
2.4% of the latter reach it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SAME_PERSON = 0.4
"""Least mean cosine at which two groups of photographs are joined. In 300 albums of four to six photographs and one or
two of somebody else, 2.4% of the person's own were set aside so, and 1.3% of the others' were kept."""

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
and 32 px crops, 62, 81, 96 and 99% reached it, and 96, 97, 99 and 99.6% of these were the right person."""

_TELLS = {
    **{6: (20.9, 0.83), 8: (19.3, 0.76), 12: (21.2, 0.67), 16: (21.8, 0.56)},
    **{24: (21.7, 0.41), 32: (21.3, 0.37), 48: (13.8, 0.38), 64: (12.8, 0.39)},
}
"""How a cosine of face and references, both seen at that side in pixels, tells people apart: how steeply (maximum
likelihood of the softmax below over groups of four) and halfway between the means of one person and of two, since small
faces are all alike."""

_UNLIKE = {6: 0.75, 8: 0.67, 12: 0.57, 16: 0.47, 24: 0.42, 32: 0.33, 48: 0.23, 64: 0.21}
"""Cosine of a face and three photographs of a person, by the side at which both are seen, below which the face is
unlike the person: to 16 px the 5th percentile of the person's own faces, from 24 px on the 95th of strangers', which is
lower. Each clean and as an ordinary camera leaves it (blur of 0.5 px, noise of 3 levels, JPEG 75), whichever restores
more of the person's faces and fewer of strangers'."""

_LIKE = {6: 0.91, 8: 0.86, 12: 0.77, 16: 0.63, 24: 0.42, 32: 0.33, 48: 0.23, 64: 0.21}
"""The 95th percentile of strangers' cosines, from which on a face is the person's. What lies between the two is too
small to tell."""

TURNED = 0.4
"""`method.landmarks.turn` from which on a head is turned far: at a crop of 24 px 10 of 208 photographs, two of which
are among the 11 that are least like their person."""


@dataclass(frozen=True)
class Likeness:
    """How like a person's photographs a small face is.

    Attributes:
      cosine: mean over all recognisers, face and photographs seen at the same resolution.
      side: that resolution, of the face's crop, in pixels.
      turn: how far the head is turned to a side, `method.landmarks.turn`.
    """

    cosine: float
    side: int
    turn: float = 0.0

    @property
    def least(self) -> float:
        """The cosine that a person's own faces mostly reach at that side."""
        return _at(_UNLIKE, self.side)

    @property
    def is_unlike(self) -> bool:
        """Whether the face does not."""
        return self.cosine < self.least

    @property
    def is_turned(self) -> bool:
        """Whether the head is turned so far that its likeness says little."""
        return self.turn >= TURNED

    def against(self, *, only: bool) -> str:
        """Why the face is not to be taken for the person's, in short; empty if nothing speaks against it.

        Args:
          only: whether nobody else is in the photograph, so that a face too small to tell is probably the person's.
        """
        if self.is_unlike:
            return "perhaps turned away" if self.is_turned else "unlike the person"
        return "" if only or self.cosine >= _at(_LIKE, self.side) else "too small to tell"


def group_by_person(identities: Float[np.ndarray, "k d"]) -> list[Int[np.ndarray, " _"]]:
    """Groups of photographs that show one person each, the largest first.

    Average linkage: the two groups whose photographs have the highest mean cosine are joined while it reaches
    `SAME_PERSON` (Sokal and Michener 1958). Of equally large groups the one that agrees more comes first.

    Args:
      identities: unit vectors.

    Returns:
      Positions, ascending within each group.
    """
    cosine = (identities @ identities.T).astype(np.float64)
    groups, sums = [np.array([position]) for position in range(len(identities))], cosine
    while len(groups) > 1:
        sizes = np.array([len(group) for group in groups])
        mean = sums / np.outer(sizes, sizes)
        np.fill_diagonal(mean, -2.0)
        first, second = sorted(int(place) for place in np.unravel_index(np.argmax(mean), mean.shape))
        if mean[first, second] < SAME_PERSON:
            break
        groups[first] = np.sort(np.concatenate([groups[first], groups.pop(second)]))
        # Rows, then columns, of the two groups are joined: sums of the cosines between what is in them.
        for axis in (0, 1):
            joined = np.take(sums, first, axis) + np.take(sums, second, axis)
            sums = np.delete(sums, second, axis)
            np.moveaxis(sums, axis, 0)[first] = joined
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


def mean_direction(identities: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " d"]:
    """The normalised mean of unit vectors."""
    mean = identities.mean(axis=0)
    return (mean / np.maximum(np.linalg.norm(mean), 1e-12)).astype(identities.dtype)


def face_probabilities(likenesses: Sequence[Likeness]) -> Float[np.ndarray, " n"]:
    """How probable it is of each of several faces that it is the person's, if the person is among them.

    softmax(b_i (c_i - h_i)): c the cosine of face and references, b and h the steepness and the halfway cosine at the
    resolution of each.

    Args:
      likenesses: of each.
    """
    exponent = np.array([evidence(each) for each in likenesses])
    odds = np.exp(exponent - exponent.max())
    return odds / odds.sum()


def evidence(likeness: Likeness) -> float:
    """b (c - h) of `face_probabilities`: above 0 where a face is more like the person than halfway to a stranger."""
    known, side = list(_TELLS), likeness.side
    steepness = np.interp(side, known, [_TELLS[each][0] for each in known])
    halfway = np.interp(side, known, [_TELLS[each][1] for each in known])
    return float(steepness * (likeness.cosine - halfway))


def shared_out(evidences: Float[np.ndarray, "people faces"]) -> list[int | None]:
    """The face of each of several people, nobody's twice, where it is told.

    Faces are shared out so that the evidence of all together is greatest, nobody's face counting 0 (the assignment
    problem). A face is told to be a person's if the best way of sharing them out in which it is not has `TELLING`
    against it, be it for the sake of another face, of another person, or of nobody.

    Args:
      evidences: `evidence` for each person and face.

    Returns:
      Its position for each person; None where no face is theirs, or none is told.
    """
    # Only here, as it takes long to load and most commands never share out faces.
    from scipy.optimize import linear_sum_assignment

    # A place for each person besides the faces: nobody's.
    table = np.concatenate([evidences, np.zeros((len(evidences), len(evidences)))], axis=1)

    def best(values: Float[np.ndarray, "people places"]) -> tuple[Int[np.ndarray, " people"], float]:
        rows, columns = linear_sum_assignment(values, maximize=True)
        return columns, float(values[rows, columns].sum())

    columns, total = best(table)
    faces: list[int | None] = []
    for person, face in enumerate(columns):
        without = table.copy()
        without[person, face] = -1e6
        told = face < evidences.shape[1] and total - best(without)[1] >= np.log(TELLING / (1.0 - TELLING))
        faces.append(int(face) if told else None)
    return faces


def is_told(probabilities: Float[np.ndarray, " n"]) -> bool:
    """Whether the best of several faces stands out far enough to be taken."""
    return bool(np.max(probabilities) >= TELLING)


def _at(table: Mapping[int, float], side: int) -> float:
    """What a table of sides says of one between them."""
    return float(np.interp(side, list(table), list(table.values())))
