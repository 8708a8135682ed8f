"""The identity file: what was fitted to one person, in some kilobytes, with no photograph in it."""

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from idfsr_jax.io.errors import BadWeights, InputError
from idfsr_jax.io.files import write_atomically

_FORMATS = "idfsr-identity-"
_FORMAT = f"{_FORMATS}4"
_FACTS = ("photographs", "encoder", "model", "agreement")
_ARRAYS = ("embedding", "start", "losses", "shape")
_SEEN = ("transforms", "landmarks", "units")
"""Of the photographs, where their files are known."""


@dataclass(frozen=True)
class Origin:
    """A photograph that an identity was fitted to.

    Attributes:
      name: of its file, without the folder.
      sha256: of the file, its first 16 digits.
      weight: how much it counted, at most 1; blurred ones count less.
      likeness: cosine to the mean of the others, NaN where there were none.
      copies: names of further files of the same photograph (saved again, resized, mirrored), which did not count.
      face: which of several faces of the photograph it was, in words; empty where there was one.
    """

    name: str
    sha256: str
    weight: float
    likeness: float
    copies: tuple[str, ...] = ()
    face: str = ""


@dataclass(frozen=True)
class Seen:
    """What was seen in k photographs, so that it need not be looked for again; no pixels.

    Attributes:
      transforms: where the faces lie, `face.FaceCrop.transform`.
      landmarks: of the faces, `face.FaceCrop.landmarks`.
      units: unit vectors by all recognisers, one after the other.
    """

    transforms: Float64[np.ndarray, "k 3 3"]
    landmarks: Float32[np.ndarray, "k 68 2"]
    units: Float32[np.ndarray, "k d"]


@dataclass(frozen=True)
class Identity:
    """A person, to one model.

    Attributes:
      embedding: the fitted identity vector e, float32 [D].
      start: where the fit started, the mean of the photographs' identities, of unit length for each recogniser, [D].
      losses: the loss of every fitting step.
      photographs: how many it was fitted to.
      encoder: name of the ID encoder.
      model: SHA-256 of the denoiser's weights that it was fitted with.
      origins: the photographs; empty where they are not known.
      agreement: mean cosine of all pairs of photographs; NaN where it is not known.
      shape: proportions of the face, `method.landmarks.person_shape`, [68, 2].
      seen: what was seen in the photographs, in the order of the origins; None where it is not known.
    """

    embedding: Float[np.ndarray, " d"]
    start: Float[np.ndarray, " d"]
    losses: Float[np.ndarray, " n"]
    photographs: int
    encoder: str
    model: str
    origins: tuple[Origin, ...] = ()
    agreement: float = math.nan
    shape: Float[np.ndarray, "p 2"] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    seen: Seen | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the vectors and of all that is said about them; names the identity in pictures made with it."""
        arrays = [np.asarray(getattr(self, name), np.float32) for name in _ARRAYS]
        return _digest(self._facts(), *arrays, *self._seen_arrays().values())

    def place_of(self, sha256: str) -> int | None:
        """Position among the origins of a photograph in which something was `seen`; None of any other.

        Args:
          sha256: as in `Origin`.
        """
        places = [] if self.seen is None else [n for n, each in enumerate(self.origins) if each.sha256 == sha256]
        return places[0] if places else None

    def _seen_arrays(self) -> dict[str, np.ndarray]:
        return {} if self.seen is None else {name: np.ascontiguousarray(getattr(self.seen, name)) for name in _SEEN}

    def _facts(self) -> str:
        """All that is no array, as JSON."""
        origins = [asdict(origin) for origin in self.origins]
        return json.dumps({name: getattr(self, name) for name in _FACTS} | {"origins": origins})

    def save(self, path: str | Path) -> None:
        """Writes the identity as safetensors, whole or not at all.

        Raises:
          InputError: the folder cannot be written to.
        """
        path = Path(path).expanduser()
        arrays = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in _ARRAYS}
        metadata = {"format": _FORMAT, "sha256": self.digest, "facts": self._facts()}
        data = save_safetensors(arrays | self._seen_arrays(), metadata)
        try:
            write_atomically(path, lambda file: file.write(data))
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place.") from error

    @classmethod
    def load(cls, path: str | Path) -> "Identity":
        """Reads an identity file.

        Raises:
          BadWeights: the file is missing, damaged, or no identity file.
        """
        path = Path(path).expanduser()
        arrays, metadata = _arrays_and_metadata(path)
        kind = metadata.get("format", "")
        if kind.startswith(_FORMATS) and kind != _FORMAT:
            raise BadWeights(
                f"{path}: was written by another version of idfsr; fit it again with "
                f"`idfsr fit --photos DIR --out {path}`."
            )
        if kind != _FORMAT or set(arrays) not in ({*_ARRAYS}, {*_ARRAYS, *_SEEN}):
            raise BadWeights(f"{path}: is not an identity file; `idfsr fit` makes identity files.")
        seen = {name: arrays.pop(name) for name in _SEEN if name in arrays}
        shapes = [arrays[name].shape for name in ("embedding", "start")]
        if shapes[0] != shapes[1] or len(shapes[0]) != 1 or any(value.dtype != np.float32 for value in arrays.values()):
            raise BadWeights(f"{path}: holds no identity vector; fit it again.")
        try:
            facts = arrays | json.loads(metadata["facts"])
            facts["origins"] = tuple(Origin(**row | {"copies": tuple(row["copies"])}) for row in facts["origins"])
            identity = cls(**facts)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise BadWeights(f"{path}: is damaged; fit it again.") from error
        if seen and not _is_sound(seen, len(identity.origins), len(identity.start)):
            raise BadWeights(f"{path}: what was seen in the photographs is damaged; fit it again.")
        identity = replace(identity, seen=Seen(**seen) if seen else None)
        if identity.digest != metadata.get("sha256"):
            raise BadWeights(f"{path}: its SHA-256 sum is not the recorded one, so it is damaged; fit it again.")
        if not (_is_direction(identity.embedding) and _is_direction(identity.start)):
            raise BadWeights(f"{path}: its embedding is not finite, or nothing but zeros; fit it again.")
        if identity.shape.ndim != 2 or not np.isfinite(identity.shape).all():
            raise BadWeights(f"{path}: the proportions of the face are not finite, or of another shape; fit it again.")
        return identity


def require_replaceable(path: Path) -> None:
    """Checks that nothing is lost where an identity is written: there is no file, or an identity of any version.

    Raises:
      InputError: another file, or what is no file, is there.
    """
    if not path.exists():
        return
    kind = ""
    if path.is_file():  # Opening a pipe would wait for a writer that may never come.
        with contextlib.suppress(OSError, SafetensorError), safe_open(str(path), framework="np") as file:
            kind = (file.metadata() or {}).get("format", "")
    if not kind.startswith(_FORMATS):
        raise InputError(f"{path}: is there already, and is no identity file; choose another name.")


def _arrays_and_metadata(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        arrays = load_safetensors(path.read_bytes())
        with safe_open(str(path), framework="np") as file:
            return arrays, file.metadata() or {}
    except OSError as error:
        raise BadWeights(f"{path}: cannot be read ({error.strerror}); `idfsr fit` makes identity files.") from error
    except (SafetensorError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise BadWeights(f"{path}: is not an identity file; `idfsr fit` makes identity files.") from error


def _is_direction(vector: Float[np.ndarray, " d"]) -> bool:
    return bool(np.all(np.isfinite(vector)) and np.any(vector))


def _is_sound(seen: Mapping[str, np.ndarray], count: int, length: int) -> bool:
    """Whether these arrays are what was `Seen` in `count` photographs, vectors being `length` long."""
    wanted = {"transforms": (np.float64, 3, 3), "landmarks": (np.float32, 68, 2), "units": (np.float32, length)}
    return all(
        seen[name].dtype == kind and seen[name].shape == (count, *shape) and bool(np.isfinite(seen[name]).all())
        for name, (kind, *shape) in wanted.items()
    )


def _digest(facts: str, *arrays: Float[np.ndarray, "..."]) -> str:
    digest = hashlib.sha256(facts.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
