"""The photographs of a protocol in memory, and the cases to restore: photograph x scale x degradation x seed."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt8

from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.evaluation.degradations import BY_WIDTH, FFHQ_REF, ffhq_ref
from idfsr_jax.evaluation.protocol import CLEAN, PersonPlan, Protocol, check_protocol, swap_partners
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method.degrade import Degradation, ResamplingTables, degrade, draw_degradations, fixed_degradation
from idfsr_jax.restore.conditions import cleaned_input, enlarged, tables_of

BLUR_STD_LR_PIXELS, NOISE_STD_LEVELS, JPEG_QUALITY = (0.0, 0.8), (0.0, 20.0), (30.0, 100.0)
"""Ranges of the degradation `classical`: blur in LR pixels, white noise in levels of 0..255, libjpeg's quality."""


@dataclass(frozen=True)
class Study:
    """A split at the model's side.

    Attributes:
      protocol: what is measured on it.
      index: landmarks, descriptors and names of every photograph of the split.
      images: the crops, in the order of the index.
      record: position of each photograph, by its name.
      partners: by each person's name another person, whose identity is swapped in; see `protocol.swap_partners`.
    """

    protocol: Protocol
    index: Index
    images: UInt8[np.ndarray, "n s s 3"]
    record: Mapping[str, int]
    partners: Mapping[str, PersonPlan]

    @property
    def size(self) -> int:
        """Side S of the crops."""
        return self.images.shape[1]

    def records(self, photos: Sequence[str]) -> list[int]:
        """Positions of photographs in the index."""
        return [self.record[photo] for photo in photos]

    def digests(self, photos: Sequence[str]) -> list[str]:
        """Names of photographs with what they show: landmarks and descriptors follow from the pictures."""
        index = self.index
        shown = [
            index.landmarks[record].tobytes() + index.embeddings[record].tobytes() for record in self.records(photos)
        ]
        return [f"{photo} {hashlib.sha256(each).hexdigest()[:16]}" for photo, each in zip(photos, shown, strict=True)]

    def crops(self, photos: Sequence[str]) -> list[FaceCrop]:
        """Photographs as the product knows photographs."""
        index, nowhere = self.index, np.eye(3)
        return [
            FaceCrop(self.images[record], index.landmarks[record], nowhere, frame=index.frames[record])
            for record in self.records(photos)
        ]


@dataclass(frozen=True)
class Case:
    """One picture to restore."""

    person: PersonPlan
    photo: str
    scale: int | float | None
    degradation: str
    seed: int

    def key(self, stream: str) -> PRNGKeyArray:
        """The noise of this case: a function of seed, photograph and stream, so the same for every method."""
        key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.photo.encode()))
        return jax.random.fold_in(key, zlib.crc32(stream.encode()))


def load_study(protocol: Protocol, dataset: str | Path, size: int) -> Study:
    """Reads the split of a protocol.

    Args:
      protocol: what will be measured.
      dataset: folder of the prepared data set.
      size: side S of the model's crops.

    Raises:
      InputError: the data set is not there, or lacks what the protocol names.
    """
    index = load_index(dataset, protocol.split)
    check_protocol(protocol, index, size)
    pictures = FaceImages(dataset, protocol.split)
    images = np.stack([resize_crop(pictures.read(record), size) for record in range(len(index))])
    record = {photo: position for position, photo in enumerate(index.photos)}
    return Study(protocol, index, images, record, swap_partners(protocol))


def cases_of(protocol: Protocol, scale: int | float | None, degradation: str) -> list[Case]:
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


@dataclass(frozen=True)
class LowResolution:
    """What is given of cases.

    Attributes:
      y_up: the LR pictures enlarged to size, as a model sees them, [-1, 1].
      y: the LR pictures.
    """

    y_up: Float[Array, "b s s 3"]
    y: list[UInt8[np.ndarray, "_ _ 3"]]

    @cached_property
    def cleaned(self) -> list[tuple[UInt8[np.ndarray, "_ _ 3"], float]]:
        """`restore.conditions.cleaned_input` of each."""
        return [cleaned_input(picture, self.y_up.shape[1]) for picture in self.y]

    @property
    def n(self) -> Float[np.ndarray, " b"]:
        """Their widths."""
        return np.array([len(picture) for picture in self.y], np.float32)


def low_resolution(study: Study, cases: Sequence[Case]) -> LowResolution:
    """The LR pictures of cases of one scale and degradation; see `degraded`."""
    return degraded(truths(study, cases), cases)


def degraded(images: Float[Array, "b s s 3"], cases: Sequence[Case]) -> LowResolution:
    """Any pictures of 8 bit, degraded exactly as those of the cases were: same strengths, same noise."""
    size, scale, kind = images.shape[1], cases[0].scale, cases[0].degradation
    if kind in FFHQ_REF or kind in BY_WIDTH:
        y = [_on_host(image, case) for image, case in zip(to_uint8(images), cases, strict=True)]
        return LowResolution(jnp.concatenate([enlarged(picture, size)[0] for picture in y]), y)
    assert scale is not None
    n = round(size / scale)
    keys = jnp.stack([case.key("degradation") for case in cases])
    y_up, filled = _degraded(keys, images, tables_of(size), n, kind)
    return LowResolution(y_up, list(to_uint8(filled[:, :n, :n])))


def _on_host(image: UInt8[np.ndarray, "s s 3"], case: Case) -> UInt8[np.ndarray, "_ _ 3"]:
    """The LR picture of a case by one of `degradations`: a function of seed, photograph and degradation."""
    rng = np.random.default_rng((case.seed, zlib.crc32(case.photo.encode()), zlib.crc32(case.degradation.encode())))
    if case.scale is None:
        return ffhq_ref(image, case.degradation, rng)
    return BY_WIDTH[case.degradation](image, round(len(image) / case.scale), rng)


@partial(jax.jit, static_argnames=("n", "kind"))
def _degraded(
    keys: Key[Array, " b"], images: Float[Array, "b s s 3"], tables: ResamplingTables, n: int, kind: str
) -> tuple[Float[Array, "b s s 3"], Float[Array, "b most most 3"]]:
    def one(key: PRNGKeyArray, image: Float[Array, "s s 3"]) -> tuple[Array, Array]:
        strengths, noise = jax.random.split(key)
        y_up, y = degrade(image[None], _degradation(strengths, n, kind), tables, noise)
        return y_up[0], y[0]

    return jax.vmap(one)(keys, images)


def _degradation(key: PRNGKeyArray, n: int, kind: str) -> Degradation:
    """What is done to one picture: `area` shrinks it, the others do more, with strengths that are drawn."""
    if kind == CLEAN:
        return fixed_degradation(1, n)
    if kind == "camera":
        return draw_degradations(key, 1, least=n, most=n, clean_share=0.0)
    ranges = jnp.array([BLUR_STD_LR_PIXELS, NOISE_STD_LEVELS, JPEG_QUALITY])
    blur, noise, quality = jax.random.uniform(key, (3, 1), minval=ranges[:, :1], maxval=ranges[:, 1:])
    drawn = {"blur": blur, "noise": noise, "colour": jnp.ones(1), "quality": jnp.round(quality).astype(jnp.int32)}
    return fixed_degradation(1, n, subsampled=False).replace(**drawn)  # type: ignore[attr-defined, no-any-return]
