"""One training step of the denoiser: a pure function of state, batch and seed."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import enlarge_mixed
from idfsr_jax.diffusion.loss import v_loss
from idfsr_jax.diffusion.schedule import alpha_sigma, draw_log_snr, q_sample, x0_from_v
from idfsr_jax.models.condition import Condition, drop, make_condition
from idfsr_jax.models.denoiser import denoiser_of
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.networks.chips import moved_landmarks
from idfsr_jax.networks.id_encoder import identity_of, unit_identity
from idfsr_jax.networks.perceptual import STRIDE, perceptual_distance, shifted
from idfsr_jax.networks.resample import smoothed
from idfsr_jax.pictures import to_float
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.mesh import microbatches
from idfsr_jax.training.rollout import rolled_out
from idfsr_jax.training.state import TrainState, apply_gradients, ema_decay


@flax.struct.dataclass
class Frozen:
    """What the denoiser's training needs and never changes.

    Attributes:
      landmark_net: parameters of LandmarkNet.
      encoder: parameters of the ID encoder, or None where the identity loss is off.
      center: mean raw descriptor of the training people, [D].
      perceptual: parameters of LPIPS, or None where its loss is off.
    """

    landmark_net: Any
    encoder: Any
    center: Float[Array, " d"]
    perceptual: Any = None


def condition_of(
    batch: Mapping[str, Array], frozen: Frozen, config: Config, key: PRNGKeyArray
) -> tuple[Float[Array, "b s s 3"], Condition]:
    """Degrades the targets of a batch and builds the condition exactly as it will be built at use time.

    The landmarks come from LandmarkNet's view of the degraded picture, not from the truth, so that the denoiser learns
    to live with their errors.

    Returns:
      The targets in [-1, 1], and their condition.
    """
    target, reference = to_float(batch["target"]), to_float(batch["reference"])
    degrade_key, noise_key = jax.random.split(key)
    y_up = enlarge_mixed(degrade_key, target, batch["scale"], config.data.scales, config.data.degradation)
    landmarks = estimate_landmarks(frozen.landmark_net, y_up, config.landmarks)
    identity = unit_identity(batch["embedding"], frozen.center)
    if config.data.embedding_noise > 0:
        spread = config.data.embedding_noise / identity.shape[-1] ** 0.5
        identity = identity + spread * jax.random.normal(noise_key, identity.shape)
        identity = identity / jnp.linalg.norm(identity, axis=-1, keepdims=True)
    scale = jnp.asarray(config.data.scales, jnp.float32)[batch["scale"]]
    condition = make_condition(y_up, landmarks, reference, batch["reference_landmarks"], identity, scale, config.model)
    return target, jax.lax.stop_gradient(condition)


def identity_loss(
    x0: Float[Array, "b s s 3"],
    truth: Float[Array, "b d"],
    landmarks: Float[Array, "b 68 2"],
    frozen: Frozen,
    log_snr: Float[Array, " b"],
) -> Float[Array, " b"]:
    """1 - cos of the identities of estimate and truth, times sqrt(alpha_bar) as in ReF-LDM (Hsiao et al. 2024).

    Args:
      x0: the estimates, in [-1, 1].
      truth: unit identities of the true pictures.
      landmarks: by which the encoder sees the estimates, unit coordinates.
      frozen: encoder and identity centre.
      log_snr: noise level of each estimate.
    """
    estimated = identity_of(frozen.encoder, x0, landmarks, frozen.center)
    alpha, _ = alpha_sigma(log_snr)
    return alpha * (1.0 - jnp.sum(estimated * truth, axis=-1))


@flax.struct.dataclass
class Examples:
    """All that the loss of a batch is computed from, every random number drawn; each array begins with the axis b.

    Attributes:
      x0: the targets in [-1, 1].
      noise: what they are noised with.
      log_snr: noise level of each.
      condition: of each, in pixels.
      descriptor: raw, of each target.
      seen_at: landmarks by which a recogniser sees each: those of the target, or moved by chance; unit coordinates.
      shift: by how many pixels LPIPS sees each picture moved.
    """

    x0: Float[Array, "b s s 3"]
    noise: Float[Array, "b side side c"]
    log_snr: Float[Array, " b"]
    condition: Condition
    descriptor: Float[Array, "b d"]
    seen_at: Float[Array, "b 68 2"]
    shift: Int[Array, "b 2"]


def draw_examples(batch: Mapping[str, Array], frozen: Frozen, config: Config, key: PRNGKeyArray) -> Examples:
    """Degrades a batch, and draws its noise.

    Always the whole batch, in whatever parts its loss is computed: who is given which noise must not depend on them.
    """
    condition_key, time_key, noise_key, drop_key, shift_key, move_key = jax.random.split(key, 6)
    x0, condition = condition_of(batch, frozen, config, condition_key)
    condition = drop(condition, drop_key, config.diffusion.condition_dropout)
    side = config.model.diffused_side(x0.shape[1])
    log_snr = draw_log_snr(time_key, x0.shape[0], side, config.diffusion)
    noise = jax.random.normal(noise_key, (x0.shape[0], side, side, config.model.diffused_channels))
    shift = jax.random.randint(shift_key, (x0.shape[0], 2), 0, STRIDE)
    seen_at = moved_landmarks(move_key, batch["target_landmarks"], config.train.identity_movement)
    return Examples(x0, noise, log_snr, condition, batch["target_embedding"], seen_at, shift)


def on_course(params: Any, examples: Examples, frozen: Frozen, config: Config, key: PRNGKeyArray) -> Examples:
    """The same examples, every `judged_every`-th of them at a state of the sampler's own course; see `rollout`."""
    every = config.train.judged_every
    part: Any = lambda z: z[::every]  # noqa: E731
    x0, condition = part(examples.x0), jax.tree.map(part, examples.condition)
    noise, log_snr = rolled_out(params, x0, part(examples.noise), condition, config, key)
    return examples.replace(  # type: ignore[attr-defined]
        noise=examples.noise.at[::every].set(noise), log_snr=examples.log_snr.at[::every].set(log_snr)
    )


def examples_loss(
    params: Any, examples: Examples, frozen: Frozen, config: Config
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The training loss of some examples, with its parts."""
    log_snr = examples.log_snr
    x0, condition = examples.x0, examples.condition
    x_t = q_sample(x0, examples.noise, log_snr)
    v = denoiser_of(config).apply({"params": params}, x_t, log_snr, condition)
    train, every = config.train, config.train.judged_every
    squared = v_loss(v, x0, examples.noise, log_snr, config.diffusion.min_snr_gamma)
    # Off the course there is no noise that was mixed in, and so no v that was missed.
    noised = jnp.arange(squared.shape[0]) % every > 0 if train.rollout_fraction > 0 else None
    loss = jnp.mean(squared, where=noised)
    parts = {"v_loss": loss}
    if train.identity_loss > 0 or train.rollout_fraction > 0:
        # Evenly spread noise levels are ordered within the batch, so a stride takes a fair share of them.
        part = lambda z: z[::every]  # noqa: E731
        estimate = x0_from_v(part(x_t), part(v), part(log_snr))
        estimate, target = jnp.clip(estimate, -1.0, 1.0), part(x0)
        alpha, _ = alpha_sigma(part(log_snr))
        if train.rollout_fraction > 0:
            parts["pixel_loss"] = jnp.mean(jnp.square(estimate - target))
            loss = loss + train.pixel_loss * parts["pixel_loss"]
        if frozen.perceptual is not None:
            moved = (shifted(each, part(examples.shift)) for each in (estimate, target))
            parts["perceptual_loss"] = jnp.mean(alpha * perceptual_distance(frozen.perceptual, *moved))
            loss = loss + train.perceptual_loss * parts["perceptual_loss"]
        if train.identity_loss > 0:
            truth = unit_identity(part(examples.descriptor), frozen.center)
            seen = smoothed(estimate, train.identity_smoothing)
            lost = identity_loss(seen, truth, part(examples.seen_at), frozen, part(log_snr))
            parts["identity_loss"] = lost.mean()
            loss = loss + train.identity_loss * parts["identity_loss"]
    return loss, parts | {"loss": loss}


def mean_gradients(
    params: Any, examples: Examples, frozen: Frozen, config: Config
) -> tuple[Any, dict[str, Float[Array, ""]]]:
    """Gradients of the loss of all examples, and its parts, computed `train.accumulate` parts of them one by one.

    Equal to those of all at once but for rounding, as every part has as many examples, and as many that are
    judged.
    """
    count = config.train.accumulate
    gradients_of = jax.grad(examples_loss, has_aux=True)
    if count == 1:
        return gradients_of(params, examples, frozen, config)

    # Bare arrays: stacked, the parts have an axis more than the types of `Examples` say.
    arrays, structure = jax.tree.flatten(examples)
    parts = microbatches(arrays, count, config.train.judged_every)

    def gradients_of_part(part: list[Array]) -> tuple[Any, dict[str, Array]]:
        return gradients_of(params, jax.tree.unflatten(structure, part), frozen, config)

    def add(total: Any, part: list[Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradients_of_part(part)), None

    shapes = jax.eval_shape(lambda: gradients_of_part([array[0] for array in parts]))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda leaf: leaf / count, total)


def train_step(
    state: TrainState,
    batch: Mapping[str, Array],
    frozen: Frozen,
    *,
    config: Config,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One step; jit it with `config` and `optimizer` closed over and the state donated."""
    key = step_key(config.train.seed, "train", state.step)
    examples = draw_examples(batch, frozen, config, key)
    if config.train.rollout_fraction > 0:
        course_key = step_key(config.train.seed, "course", state.step)
        examples = on_course(state.params, examples, frozen, config, course_key)
    gradients, metrics = mean_gradients(state.params, examples, frozen, config)
    decay = ema_decay(state.step, batch["target"].shape[0], config.train.ema_halflife_images)
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    return apply_gradients(state, gradients, optimizer, decay), metrics
