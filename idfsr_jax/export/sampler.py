"""The whole restoration of a small face as one function of arrays, and that function as an artifact.

What `Restorer.restore` does from the LR crop on: clean it, enlarge it, find the landmarks, choose the references that
are nearest in pose and expression, mask, warp, sample, and round to 8 bits. No step of it is left to whoever calls the
artifact.
"""

from functools import partial
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Float32, Int, Num, UInt8

from idfsr_jax.config import Config
from idfsr_jax.io.images import to_float
from idfsr_jax.method.cleaning import cleaned, read_input_cleaner
from idfsr_jax.method.condition import References
from idfsr_jax.method.degrade import enlarge
from idfsr_jax.method.guidance import Guide
from idfsr_jax.method.model import Model
from idfsr_jax.method.sample import Agreement, consistency_at, sample_pictures, smooth_inverse
from idfsr_jax.networks.recognisers import Recognisers
from idfsr_jax.restore.conditions import condition_among, tables_of
from idfsr_jax.restore.sampling import starting_noise

PLATFORMS = ("cpu", "cuda", "tpu")


def restore_faces(
    weights: dict[str, Any],
    y: UInt8[Array, "b m m 3"],
    n: Int[Array, " b"],
    shape: Float[Array, "b 68 2"],
    references: UInt8[Array, "b k s s 3"],
    landmarks: Float[Array, "b k 68 2"],
    frames: Float[Array, "b k 2 3"],
    units: Float[Array, "b k d"],
    present: Float[Array, "b k"],
    identity: Float[Array, "b d"],
    start: Float[Array, "b d"],
    reveal: Float[Array, ""],
    consistency: Float[Array, ""],
    seed: Num[Array, ""],
    *,
    config: Config,
    sizes: tuple[int, ...],
    recognisers: Recognisers,
) -> UInt8[Array, "b s s 3"]:
    """Restores faces of any width; to be compiled or exported with what is static closed over.

    Args:
      weights: of `flat_weights`.
      y: LR crops, each in the upper left corner of m = S / 2 pixels.
      n: widths of the LR crops, 4 to m pixels.
      shape: proportions of each person's face, `landmarks.person_shape`.
      references: k photographs of each person, canonical crops; the nearest `config.model.references` are used.
      landmarks: of the references, unit coordinates.
      frames: `face.align.photograph_frame` of each.
      units: unit vectors of each by all recognisers.
      present: 1, or 0 where there is no photograph.
      identity: fitted unit vectors.
      start: the same before the fit.
      reveal: how much of the LR face the denoiser is shown, 0 to 1.
      consistency: strength of the projection onto pictures that down-sample to y, 0 to 1; below 0 as the model was
        made for, to y cleaned, each as far as that is to be trusted.
      seed: uint32, of the noise, which is the same for all faces.
      config: static.
      sizes: length of each recogniser's part of the identity; static.
      recognisers: the guide's, whose parameters are those of `weights`; static.
    """
    size, tables = config.data.size, tables_of(config.data.size)
    networks: Any = flax.traverse_util.unflatten_dict(weights, sep="/")
    given = to_float(y)
    clean, trust = cleaned(networks["input_cleaner"], given, n)
    condition, _ = condition_among(
        networks["landmark_net"],
        enlarge(clean, n, tables),
        n.astype(jnp.float32),
        shape,
        References(to_float(references), landmarks, frames, present, units),
        identity,
        start,
        jnp.broadcast_to(reveal, n.shape),
        config,
    )
    inverses = np.stack([smooth_inverse(tables.least + index, tables) for index in range(len(tables.up))])
    places = n - tables.least
    down, up = jnp.asarray(tables.down[0])[places], jnp.asarray(inverses)[places]
    own = consistency < 0.0
    widths = range(tables.least, tables.least + len(tables.up))
    strongest = np.array([consistency_at(width, config.sample.consistency) for width in widths], np.float32)
    goal, strength = jnp.where(own, clean, given), jnp.where(own, jnp.asarray(strongest)[places] * trust, consistency)
    agreement = Agreement(goal, down, up, strength)
    noise = jnp.broadcast_to(starting_noise(jax.random.key(seed), 0, (size, size, 3)), condition.hidden.shape)
    looking = [each.replace(params=networks["guide"][each.name]) for each in recognisers]  # type: ignore[attr-defined]
    guide = Guide(tuple(looking), networks["guide_center"])
    restored = sample_pictures(
        networks["denoiser"],
        condition,
        noise,
        config,
        sizes,
        agreement,
        guide=guide,
        finish=networks.get("finish"),  # not every model has one
    )
    return jnp.clip((restored + 1.0) * 127.5 + 0.5, 0.0, 255.0).astype(jnp.uint8)


def flat_weights(model: Model, guide: Guide) -> dict[str, Float32[np.ndarray, "..."]]:
    """Weights of all networks by their paths (`denoiser/unet/...`), the artifact's first argument."""
    tree = {
        "denoiser": model.denoiser,
        "landmark_net": model.landmark_net,
        "guide": {recogniser.name: recogniser.params for recogniser in guide.recognisers},
        "guide_center": guide.center,
        "input_cleaner": read_input_cleaner(),
    }
    if model.finish is not None:
        tree["finish"] = model.finish
    return {name: np.asarray(leaf, np.float32) for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}


def input_shapes(config: Config, sizes: tuple[int, ...], batch: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of the artifact's inputs, in their order after the weights.

    The number of photographs is free, and of faces where `batch` is None. From `shape` to `start` they tell of the
    person, as they lie in `person.safetensors`.
    """
    size, width = config.data.size, sum(sizes)
    b, k = export.symbolic_shape("b, k") if batch is None else (batch, *export.symbolic_shape("k"))
    shapes: dict[str, tuple[tuple[Any, ...], Any]] = {
        "y": ((b, size // 2, size // 2, 3), jnp.uint8),
        "n": ((b,), jnp.int32),
        "shape": ((b, 68, 2), jnp.float32),
        "references": ((b, k, size, size, 3), jnp.uint8),
        "landmarks": ((b, k, 68, 2), jnp.float32),
        "frames": ((b, k, 2, 3), jnp.float32),
        "units": ((b, k, width), jnp.float32),
        "present": ((b, k), jnp.float32),
        "identity": ((b, width), jnp.float32),
        "start": ((b, width), jnp.float32),
        "reveal": ((), jnp.float32),
        "consistency": ((), jnp.float32),
        "seed": ((), jnp.uint32),
    }
    return {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}


def export_sampler(
    model: Model, guide: Guide, config: Config, sizes: tuple[int, ...], batch: int | None = None
) -> export.Exported:
    """`restore_faces` for CPU, CUDA and TPU.

    All that it calls outside of StableHLO (the factorisation of the warp's linear system) is among what JAX promises
    to keep; `jax.export` refuses anything else.

    Args:
      model: whose weights' shapes count.
      guide: of the model, `guidance.make_guide`.
      config: the model's, with the sampling that is wanted.
      sizes: length of each recogniser's part of the identity.
      batch: faces at once; any number if None.
    """
    weights = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in flat_weights(model, guide).items()}
    function = jax.jit(partial(restore_faces, config=config, sizes=sizes, recognisers=guide.recognisers))
    return export.export(function, platforms=PLATFORMS)(weights, *input_shapes(config, sizes, batch).values())
