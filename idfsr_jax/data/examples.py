"""Training examples: a target, photographs of the person as references, and the person's ID embedding.

Everything but the pictures is decided on the host, from a few numbers of each photograph; the pictures are put in last,
from one array: on the host, or on the devices inside the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from idfsr_jax.data.augment import FLIP_68, mirror_landmarks
from idfsr_jax.data.faces import Faces
from idfsr_jax.data.index import Index
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import MEAN_SHAPE, person_shape
from idfsr_jax.method.references import normalised_shapes

Example = dict[str, np.ndarray]

MOST_PHOTOGRAPHS = 5
"""Photographs of a person, at the most, that an example's embedding and references come from; as at use."""
SAME, OTHER = 0.9, 0.05
"""How often the references are the person's, or somebody else's; in the rest there are none, and only the ID embedding
says who is to come out. People with one photograph have somebody else's as often, or none; with them, a quarter of
the examples of LFW and Pins have none.

Somebody else's are rare, as what they teach is at odds with the rest: along the gradient of such examples the identity
of val people with their own references gets worse faster than that of the others makes it better."""
LEAST_COSINE = 0.75
"""Of the jittered embedding of people with one photograph to that photograph's own; two photographs of one person have
about as much."""

_BATCHES_AHEAD = 4
_SIMILAR_POSES = 16
"""Of so many photographs of other people, those nearest in pose and expression, one is drawn."""
_MIRROR = np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32)


@dataclass(frozen=True)
class People:
    """What is drawn from, besides the pictures.

    Attributes:
      faces: all photographs.
      units: unit vectors of each photograph by all recognisers, one after the other.
      sizes: length of each recogniser's part.
      shapes: pose and expression of each photograph, `references.normalised_shapes`.
      references: places for references, k.
    """

    faces: Faces
    units: Float32[np.ndarray, "n d"]
    sizes: tuple[int, ...]
    shapes: Float32[np.ndarray, "n 136"]
    references: int


def load_people(faces: Faces, center: Float[np.ndarray, " d"], sizes: Sequence[int], references: int) -> People:
    """Prepares drawing from faces.

    Args:
      faces: of `load_faces`.
      center: mean raw descriptor over the people.
      sizes: length of each recogniser's part of a descriptor.
      references: places for references in an example.
    """
    units = unit_parts(faces.index.embeddings - center, sizes)
    return People(faces, units, tuple(sizes), normalised_shapes(faces.index.landmarks), references)


def mean_identities(people: People) -> Float32[np.ndarray, "p d"]:
    """The mean embedding of each person, over all photographs."""
    members = people.faces.index.members
    return unit_parts(np.stack([people.units[records].mean(axis=0) for records in members]), people.sizes)


def draw_example(people: People, record: int, rng: np.random.Generator) -> Example:
    """Decides one example; see `training_examples` for what it holds, without pictures."""
    index = people.faces.index
    person = int(index.person[record])
    siblings = index.members[person][index.members[person] != record]
    count = int(rng.integers(1, MOST_PHOTOGRAPHS + 1))
    pool = rng.choice(siblings, size=min(count, len(siblings)), replace=False)
    places = int(rng.integers(1, people.references + 1))
    kind = rng.random()
    if len(siblings) and kind < SAME:
        chosen = _nearest(people, record, pool)
    elif kind < (SAME + OTHER if len(siblings) else OTHER):
        other = int(rng.choice(nearest_others(people.shapes, index.person, record)))
        chosen = _nearest(people, record, index.members[index.person[other]])
    else:
        chosen = np.zeros(0, int)
    chosen = chosen[:places]
    records = np.full(1 + people.references, record)
    records[1 : 1 + len(chosen)] = chosen
    return {
        "records": records,
        "present": (np.arange(people.references) < len(chosen)).astype(np.float32),
        "reference_identities": people.units[records[1:]],
        "identity": _mean(people, pool) if len(pool) else _jittered(rng, people.units[record], people.sizes),
        "truth": people.units[record],
        "others": _mean(people, siblings) if len(siblings) else people.units[record],
        "several": np.float32(len(siblings) > 0),
        "person": np.int32(person),
        "shape": person_shape(index.landmarks[pool]) if len(pool) else MEAN_SHAPE,
        "known": np.float32(len(pool) > 0),
        "flip": np.bool_(rng.random() < 0.5),
    }


def nearest_others(shapes: Float[np.ndarray, "n d"], person: Int[np.ndarray, "n"], target: int) -> Int[np.ndarray, "m"]:
    """The records of other people whose shape is nearest to the target's, at most 16, nearest first.

    One pass over all shapes (1 ms for 12,000), which spares a table that would grow with the square of the data.
    """
    distance = np.sum((shapes - shapes[target]) ** 2, axis=1)
    others = np.flatnonzero(person != person[target])
    if len(others) > _SIMILAR_POSES:
        others = others[np.argpartition(distance[others], _SIMILAR_POSES)[:_SIMILAR_POSES]]
    return others[np.argsort(distance[others], kind="stable")]


def _nearest(people: People, record: int, candidates: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """Candidates, those nearest in pose and expression first."""
    distance = np.sum((people.shapes[candidates] - people.shapes[record]) ** 2, axis=1)
    return candidates[np.argsort(distance, kind="stable")]


def _mean(people: People, records: Int[np.ndarray, " m"]) -> Float32[np.ndarray, " d"]:
    return unit_parts(people.units[records].mean(axis=0), people.sizes)


def _jittered(
    rng: np.random.Generator, unit: Float32[np.ndarray, " d"], sizes: Sequence[int]
) -> Float32[np.ndarray, " d"]:
    """A unit vector of each part, at a cosine from `LEAST_COSINE` to 1 to the given one, in a direction of chance."""
    noise = unit_parts(rng.normal(size=unit.shape), sizes)
    cosine = rng.uniform(LEAST_COSINE, 1.0)
    return unit_parts(cosine * unit + np.sqrt(1.0 - cosine**2) * noise, sizes)


def gather(index: Index, examples: Sequence[Example]) -> Example:
    """A batch of examples, mirrored where they are to be, all but the pictures; `with_pictures` puts these in.

    Args:
      index: of the photographs.
      examples: of `draw_example`.
    """
    batch = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    records, flip = batch["records"], batch["flip"]
    points, frames = index.landmarks[records], index.frames[records]
    points[flip] = mirror_landmarks(points[flip])
    frames[flip] = frames[flip] @ _MIRROR
    batch["shape"][flip] = np.array([-1, 1], np.float32) * batch["shape"][flip][:, FLIP_68]
    return batch | {
        "target_landmarks": points[:, 0],
        "target_frame": frames[:, 0],
        "reference_landmarks": points[:, 1:],
        "reference_frames": frames[:, 1:],
        "record": records[:, 0],
    }


def with_pictures(
    batch: Mapping[str, Any], images: UInt8[np.ndarray, "n s s 3"] | UInt8[Array, "n s s 3"]
) -> dict[str, Any]:
    """A batch with the pictures in place of their numbers.

    The same on the host, of NumPy arrays, as inside a compiled step, of pictures that lie on its devices.

    Args:
      batch: of `gather`.
      images: all pictures, by record.
    """
    arrays: Any = images.__array_namespace__()
    rest = dict(batch)
    pictures, flip = images[rest.pop("records")], rest.pop("flip")
    pictures = arrays.where(flip[:, None, None, None, None], pictures[..., ::-1, :], pictures)
    return rest | {"target": pictures[:, 0], "references": pictures[:, 1:]}


def training_examples(
    people: People,
    seed: int,
    batch: int,
    *,
    threads: int = 2,
    shard: int = 0,
    shards: int = 1,
    pictures: bool = True,
) -> grain.IterDataset:
    """An endless stream of shuffled batches, every epoch in another order.

    Every example is a function of (seed, its place in the stream) alone, so that neither threads nor the number of
    processes change it. `iter()` of the result has `get_state()` and `set_state()`; the state is one counter.

    Args:
      people: what is drawn from.
      seed: 0 to 2^32 - 1.
      batch: examples in a batch of all processes together, b in all; a multiple of `shards`.
      threads: that read.
      shard: which of `shards` equal runs of every batch this process makes.
      shards: number of processes.
      pictures: whether the pictures are in the batches, or left to `with_pictures`, where they lie on the devices.

    Returns:
      Batches, each a dict of arrays:
        target, references: uint8 [b, S, S, 3], [b, k, S, S, 3], RGB;
        target_landmarks, reference_landmarks: float32 [b, 68, 2], [b, k, 68, 2], unit coordinates;
        target_frame, reference_frames: float32 [b, 2, 3], [b, k, 2, 3], `face.align.photograph_frame`;
        present: float32 [b, k], 1 where there is a reference;
        reference_identities: float32 [b, k, d], unit vectors of each reference, whatever it is where there is none;
        identity: float32 [b, d], unit vectors by all recognisers of the mean of up to 5 other photographs;
        truth: float32 [b, d], of the target itself; others: [b, d], of all other photographs' mean;
        several: float32 [b], 1 where the person has other photographs;
        shape: float32 [b, 68, 2], `landmarks.person_shape` of the photographs that the embedding is of; known: [b],
          1 where there are any;
        person: int32 [b]; record: int64 [b], the target's position in the split.
      Without pictures, in place of `target` and `references`, what `with_pictures` makes them of:
        records: int64 [b, 1 + k], the target's position and the references'; flip: bool [b], whether to mirror them.
    """
    stream = grain.MapDataset.range(len(people.faces.index)).seed(seed).shuffle().repeat(None)
    stream = stream.random_map(lambda record, rng: draw_example(people, int(record), rng))
    if shards > 1:
        stream = _ShardOfBatches(stream, batch, shard, shards)
    faces = people.faces

    def make(examples: Sequence[Example]) -> Example:
        gathered = gather(faces.index, examples)
        return with_pictures(gathered, faces.images) if pictures else gathered

    batches = stream.batch(batch // shards, drop_remainder=True, batch_fn=make)
    return batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_BATCHES_AHEAD))


class _ShardOfBatches(grain.MapDataset):
    """Of each run of `batch` elements the one `shard`-th of `shards` equal runs; Grain's own slices only stride."""

    def __init__(self, parent: grain.MapDataset, batch: int, shard: int, shards: int) -> None:
        super().__init__(parent)
        self._batch, self._shard, self._shards = batch, shard, shards

    def __len__(self) -> int:
        return len(self._parent) // self._shards

    def __getitem__(self, place: int) -> Any:
        part = self._batch // self._shards
        return self._parent[place // part * self._batch + self._shard * part + place % part]
