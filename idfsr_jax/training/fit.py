"""Fitting one person: every weight frozen, only the identity embedding moves (IDFSR's second stage)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from idfsr_jax.config import Config, FitConfig
from idfsr_jax.data.augment import mirror_landmarks
from idfsr_jax.data.degrade import enlarge_mixed
from idfsr_jax.diffusion.loss import v_loss
from idfsr_jax.diffusion.schedule import draw_log_snr, q_sample, x0_from_v
from idfsr_jax.models.condition import make_condition
from idfsr_jax.models.denoiser import denoiser_of
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.rollout import rolled_out
from idfsr_jax.training.state import update_in_optax
from idfsr_jax.training.step import Frozen, identity_loss


@flax.struct.dataclass
class Album:
    """A person's photographs as the fit sees them.

    Attributes:
      images: canonical crops in [-1, 1].
      landmarks: their points, unit coordinates.
      identities: the unit identity of each.
    """

    images: Float[Array, "k s s 3"]
    landmarks: Float[Array, "k 68 2"]
    identities: Float[Array, "k d"]


def mean_identity(
    identities: Float[Array, "k d"], weights: Float[np.ndarray, " k"] | None = None
) -> Float[Array, " d"]:
    """Where a fit starts: the normalised mean of the unit identities of the photographs, weighted if asked for."""
    if weights is None:
        mean = identities.mean(0)
    else:
        mean = jnp.asarray(weights / weights.sum(), identities.dtype) @ identities
    return mean / jnp.linalg.norm(mean)


def fit_loss(
    variables: Any, album: Album, pairs: Int[Array, "b 2"], frozen: Frozen, config: Config, key: Array
) -> Float[Array, ""]:
    """The training loss on photographs of the person, each guided by another one of them.

    At noise levels of the schedule, or on the sampler's own course, which is what counts at use.

    Args:
      variables: {"identity": e [d], "denoiser": parameters}.
      album: the photographs.
      pairs: (target, reference) positions in the album; equal where there is one photograph only, whose mirror image
        then is the reference.
      frozen: LandmarkNet, the identity centre, and the encoder if the identity loss is on.
      config: the model's; `config.fit` says how to fit.
      key: source of scales, noise levels and noise.
    """
    scale_key, degrade_key, time_key, noise_key = jax.random.split(key, 4)
    x0 = pictures = album.images[pairs[:, 0]]
    own = (pairs[:, 0] == pairs[:, 1])[:, None, None, None]
    reference, points = album.images[pairs[:, 1]], album.landmarks[pairs[:, 1]]
    reference, points = (
        jnp.where(own, reference[:, :, ::-1], reference),
        jnp.where(own[..., 0], mirror_landmarks(points), points),
    )
    scales = config.fit.scales
    index = jax.random.randint(scale_key, (x0.shape[0],), 0, len(scales))
    y_up = enlarge_mixed(degrade_key, x0, index, scales, config.data.degradation)
    landmarks = estimate_landmarks(frozen.landmark_net, y_up, config.landmarks)
    identity = jnp.broadcast_to(variables["identity"], (x0.shape[0], variables["identity"].shape[0]))
    scale = jnp.asarray(scales, jnp.float32)[index]
    condition = make_condition(y_up, landmarks, reference, points, identity, scale, config.model)  # type: ignore[arg-type]
    noise = jax.random.normal(noise_key, x0.shape)
    if config.fit.on_course:
        denoiser, seen = jax.lax.stop_gradient((variables["denoiser"], condition))
        noise, log_snr = rolled_out(denoiser, x0, noise, seen, config, time_key)
    else:
        log_snr = draw_log_snr(time_key, x0.shape[0], x0.shape[1], config.diffusion)
    x_t = q_sample(x0, noise, log_snr)
    v = denoiser_of(config).apply({"params": variables["denoiser"]}, x_t, log_snr, condition)
    estimate = jnp.clip(x0_from_v(x_t, v, log_snr), -1.0, 1.0)  # type: ignore[arg-type]
    if config.fit.on_course:
        loss = config.fit.pixel_loss * jnp.mean(jnp.square(estimate - pictures), axis=(1, 2, 3))
    else:
        loss = v_loss(v, x0, noise, log_snr, config.diffusion.min_snr_gamma)  # type: ignore[arg-type]
    if config.fit.identity_loss > 0:
        truth, points = album.identities[pairs[:, 0]], album.landmarks[pairs[:, 0]]
        loss += config.fit.identity_loss * identity_loss(estimate, truth, points, frozen, log_snr)
    return loss.mean()


def make_fit_optimizer(config: FitConfig) -> optax.GradientTransformation:
    """Adam on the identity, nothing on the weights.

    `optax.partition` and not `optax.masked`, which would pass the raw gradient of the weights through.
    """
    schedule = optax.cosine_decay_schedule(config.learning_rate, max(config.steps, 1), alpha=0.1)
    return optax.partition(
        {"fit": optax.adam(schedule), "frozen": optax.set_to_zero()}, {"identity": "fit", "denoiser": "frozen"}
    )


def within(identity: Float[Array, " d"], start: Float[Array, " d"], bound: float) -> Float[Array, " d"]:
    """Pulls an identity back to at most `bound` from its start (MyStyle, Nitzan et al. 2022, bounds its own so)."""
    away = identity - start
    distance = jnp.linalg.norm(away)
    return start + away * jnp.minimum(1.0, bound / jnp.maximum(distance, 1e-12))


@partial(jax.jit, static_argnames="config")
def fit_step(
    identity: Float[Array, " d"],
    opt_state: Any,
    index: Int[Array, ""],
    start: Float[Array, " d"],
    album: Album,
    pairs: Int[Array, "b 2"],
    denoiser: Any,
    frozen: Frozen,
    config: Config,
) -> tuple[Float[Array, " d"], Any, Float[Array, ""]]:
    """One step. The compiler drops the gradients of the weights, as `set_to_zero` never reads them."""
    variables = {"identity": identity, "denoiser": denoiser}
    key = step_key(config.fit.seed, "fit", index)
    loss, gradients = jax.value_and_grad(fit_loss)(variables, album, pairs, frozen, config, key)
    updates, opt_state = update_in_optax(make_fit_optimizer(config.fit), gradients, opt_state, variables)
    moved = optax.apply_updates(identity, updates["identity"])
    return within(moved, start, config.fit.max_distance), opt_state, loss  # type: ignore[arg-type]


def choose_pairs(
    rng: np.random.Generator, count: int, batch: int, weights: Float[np.ndarray, " k"] | None = None
) -> Int[np.ndarray, "b 2"]:
    """Targets and, for each, another photograph as its reference, drawn evenly; targets by their weights if given."""
    if weights is None:
        target = rng.permuted(np.tile(np.arange(count), -(-batch // count)))[:batch]
    else:
        target = rng.choice(count, batch, p=weights / weights.sum())
    other = (target + rng.integers(1, count, batch)) % count if count > 1 else target
    return np.stack([target, other], axis=1).astype(np.int32)


def fit_identity(
    start: Float[Array, " d"],
    album: Album,
    denoiser: Any,
    frozen: Frozen,
    config: Config,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    weights: Float[np.ndarray, " k"] | None = None,
) -> tuple[Float[np.ndarray, " d"], list[float]]:
    """Fits the identity of one person.

    Args:
      start: `mean_identity` of the photographs.
      album: 1 to 20 photographs.
      denoiser: its parameters; not changed.
      frozen: see `fit_loss`; not changed.
      config: the model's; `config.fit` says how to fit.
      progress: called with (step, loss) after every step.
      weights: how often each photograph is the target, relatively; equally often if not given.

    Returns:
      The fitted identity, and the loss of every step.
    """
    identity = jnp.asarray(start)
    opt_state = make_fit_optimizer(config.fit).init({"identity": identity, "denoiser": denoiser})
    losses = []
    for index in range(config.fit.steps):
        rng = np.random.default_rng((config.fit.seed, index))
        pairs = choose_pairs(rng, album.images.shape[0], config.fit.batch, weights)
        identity, opt_state, loss = fit_step(
            identity, opt_state, jnp.asarray(index, jnp.int32), start, album, pairs, denoiser, frozen, config
        )
        losses.append(float(loss))
        progress(index + 1, losses[-1])
    return np.asarray(identity), losses
