"""From LR faces and what is known of their persons to the conditions of their restoration."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from idfsr_jax.config import Config
from idfsr_jax.face import FaceCrop, resize_crop
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.method.cleaning import cleaned, read_input_cleaner
from idfsr_jax.method.condition import Condition, References, make_condition, nearest_references
from idfsr_jax.method.degrade import ResamplingTables, enlarge, on_canvas, resampling_tables
from idfsr_jax.method.landmarks import estimate_landmarks
from idfsr_jax.method.light import grey_of
from idfsr_jax.method.model import Model
from idfsr_jax.method.references import likest
from idfsr_jax.method.sample import Agreement, agreement_with, consistency_at
from idfsr_jax.restore.identity import Identity
from idfsr_jax.runtime.programs import kept_jit

_COLOURLESS = 10 / 127.5
"""Mean difference of a pixel's channels, in [-1, 1], up to which a picture is grey: a scanned one of val has 5 levels,
and 9 as a camera leaves it, pictures in colour 15 and more."""
PLACES = 20
"""The number of photographs that everybody's are filled up to, so that one program serves all people."""


@dataclass(frozen=True)
class Known:
    """What is known of a person when one of their faces is restored.

    Attributes:
      identity: e, unit vectors of all recognisers, one after the other.
      start: e before any fit, the mean of the photographs' unit vectors.
      shape: proportions of the face, `landmarks.person_shape`.
      images: photographs that can be references, canonical crops at the model's side; k may be 0.
      landmarks: of each, unit coordinates.
      frames: `face.align.photograph_frame` of each.
      units: unit vectors of each by all recognisers.
    """

    identity: Float[np.ndarray, " d"]
    start: Float[np.ndarray, " d"]
    shape: Float[np.ndarray, "68 2"]
    images: UInt8[np.ndarray, "k s s 3"]
    landmarks: Float32[np.ndarray, "k 68 2"]
    frames: Float32[np.ndarray, "k 2 3"]
    units: Float[np.ndarray, "k d"]


def conditions_of(
    landmark_net: Any,
    y_up: Float[Array, "b s s 3"],
    n: Float[Array, " b"],
    people: Sequence[Known],
    reveal: float,
    config: Config,
) -> tuple[Condition, list[list[int]]]:
    """The conditions of LR faces.

    Args:
      landmark_net: LandmarkNet's parameters.
      y_up: enlargements of the LR crops, in [-1, 1].
      n: widths of the LR crops, pixels.
      people: whose faces they are.
      reveal: how much of each is shown, 0 to 1.
      config: the model's.

    Returns:
      The conditions, and for each the positions of the photographs that it holds, the nearest in pose and expression
      first.
    """
    counts = np.array([len(known.images) for known in people])
    places = max(PLACES, int(counts.max()))

    def filled(name: str) -> np.ndarray:
        rows = [getattr(known, name) for known in people]
        return np.stack([np.pad(row, [(0, places - len(row)), *[(0, 0)] * (row.ndim - 1)]) for row in rows])

    # Put, not made by `jax.numpy`, for which every shape is a program.
    candidates = References(
        images=to_float(filled("images")),
        landmarks=jax.device_put(filled("landmarks")),
        frames=jax.device_put(filled("frames")),
        present=jax.device_put((np.arange(places) < counts[:, None]).astype(np.float32)),
        identities=jax.device_put(filled("units")),
    )
    together = lambda name: np.stack([getattr(known, name) for known in people])  # noqa: E731
    given = {
        "landmark_net": landmark_net,
        "y_up": y_up,
        "n": n,
        "shape": together("shape"),
        "candidates": candidates,
        "identity": together("identity"),
        "start": together("start"),
        "reveal": np.full(len(people), reveal, np.float32),
    }
    condition, chosen = _condition_among(given, config)
    return Condition(**condition), [row[row >= 0].tolist() for row in np.asarray(chosen)]


def condition_among(
    landmark_net: Any,
    y_up: Float[Array, "b s s 3"],
    n: Float[Array, " b"],
    shape: Float[Array, "b 68 2"],
    candidates: References,
    identity: Float[Array, "b d"],
    start: Float[Array, "b d"],
    reveal: Float[Array, " b"],
    config: Config,
) -> tuple[Condition, Int[Array, "b k"]]:
    """The conditions of LR faces as a function of arrays alone: `conditions_of` once its people stand in rows.

    Args:
      landmark_net: LandmarkNet's parameters.
      y_up: enlargements of the LR crops, in [-1, 1].
      n: widths of the LR crops, pixels.
      shape: proportions of each person's face.
      candidates: photographs of each person; the nearest `config.model.references` become references.
      identity: e of each.
      start: e of each before any fit.
      reveal: how much of each is shown, 0 to 1.
      config: the model's; static.

    Returns:
      The conditions, and the positions of their references among the candidates, -1 where there is none.
    """
    landmarks = estimate_landmarks(landmark_net, y_up, n, shape, jnp.ones_like(n), config.landmarks)
    references, chosen = nearest_references(candidates, landmarks, config.model.references)
    references = references.replace(images=in_colours_of(y_up, references.images))  # type: ignore[attr-defined]
    condition = make_condition(
        y_up,
        landmarks,
        references,
        identity,
        config.data.size / n,
        reveal,
        patch=config.model.pixels_per_place,
        mouth=config.model.mouth,
    )
    return condition.replace(start=start), chosen  # type: ignore[attr-defined]


def in_colours_of(y_up: Float[Array, "b s s 3"], images: Float[Array, "b k s s 3"]) -> Float[Array, "b k s s 3"]:
    """Photographs without their colours where the LR picture has none; the network has seldom seen one beside them."""
    spread = (jnp.max(y_up, axis=-1) - jnp.min(y_up, axis=-1)).mean(axis=(1, 2))
    return jnp.where((spread <= _COLOURLESS)[:, None, None, None, None], grey_of(images), images)


def condition_of(
    model: Model,
    y: UInt8[np.ndarray, "n n 3"],
    identity: Identity,
    crops: Sequence[FaceCrop],
    units: Float[np.ndarray, "k d"],
    reveal: float,
) -> tuple[Condition, FaceCrop | None]:
    """The condition of one LR face, and the photograph that is its nearest reference, if there is any.

    Of the photographs those that show the person best are references, the nearest in pose and expression first.

    Args:
      model: the model.
      y: the LR crop, as `cleaned_input` leaves it.
      identity: of whom it is to become.
      crops: photographs of the person; may be empty.
      units: unit vectors of each by all recognisers, empty without photographs.
      reveal: how much of the LR face is shown, 0 to 1.
    """
    crops, units = shown_photographs(identity, crops, units)
    y_up, n = enlarged(y, model.config.data.size)
    known = known_person(identity, crops, units, model.config.data.size)
    condition, (order,) = conditions_of(model.landmark_net, y_up, n, [known], reveal, model.config)
    return condition, crops[order[0]] if order else None


def shown_photographs(
    identity: Identity, crops: Sequence[FaceCrop], units: Float[np.ndarray, "k d"]
) -> tuple[list[FaceCrop], Float[np.ndarray, "m d"]]:
    """Of a person's photographs and their unit vectors those that can be references; see `references.likest`."""
    best = likest(identity.start, units)
    return [crops[place] for place in best], units[best]


def known_person(identity: Identity, crops: Sequence[FaceCrop], units: Float[np.ndarray, "k d"], size: int) -> Known:
    """What an identity and photographs, with their unit vectors, tell of a person to a model of `size` pixels."""
    return Known(
        identity=identity.embedding,
        start=identity.start,
        shape=identity.shape,
        images=np.array([resize_crop(crop.image, size) for crop in crops], np.uint8).reshape(-1, size, size, 3),
        landmarks=np.array([crop.landmarks for crop in crops], np.float32).reshape(-1, 68, 2),
        frames=np.array([crop.frame for crop in crops], np.float32).reshape(-1, 2, 3),
        units=units,
    )


def enlarged(y: UInt8[np.ndarray, "n n 3"], size: int) -> tuple[Float[Array, "1 s s 3"], Float[Array, "1"]]:
    """An LR crop enlarged as in training, in [-1, 1], and its width; batches of one."""
    tables, n = tables_of(size), np.array([len(y)], np.int32)
    return _enlarge(on_canvas(y, tables), n, tables), jax.device_put(n.astype(np.float32))


def agreement_of(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    cleaned: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], float]],
    consistency: float | None,
    config: Config,
) -> Agreement:
    """What holds results to their LR pictures.

    Args:
      pictures: the LR crops, of any widths.
      cleaned: `cleaned_input` of each.
      consistency: how strongly, 0 to 1, to them as they are; None: as the model was made for, to what is left of each
        when it is cleaned, as far as that is to be trusted, and the wider it is the more.
      config: the model's.
    """
    tables, own = tables_of(config.data.size), config.sample.consistency
    if consistency is not None:
        goals = [(y, consistency) for y in pictures]
    else:
        goals = [(clean, consistency_at(len(clean), own) * trust) for clean, trust in cleaned]
    held = [agreement_with(y, strength, tables) for y, strength in goals]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *held)  # type: ignore[no-any-return]


def cleaned_input(y: UInt8[np.ndarray, "n n 3"], size: int) -> tuple[UInt8[np.ndarray, "n n 3"], float]:
    """An LR crop without blur, noise and JPEG, and how far it is then to be believed; see `cleaning.cleaned`.

    Args:
      y: the LR crop.
      size: of the model's crops.

    Raises:
      BadWeights: the package's file of the net that cleans is missing or damaged.
    """
    clean, trust = _cleaned(_input_cleaner(), on_canvas(y, tables_of(size)), np.array([len(y)], np.int32))
    return to_uint8(np.asarray(clean)[0, : len(y), : len(y)]), float(trust[0])


@functools.lru_cache(maxsize=2)
def tables_of(size: int) -> ResamplingTables:
    """`resampling_tables`, made once."""
    return resampling_tables(size)


_input_cleaner = functools.cache(read_input_cleaner)
_enlarge = kept_jit(enlarge)
_cleaned = kept_jit(cleaned)


@partial(kept_jit, static_argnames="config")
def _condition_among(arguments: dict[str, Any], config: Config) -> tuple[dict[str, Array], Int[Array, "b k"]]:
    """`condition_among`, the condition by its fields."""
    condition, chosen = condition_among(**arguments, config=config)
    return {each.name: getattr(condition, each.name) for each in fields(condition)}, chosen
