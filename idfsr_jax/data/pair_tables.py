"""Who can be paired with whom, as integer arrays for a device that draws the pairs; n photographs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from idfsr_jax.data.index import Index
from idfsr_jax.data.pairs import SIMILAR_POSES
from idfsr_jax.method.references import normalised_shapes

_ROWS_AT_ONCE = 512


def pair_tables(index: Index, workers: int) -> dict[str, Int[np.ndarray, "..."]]:
    """The integer fields of `idfsr_jax.data.resident.ResidentFaces`, whose attributes say what they are.

    Args:
      index: of a split of n photographs.
      workers: threads.
    """
    members = index.members
    counts = np.array([len(records) for records in members])
    order = np.concatenate(members)
    place = np.empty(len(index), np.int64)
    place[order] = np.concatenate([np.arange(count) for count in counts])
    first = (np.cumsum(counts) - counts)[index.person]
    count = counts[index.person]
    similar_count = np.minimum(SIMILAR_POSES, len(index) - count)
    similar = similar_records(normalised_shapes(index.landmarks), index.person, workers)
    fields = {
        "order": order, "first": first, "place": place, "count": count,
        "similar": similar, "similar_count": similar_count,
    }  # fmt: skip
    return {name: field.astype(np.int32) for name, field in fields.items()}


def similar_records(
    shapes: Float[np.ndarray, "n d"], person: Int[np.ndarray, "n"], workers: int
) -> Int[np.ndarray, "n k"]:
    """For every record what `pairs.nearest_others` gives, k = 16 or n if that is less; rows may have a senseless end.

    Rows are made many at a time: |a - b|^2 = |a|^2 + |b|^2 - 2ab, where |a| is the same for all.
    """
    count = min(SIMILAR_POSES, len(shapes))

    def rows(begin: int) -> np.ndarray:
        part = slice(begin, begin + _ROWS_AT_ONCE)
        distance = -(shapes[part] @ shapes.T)
        distance[person[part, None] == person[None, :]] = np.inf
        near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        return np.take_along_axis(near, np.argsort(np.take_along_axis(distance, near, 1), axis=1), 1)

    with ThreadPoolExecutor(workers) as threads:
        return np.concatenate(list(threads.map(rows, range(0, len(shapes), _ROWS_AT_ONCE))))
