"""The photographs of a protocol in memory, and the cases to restore: photograph x scale x degradation x seed."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt8

from idfsr_jax.data.degrade import degrade, quantise
from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.evaluation.protocol import PersonPlan, Protocol, check_protocol
from idfsr_jax.face import resize_crop
from idfsr_jax.pictures import to_float


@dataclass(frozen=True)
class Study:
    """A split at the model's side.

    Attributes:
      protocol: what is measured on it.
      index: landmarks, descriptors and names of every photograph of the split.
      images: the crops, in the order of the index.
      record: position of each photograph, by its name.
    """

    protocol: Protocol
    index: Index
    images: UInt8[np.ndarray, "n s s 3"]
    record: Mapping[str, int]

    @property
    def size(self) -> int:
        """Side S of the crops."""
        return self.images.shape[1]

    def records(self, photos: Sequence[str]) -> list[int]:
        """Positions of photographs in the index."""
        return [self.record[photo] for photo in photos]


@dataclass(frozen=True)
class Case:
    """One picture to restore."""

    person: PersonPlan
    photo: str
    scale: int
    degradation: str
    seed: int

    def key(self, stream: str) -> PRNGKeyArray:
        """The noise of this case: a function of seed, photograph and stream, so the same for every method."""
        key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.photo.encode()))
        return jax.random.fold_in(key, zlib.crc32(stream.encode()))


def load_study(protocol: Protocol, dataset: str | Path, size: int, scales: tuple[int, ...]) -> Study:
    """Reads the split of a protocol.

    Args:
      protocol: what will be measured.
      dataset: folder of the prepared data set.
      size: side S of the model's crops.
      scales: those that the model knows.

    Raises:
      InputError: the data set is not there, or lacks what the protocol names.
    """
    index = load_index(dataset, protocol.split)
    check_protocol(protocol, index, size, scales)
    pictures = FaceImages(dataset, protocol.split)
    images = np.stack([resize_crop(pictures.read(record), size) for record in range(len(index))])
    return Study(protocol, index, images, {photo: record for record, photo in enumerate(index.photos)})


def cases_of(protocol: Protocol, scale: int, degradation: str) -> list[Case]:
    """All cases of one scale and degradation, person by person."""
    return [
        Case(person, photo, scale, degradation, seed)
        for person in protocol.people
        for seed in protocol.seeds
        for photo in person.restored
    ]


def truths(study: Study, cases: Sequence[Case]) -> Float[Array, "b s s 3"]:
    """What the cases' pictures should be, [-1, 1]."""
    return to_float(study.images[study.records([case.photo for case in cases])])


def low_resolution(study: Study, cases: Sequence[Case]) -> Float[Array, "b n n 3"]:
    """The LR pictures of cases of one scale and degradation, 8 bit in [-1, 1]."""
    return degraded(truths(study, cases), cases)


def degraded(images: Float[Array, "b s s 3"], cases: Sequence[Case]) -> Float[Array, "b n n 3"]:
    """Any pictures, degraded exactly as those of the cases were: same strengths, same noise."""
    keys = jnp.stack([case.key("degradation") for case in cases])
    return _degraded(keys, quantise(images), cases[0].scale, cases[0].degradation)


@partial(jax.jit, static_argnames=("scale", "kind"))
def _degraded(
    keys: Key[Array, " b"], images: Float[Array, "b s s 3"], scale: int, kind: str
) -> Float[Array, "b n n 3"]:
    one = lambda key, image: degrade(key, image[None], scale, kind)[0]  # type: ignore[arg-type] # noqa: E731
    return jax.vmap(one)(keys, images)
