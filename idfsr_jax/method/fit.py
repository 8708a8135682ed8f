"""Fitting one person: every weight frozen, only the ID embedding moves (IDFSR's second stage)."""

from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, UInt8

from idfsr_jax.config import Config
from idfsr_jax.diffusion.schedule import q_sample, x0_from_v
from idfsr_jax.method.denoiser import denoiser_of
from idfsr_jax.method.examples import Frozen, as_diffused, course_states, draw_examples
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import MEAN_SHAPE, person_shape
from idfsr_jax.method.loss import picture_loss
from idfsr_jax.method.references import nearest_first
from idfsr_jax.networks.recognisers import dimensions, split_parts
from idfsr_jax.runtime.randomness import step_key

_MOMENTUM = 0.8
"""Share of the steps before in the direction of each."""


@flax.struct.dataclass
class Album:
    """A person's photographs as a fit sees them, filled up to a length that several people share.

    Attributes:
      images: canonical crops, RGB.
      landmarks: their 68 points, unit coordinates.
      frames: `face.align.photograph_frame` of each.
      units: unit vectors of each by all recognisers.
      others: the mean of the other photographs' unit vectors; of the only one its own.
      shapes: `person_shape` of the other photographs.
      order: the other photographs, nearest in pose and expression first.
      present: which of `order` there are.
      count: how many photographs there are.
    """

    images: UInt8[np.ndarray | Array, "*p k s s 3"]
    landmarks: Float32[np.ndarray | Array, "*p k 68 2"]
    frames: Float32[np.ndarray | Array, "*p k 2 3"]
    units: Float32[np.ndarray | Array, "*p k d"]
    others: Float32[np.ndarray | Array, "*p k d"]
    shapes: Float32[np.ndarray | Array, "*p k 68 2"]
    order: Int[np.ndarray | Array, "*p k r"]
    present: Float32[np.ndarray | Array, "*p k r"]
    count: Int[np.ndarray | Array, "*p"]


def make_album(
    images: UInt8[np.ndarray, "k s s 3"],
    landmarks: Float[np.ndarray, "k 68 2"],
    frames: Float[np.ndarray, "k 2 3"],
    units: Float[np.ndarray, "k d"],
    sizes: tuple[int, ...],
    references: int,
    length: int = 1,
) -> Album:
    """An album of one person.

    Args:
      images: canonical crops.
      landmarks: unit coordinates.
      frames: of the crops.
      units: unit vectors by all recognisers.
      sizes: length of each recogniser's part.
      references: places for references.
      length: photographs that it is filled up to, at the least.
    """
    count = len(images)
    ranked = [nearest_first(points, landmarks) for points in landmarks]
    order = np.stack([each[each != i][:references] for i, each in enumerate(ranked)])
    present = np.zeros((count, references), np.float32)
    present[:, : order.shape[1]] = 1.0
    order = np.pad(order, ((0, 0), (0, references - order.shape[1])))
    rest = [np.delete(np.arange(count), i) if count > 1 else np.array([i]) for i in range(count)]
    others = np.stack([unit_parts(units[each].mean(axis=0), sizes) for each in rest])
    shapes = np.stack([person_shape(landmarks[each]) if count > 1 else MEAN_SHAPE for each in rest])
    fill = np.arange(max(length, count)) % count
    return Album(
        images=images[fill],
        landmarks=landmarks[fill],
        frames=frames[fill],
        units=units[fill],
        others=others[fill],
        shapes=shapes[fill],
        order=order[fill].astype(np.int32),
        present=present[fill],
        count=np.array(count, np.int32),
    )


def make_fit_optimizer(config: Config) -> optax.GradientTransformation:
    """Steps of a given length along the averaged gradient, of each recogniser's part of e, and none of the weights.

    Adam would give each number of e as long a step, whether its gradient says something or is noise, and so leads away
    from the person (configs/lfw128.py has the figures). `optax.partition` and not `optax.masked`, which would pass the
    raw gradient of the weights through.
    """
    length = optax.cosine_decay_schedule(config.fit.learning_rate, max(config.fit.steps, 1), alpha=0.1)
    of_length_1 = optax.stateless_with_tree_map(lambda part, _: part / jnp.maximum(jnp.linalg.norm(part), 1e-12))
    descent = optax.chain(optax.trace(_MOMENTUM), of_length_1, optax.scale_by_learning_rate(length))
    return optax.partition(
        {"fit": descent, "frozen": optax.set_to_zero()}, {"id_embedding": "fit", "denoiser": "frozen"}
    )


def fit_loss(
    identity: Float[Array, " d"], denoiser: Any, album: Album, frozen: Frozen, config: Config, key: Array
) -> Float[Array, ""]:
    """The loss of training, on photographs of the person, each guided by the others; on the sampler's course.

    Args:
      identity: e, which is fitted.
      denoiser: parameters.
      album: the photographs.
      frozen: networks that judge.
      config: the model's; `config.fit` says how to fit.
      key: of this step.
    """
    target_key, example_key, course_key = jax.random.split(key, 3)
    b = config.fit.batch
    # Every photograph in turn, from one that is drawn.
    target = (jax.random.randint(target_key, (), 0, album.count) + jnp.arange(b)) % album.count
    chosen = album.order[target]
    batch = {
        "target": album.images[target],
        "target_landmarks": album.landmarks[target],
        "target_frame": album.frames[target],
        "references": album.images[chosen],
        "reference_landmarks": album.landmarks[chosen],
        "reference_frames": album.frames[chosen],
        "present": album.present[target],
        "reference_identities": album.units[chosen],
        "identity": jnp.broadcast_to(jax.lax.stop_gradient(identity), (b, identity.shape[0])),
        "truth": album.units[target],
        "others": album.others[target],
        "several": jnp.full((b,), (album.count > 1).astype(jnp.float32)),
        "shape": album.shapes[target],
        "known": jnp.full((b,), (album.count > 1).astype(jnp.float32)),
        # Of no training person: nobody is told from strangers here.
        "person": jnp.zeros((b,), jnp.int32),
    }
    examples = draw_examples(batch, frozen, config, example_key)
    diffused, sizes = as_diffused(examples, frozen.autoencoder), dimensions(frozen.recognisers)

    def with_identity(identity: Float[Array, " d"]) -> Any:
        same = jnp.broadcast_to(identity, (b, identity.shape[0]))
        return diffused.condition.replace(identity=same, identity_present=jnp.ones(b))  # type: ignore[attr-defined]

    seen = diffused.replace(condition=with_identity(jax.lax.stop_gradient(identity)))  # type: ignore[attr-defined]
    noise, log_snr = jax.lax.stop_gradient(course_states(denoiser, seen, sizes, config, course_key))
    x_t = q_sample(diffused.x0, noise, log_snr)
    v = denoiser_of(config, sizes).apply({"params": denoiser}, x_t, log_snr, with_identity(identity))
    loss, _ = picture_loss(x0_from_v(x_t, v, log_snr), examples, log_snr, frozen, config)
    return loss


def within(identity: Float[Array, " d"], start: Float[Array, " d"], bound: float) -> Float[Array, " d"]:
    """Pulls an ID embedding back to at most `bound` from its start, in Euclidean distance.

    MyStyle (Nitzan et al. 2022) bounds its own so, against over-fitting.
    """
    away = identity - start
    return start + away * jnp.minimum(1.0, bound / jnp.maximum(jnp.linalg.norm(away), 1e-12))


@partial(jax.jit, static_argnames="config")
def fit(
    start: Float[Array, " d"], album: Album, denoiser: Any, frozen: Frozen, config: Config
) -> tuple[Float[Array, " d"], Float[Array, " steps"]]:
    """Fits the ID embedding of one person, in one compiled loop; `vmap` over `start` and `album` fits several.

    Args:
      start: the mean of the photographs' unit vectors.
      album: 1 to 20 photographs.
      denoiser: its parameters; not changed, and no gradient of them is computed.
      frozen: networks that judge; not changed.
      config: static; `config.fit` says how to fit.

    Returns:
      e, a little off unit length, and the loss of every step.
    """
    optimizer = make_fit_optimizer(config)
    sizes = dimensions(frozen.recognisers)
    variables = {"id_embedding": split_parts(start, sizes), "denoiser": denoiser}
    nothing = jax.tree.map(jnp.zeros_like, denoiser)  # never computed: the partition reads none of it

    def step(carry: tuple[Array, Any], index: Int[Array, ""]) -> tuple[tuple[Array, Any], Array]:
        identity, opt_state = carry
        key = step_key(config.fit.seed, "fit", index)
        loss, gradient = jax.value_and_grad(fit_loss)(identity, denoiser, album, frozen, config, key)
        with jax.numpy_dtype_promotion("standard"):  # strict forbids Optax to raise floats to an int32 count
            gradients = {"id_embedding": split_parts(gradient, sizes), "denoiser": nothing}
            updates, opt_state = optimizer.update(gradients, opt_state, variables)
        moved = identity + jnp.concatenate(updates["id_embedding"])  # type: ignore[index]
        return (within(moved, start, config.fit.max_distance), opt_state), loss

    (identity, _), losses = jax.lax.scan(step, (start, optimizer.init(variables)), jnp.arange(config.fit.steps))
    return identity, losses
