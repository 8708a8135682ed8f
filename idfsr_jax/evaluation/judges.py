"""Who says whether two pictures show the same person: face recognisers behind one function, several at once.

A judge turns crops with known landmarks into unit vectors, whose product is the identity cosine. Landmarks are always
those of the true photograph, so that no failed detection drops a picture from the comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idfsr_jax.errors import InputError
from idfsr_jax.evaluation.onnx_network import open_network
from idfsr_jax.face.chip import ARCFACE_POSITIONS
from idfsr_jax.interop.arcface_weights import arcface_name
from idfsr_jax.models.warp import similarity_transform
from idfsr_jax.networks.id_encoder import DLIB_NAME, IdEncoder, identity_of
from idfsr_jax.networks.resample import sample_bilinear

Embed = Callable[[Float[np.ndarray, "b s s 3"], Float[np.ndarray, "b 68 2"]], Float[np.ndarray, "b d"]]

ARCFACE_SIDE = 112
ARCFACE_TEMPLATE = (ARCFACE_POSITIONS / ARCFACE_SIDE).astype(np.float32)
"""Eyes, nose tip and mouth corners in the 112 px chip that ArcFace, AdaFace and their kin are trained on, as shares
of its side (Deng et al. 2019)."""


@dataclass(frozen=True)
class Judge:
    """A recogniser.

    Attributes:
      name: what reports call it.
      embed: crops in [-1, 1] and their landmarks, in unit coordinates, to unit vectors.
      same_as_condition: whether it is the network that the model is conditioned on, which flatters the model.
    """

    name: str
    embed: Embed
    same_as_condition: bool = False

    @property
    def title(self) -> str:
        """The name, with the warning where one is due."""
        return f"{self.name} (same network as the condition)" if self.same_as_condition else self.name


def load_judges(names: Sequence[str], encoder: IdEncoder, center: Float[np.ndarray, " d"]) -> list[Judge]:
    """The judges of a config.

    Args:
      names: "encoder" for the model's own ID encoder, which "dlib" means as well where that is dlib's; or the paths of
        ONNX recognisers.
      encoder: the model's.
      center: of the model that is evaluated.

    Raises:
      InputError: there is no such judge, two have one name, or onnxruntime is missing.
    """
    if "dlib" in names and encoder.name != DLIB_NAME:
        raise InputError(
            f"evaluate.judges={list(names)}: the model's encoder is {encoder.name}, whose centre is not dlib's; "
            "give `encoder` for it, or the paths of recognisers in ONNX."
        )
    own = lambda name: name in ("dlib", "encoder")  # noqa: E731
    judges = [encoder_judge(encoder, center) if own(name) else onnx_judge(name, encoder) for name in names]
    if not judges or len({judge.name for judge in judges}) < len(judges):
        raise InputError(f"evaluate.judges={list(names)}: give one or more judges of different names.")
    return judges


def encoder_judge(encoder: IdEncoder, center: Float[np.ndarray, " d"]) -> Judge:
    """The encoder whose descriptor is the condition."""
    identify = jax.jit(identity_of)
    center = jnp.asarray(center)  # type: ignore[assignment]
    embed = lambda images, landmarks: np.asarray(  # noqa: E731
        identify(encoder, jnp.asarray(images), jnp.asarray(landmarks), center)
    )
    return Judge(encoder.name, embed, same_as_condition=True)


def onnx_judge(path: str | Path, encoder: IdEncoder | None = None) -> Judge:
    """A face recogniser in an ONNX file that takes 112 px RGB chips in [-1, 1], as ArcFace's and AdaFace's do.

    Args:
      path: the file; its name without the ending is the judge's name.
      encoder: the model's, which the judge may be.

    Raises:
      InputError: the file is missing or not such a network, or onnxruntime is not installed.
    """
    run = open_network(path, ARCFACE_SIDE, "a face recogniser")

    def embed(images: Float[np.ndarray, "b s s 3"], landmarks: Float[np.ndarray, "b 68 2"]) -> np.ndarray:
        vectors = run(np.asarray(_arcface_chips(jnp.asarray(images), jnp.asarray(landmarks))).transpose(0, 3, 1, 2))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    return Judge(
        Path(path).stem, embed, same_as_condition=encoder is not None and arcface_name(Path(path)) == encoder.name
    )


def arcface_chips(
    images: Float[jax.Array, "b s s 3"], landmarks: Float[jax.Array, "b 68 2"]
) -> Float[jax.Array, "b 112 112 3"]:
    """The 112 px chips of canonical crops, by the similarity that carries the template onto five points.

    Args:
      images: in [-1, 1].
      landmarks: unit coordinates.
    """
    batch = images.shape[0]
    eyes = [landmarks[:, 36:42].mean(axis=1), landmarks[:, 42:48].mean(axis=1)]
    points = jnp.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], axis=1)
    template = jnp.broadcast_to(jnp.asarray(ARCFACE_TEMPLATE), (batch, 5, 2))
    matrix, shift = similarity_transform(template, points)
    centres = (jnp.arange(ARCFACE_SIDE, dtype=jnp.float32) + 0.5) / ARCFACE_SIDE
    x, y = jnp.meshgrid(centres, centres)
    grid = jnp.stack([x, y], axis=-1).reshape(1, -1, 2)
    places = jnp.einsum("bij,bnj->bni", matrix, jnp.broadcast_to(grid, (batch, *grid.shape[1:])), precision="highest")
    places = (places + shift[:, None]).reshape(batch, ARCFACE_SIDE, ARCFACE_SIDE, 2)
    return sample_bilinear(images, places)


_arcface_chips = jax.jit(arcface_chips)
