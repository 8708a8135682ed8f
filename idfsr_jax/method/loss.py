"""The training loss: every term that is asked of the estimates.

Of noised photographs v is to be predicted. Estimates on the sampler's own course are judged as the pictures that they
are to become: by pixels, by LPIPS, by who is seen.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.diffusion.schedule import (
    alpha_sigma,
    min_snr_weight,
    q_sample,
    v_from_x0_and_noise,
    x0_from_v,
)
from idfsr_jax.method.denoiser import denoiser_of
from idfsr_jax.method.examples import Examples, Frozen, noised_count
from idfsr_jax.networks.chips import face_chips
from idfsr_jax.networks.id_encoder import chip_descriptors
from idfsr_jax.networks.perceptual import perceptual_distance, shifted
from idfsr_jax.networks.recognisers import dimensions, split_parts, unit_parts
from idfsr_jax.networks.resample import smoothed


def training_loss(
    params: Any,
    examples: Examples,
    diffused: Examples,
    noise: Float[Array, "b s s c"],
    log_snr: Float[Array, " b"],
    frozen: Frozen,
    config: Config,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss of a batch, with its parts.

    Args:
      params: of the denoiser.
      examples: of `examples.draw_examples`; the first `noised_count` are noised, the rest are on the sampler's course.
      diffused: they `as_diffused`.
      noise: of the first their own, of the rest that of `examples.course_states`.
      log_snr: likewise.
      frozen: networks that judge.
      config: weights of the terms.
    """
    count = noised_count(examples.x0.shape[0], config)
    x_t = q_sample(diffused.x0, noise, log_snr)
    network = denoiser_of(config, dimensions(frozen.recognisers))
    v = network.apply({"params": params}, x_t, log_snr, diffused.condition)
    of_v = v_error(v[:count], diffused, noise[:count], log_snr[:count], config.diffusion.min_snr_gamma)
    if count == examples.x0.shape[0]:
        return of_v, {"v_loss": of_v, "loss": of_v}
    estimate = x0_from_v(x_t[count:], v[count:], log_snr[count:])
    judged = jax.tree.map(lambda rows: rows[count:], examples)
    loss, parts = picture_loss(estimate, judged, log_snr[count:], frozen, config)
    return of_v + loss, parts | {"v_loss": of_v, "loss": of_v + loss}


def picture_loss(
    estimate: Float[Array, "h side side c"],
    judged: Examples,
    log_snr: Float[Array, " h"],
    frozen: Frozen,
    config: Config,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """What is asked of estimates on the sampler's course, which are to become pictures; with its parts.

    Args:
      estimate: of x0, as it is diffused.
      judged: the examples that they are of, in pixels.
      log_snr: noise level of the state that each was made from; the later a state, the more its estimate counts (by
        alpha, as in ReF-LDM, Hsiao et al. 2024).
      frozen: networks that judge.
      config: weights of the terms; networks of weight 0 do not look.
    """
    train = config.train
    if frozen.autoencoder is not None:
        from idfsr_jax.latent.space import to_pixels

        estimate = to_pixels(estimate, frozen.autoencoder)
    # What was not photographed is not to be judged: there the estimate is shown as the target.
    estimate = judged.inside * jnp.clip(estimate, -1.0, 1.0) + (1.0 - judged.inside) * judged.x0
    alpha = alpha_sigma(log_snr)[0]
    parts = {"pixel_loss": jnp.mean(jnp.square(estimate - judged.x0))}
    loss = train.pixel_loss * parts["pixel_loss"]
    if train.perceptual_loss > 0:
        moved = (shifted(each, judged.shift) for each in (estimate, judged.x0))
        parts["perceptual_loss"] = jnp.mean(alpha * perceptual_distance(frozen.perceptual, *moved))
        loss = loss + train.perceptual_loss * parts["perceptual_loss"]
    identity, contrast = identity_losses(estimate, judged, frozen, config)
    told = alpha * judged.bare
    for recogniser, weight, each in zip(frozen.recognisers, train.identity_losses, identity, strict=True):
        if weight > 0:
            parts[f"identity_loss_{recogniser.name}"] = jnp.mean(told * each)
            loss = loss + weight * jnp.mean(told * each)
    parts["contrastive_loss"] = jnp.mean(told * contrast)
    return loss + train.contrastive_loss * parts["contrastive_loss"], parts


def v_error(
    v: Float[Array, "h s s c"],
    examples: Examples,
    noise: Float[Array, "h s s c"],
    log_snr: Float[Array, " h"],
    gamma: float,
) -> Float[Array, ""]:
    """Mean squared error of v under min-SNR weights (Hang et al. 2023), where something was photographed."""
    count = v.shape[0]
    error = jnp.square(v - v_from_x0_and_noise(examples.x0[:count], noise, log_snr))
    return jnp.mean(min_snr_weight(log_snr, gamma) * jnp.mean(examples.inside[:count] * error, axis=(1, 2, 3)))


def identity_losses(
    estimate: Float[Array, "h s s 3"], judged: Examples, frozen: Frozen, config: Config
) -> tuple[list[Float[Array, " h"]], Float[Array, " h"]]:
    """How far the estimates are from being told for their persons, by each recogniser, and against strangers.

    1 - (1 - l) cos(estimate, truth) - l cos(estimate, mean of the person's other photographs): the truth has the
    moment, the mean has the person. And InfoNCE (van den Oord et al. 2018) of the last recogniser's vector against the
    mean embeddings of all training people: -log softmax(cos / temperature) of the right one.

    Args:
      estimate: pictures, [-1, 1].
      judged: the examples that they are of.
      frozen: recognisers.
      config: weights; recognisers of weight 0 do not look.
    """
    sizes = dimensions(frozen.recognisers)
    seen = smoothed(estimate, config.train.identity_smoothing)
    centers, people = split_parts(frozen.center, sizes), split_parts(frozen.people, sizes)
    truths, others = split_parts(judged.truth, sizes), split_parts(judged.others, sizes)
    losses, contrast = [], jnp.zeros(estimate.shape[0])
    for i, recogniser in enumerate(frozen.recognisers):
        if config.train.identity_losses[i] == 0:
            losses.append(jnp.zeros(estimate.shape[0]))
            continue
        chips = face_chips(seen, judged.seen_at, recogniser.chip)
        chips = jnp.where(judged.mirrored[:, None, None, None] > 0, chips[:, :, ::-1], chips)
        (found,) = unit_parts(chip_descriptors(recogniser, chips), centers[i], sizes[i : i + 1])
        share = judged.towards_others
        truth, other = jnp.sum(found * truths[i], axis=-1), jnp.sum(found * others[i], axis=-1)
        losses.append(1.0 - (1.0 - share) * truth - share * other)
        logits = found @ people[i].T / config.train.contrastive_temperature
        contrast = -jnp.take_along_axis(jax.nn.log_softmax(logits), judged.person[:, None], axis=1)[:, 0]
    return losses, contrast
