"""Who says whether two pictures show the same person: face recognisers behind one function, several at once.

A judge turns crops with known landmarks into unit vectors, whose product is the identity cosine. Landmarks are always
those of the true photograph, so that no failed detection drops a picture from the comparison.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idfsr_jax.face.chip import ARCFACE_POSITIONS
from idfsr_jax.interop.arcface_weights import arcface_name
from idfsr_jax.io.errors import InputError
from idfsr_jax.method.spline import similarity_transform
from idfsr_jax.networks.id_encoder import IdEncoder, identity_of
from idfsr_jax.networks.resample import sample_bilinear
from idfsr_jax.restore.restorer import Restorer

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
      digest: of its file's content; empty of those that come with the package, whose name tells them.
    """

    name: str
    embed: Embed
    same_as_condition: bool = False
    digest: str = ""

    @property
    def title(self) -> str:
        """The name, with the warning where one is due."""
        return f"{self.name} (same network as the condition)" if self.same_as_condition else self.name


def load_judges(names: Sequence[str], restorer: Restorer) -> list[Judge]:
    """The judges of a config.

    Args:
      names: those of the model's own recognisers, as `model.recognisers` has them, or the paths of ONNX recognisers.
      restorer: of the model that is evaluated.

    Raises:
      InputError: there is no such judge, two have one name, or onnxruntime is missing.
    """
    centers = np.split(restorer.model.center, np.cumsum(restorer.sizes)[:-1])
    own = dict(zip(restorer.config.model.recognisers, zip(restorer.recognisers, centers, strict=True), strict=True))
    judges = [encoder_judge(*own[name]) if name in own else onnx_judge(name, restorer.recognisers) for name in names]
    if not judges or len({judge.name for judge in judges}) < len(judges):
        raise InputError(f"evaluate.judges={list(names)}: give one or more judges of different names.")
    return judges


def encoder_judge(encoder: IdEncoder, center: Float[np.ndarray, " d"]) -> Judge:
    """A recogniser of the condition, around its centre."""
    identify = jax.jit(identity_of)
    center = jnp.asarray(center)  # type: ignore[assignment]
    embed = lambda images, landmarks: np.asarray(  # noqa: E731
        identify(encoder, jnp.asarray(images), jnp.asarray(landmarks), center)
    )
    return Judge(encoder.name, embed, same_as_condition=True)


def onnx_judge(path: str | Path, recognisers: Sequence[IdEncoder] = ()) -> Judge:
    """A face recogniser in an ONNX file that takes 112 px RGB chips in [-1, 1], as ArcFace's and AdaFace's do.

    Args:
      path: the file; its name without the ending is the judge's name.
      recognisers: the model's, one of which the judge may be.

    Raises:
      InputError: the file is missing or not such a network, or onnxruntime is not installed.
    """
    run = open_network(path, ARCFACE_SIDE, "a face recogniser")

    def embed(images: Float[np.ndarray, "b s s 3"], landmarks: Float[np.ndarray, "b 68 2"]) -> np.ndarray:
        vectors = run(np.asarray(_arcface_chips(jnp.asarray(images), jnp.asarray(landmarks))).transpose(0, 3, 1, 2))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    same = arcface_name(path) in [recogniser.name for recogniser in recognisers]
    return Judge(Path(path).stem, embed, same, hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16])


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


def open_network(path: str | Path, side: int, kind: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures, [b, 3, side, side], to one row of numbers each, run by onnxruntime.

    Args:
      path: the ONNX file, which the user brings.
      side: of the square RGB pictures that it takes, [batch, 3, side, side].
      kind: what it should be, for complaints: "a face recogniser".

    Raises:
      InputError: the file is missing or not such a network, or onnxruntime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such ONNX file; give the path of {kind}.")
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"{path}: needs onnxruntime; install it (`pip install onnxruntime`).") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class for what it raises on a bad file
        raise InputError(f"{path}: onnxruntime cannot read it; give {kind} in ONNX.") from error
    entry = session.get_inputs()[0]
    # A free axis is a name or None; a fixed one must fit.
    sides = zip(entry.shape[1:], (3, side, side), strict=False)
    if len(entry.shape) != 4 or any(isinstance(given, int) and given != wanted for given, wanted in sides):
        raise InputError(f"{path}: takes {entry.shape}, not [batch, 3, {side}, {side}]; give {kind} that does.")

    def run(pictures: Float[np.ndarray, "b 3 h w"]) -> Float[np.ndarray, "b d"]:
        # One by one: many exported files have a fixed batch of one.
        inputs = (np.ascontiguousarray(picture[None], np.float32) for picture in pictures)
        rows = [session.run(None, {entry.name: each})[0].reshape(-1) for each in inputs]
        return np.stack(rows).astype(np.float32)

    return run
