"""The frozen face recognisers that an ID embedding is made of and judged by, as a list."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.face.chip import DLIB_CHIP
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.networks.id_encoder import MIRRORED, IdEncoder, chip_descriptors, load_id_encoder

Recognisers = tuple[IdEncoder, ...]


def load_recognisers(choices: str | Sequence[str]) -> Recognisers:
    """Recognisers, each read once per process.

    Args:
      choices: names of `load_id_encoder`, such as "dlib" or "arcface:PATH"; several as a sequence, or joined by "+".

    Raises:
      BadConfig: one of them is none of these, or is named twice.
      BadWeights: a file is missing, damaged, or another network's.
    """
    names = tuple(choices.split("+")) if isinstance(choices, str) else tuple(choices)
    if len(set(names)) < len(names) or not names:
        raise BadConfig(f"recognisers {'+'.join(names)!r}: name one or more, each once.")
    return tuple(load_id_encoder(name) for name in names)


def recognisers_name(recognisers: Sequence[IdEncoder]) -> str:
    """What data sets, models and identity files call a list of recognisers; names their weights."""
    return "+".join(recogniser.name for recogniser in recognisers)


def dimensions(recognisers: Sequence[IdEncoder]) -> tuple[int, ...]:
    """Length of each one's descriptor."""
    return tuple(recogniser.dimension for recogniser in recognisers)


def chip_kind(recogniser: IdEncoder) -> Literal["dlib", "arcface"]:
    """Which of `data.extract.CHIPS` it sees."""
    return "dlib" if recogniser.chip is DLIB_CHIP else "arcface"


def photograph_descriptors(recogniser: IdEncoder, chips: Float[Array, "b n n 3"]) -> Float[Array, "b d"]:
    """What is stored of photographs: raw descriptors of chips, of `MIRRORED` with the mirrored chips' added.

    The sum of both tells people apart a little better than either (Deng et al. 2019 do the same).

    Args:
      recogniser: one of them.
      chips: RGB from 0 to 255, cut by its template.
    """
    found = chip_descriptors(recogniser, chips)
    return found + chip_descriptors(recogniser, chips[:, :, ::-1]) if recogniser.name in MIRRORED else found


def unit_parts(
    descriptors: Float[Array, "*b d"], center: Float[Array, " d"], sizes: Sequence[int]
) -> list[Float[Array, "*b _"]]:
    """Each recogniser's part of raw descriptors as unit vectors around its centre, (d - center) / |d - center|.

    dlib's descriptors share a large common part, without which alone a cosine tells people apart; those of recognisers
    that were trained with an angular margin share next to nothing.

    Args:
      descriptors: raw, of all recognisers.
      center: mean raw descriptor over the training people.
      sizes: length of each recogniser's part.
    """
    parts = split_parts(descriptors - center, sizes)
    # The floor keeps the gradient finite for a descriptor that falls on the centre.
    return [part * jax.lax.rsqrt(jnp.maximum(jnp.sum(part**2, axis=-1, keepdims=True), 1e-12)) for part in parts]


def split_parts(vectors: Float[Array, "*b d"], sizes: Sequence[int]) -> list[Float[Array, "*b _"]]:
    """Each recogniser's part, of these lengths, of vectors by all of them, one after the other."""
    return jnp.split(vectors, np.cumsum(sizes)[:-1].tolist(), axis=-1)
