"""What a step is computed from: examples as they will be at use, and the states of the sampler's run that they pass.

A part of each batch is noised photographs. The rest is states of the sampler's own few steps, whose estimates are
judged as the pictures that they are to become. Examples are drawn in pixels; where latents are diffused, `as_diffused`
makes them.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from idfsr_jax.config import Config
from idfsr_jax.diffusion.samplers import course
from idfsr_jax.diffusion.schedule import (
    draw_log_snr,
    noise_from_x0,
)
from idfsr_jax.io.images import to_float
from idfsr_jax.method.condition import Condition, References, make_condition
from idfsr_jax.method.coverings import draw_coverings
from idfsr_jax.method.degrade import ResamplingTables, degrade, draw_degradations
from idfsr_jax.method.denoiser import denoiser_of
from idfsr_jax.method.landmarks import estimate_landmarks
from idfsr_jax.method.light import draw_light, relight
from idfsr_jax.method.warp import inside_frame, pixel_centres
from idfsr_jax.networks.chips import moved_landmarks
from idfsr_jax.networks.perceptual import STRIDE
from idfsr_jax.networks.recognisers import Recognisers, dimensions


@flax.struct.dataclass
class Frozen:
    """What training and fitting need and never change.

    Attributes:
      landmark_net: parameters of LandmarkNet.
      recognisers: whose embeddings the condition holds, and which judge.
      center: mean raw descriptor over the training people, all recognisers', [D].
      people: mean embedding of every training person, [P, D]; the strangers of the contrastive loss.
      perceptual: parameters of LPIPS.
      tables: of resampling.
      autoencoder: `latent.space.Autoencoder` of the latents that are diffused; None of pixels.
      images: all training pictures, where batches only name them (`data.on_device`).
    """

    landmark_net: Any
    recognisers: Recognisers
    center: Float[Array, " d"]
    people: Float[Array, "p d"]
    perceptual: Any
    tables: ResamplingTables
    autoencoder: Any = None
    images: UInt8[Array | np.ndarray, "n s s 3"] | None = None


@flax.struct.dataclass
class Examples:
    """All that the loss of a batch is computed from, every random number drawn; each array begins with the axis b.

    Attributes:
      x0: the targets in [-1, 1]; of `as_diffused`, maybe, their latents, as in the condition.
      inside: 1 where a target was photographed, 0 where its crop reaches beyond the photograph.
      condition: of each.
      noise: standard normal, of what is diffused.
      truth: embedding of each target.
      others: mean embedding of the person's other photographs.
      bare: 1, or 0 where something was drawn in front of the target's face, whose identity nobody then can judge.
      towards_others: how far the identity that is asked for lies towards that mean, 0 to 1.
      person: number of each one's person in `Frozen.people`.
      seen_at: landmarks by which recognisers see each, moved by chance; unit coordinates.
      mirrored: whether they see it mirrored.
      shift: by how many pixels LPIPS sees each moved.
    """

    x0: Float[Array, "b s s c"]
    inside: Float[Array, "b s s 1"]
    condition: Condition
    noise: Float[Array, "b side side channels"]
    truth: Float[Array, "b d"]
    others: Float[Array, "b d"]
    bare: Float[Array, " b"]
    towards_others: Float[Array, " b"]
    person: Int[Array, " b"]
    seen_at: Float[Array, "b 68 2"]
    mirrored: Float[Array, " b"]
    shift: Int[Array, "b 2"]


def draw_examples(batch: Mapping[str, Array], frozen: Frozen, config: Config, key: PRNGKeyArray) -> Examples:
    """Degrades the targets of a batch, and builds their condition as it will be built at use.

    Target and input are shown in one light, the references in others; something is drawn in front of some targets, to
    stay, and of some references, to be left out. The landmarks are LandmarkNet's, of the degraded picture and the
    person's shape, not the truth's, so that the denoiser learns to live with their errors.

    Args:
      batch: of `data.examples.training_examples`.
      frozen: networks and tables.
      config: the run's.
      key: of this step.
    """
    keys = jax.random.split(key, 12)
    b, k, size = batch["references"].shape[:3]
    lit = relight(to_float(batch["target"]), draw_light(keys[8], b))
    x0 = _covered(keys[9], lit, batch["target_landmarks"], config)
    bare = jnp.all(x0 == lit, axis=(1, 2, 3)).astype(jnp.float32)
    tables = frozen.tables
    least, most = tables.least, tables.down.shape[2]
    degradation = draw_degradations(keys[0], b, least=least, most=most, clean_share=config.data.clean)
    y_up, _ = degrade(x0, degradation, tables, keys[1])
    n = degradation.n.astype(jnp.float32)
    landmarks = estimate_landmarks(frozen.landmark_net, y_up, n, batch["shape"], batch["known"], config.landmarks)
    pictures = to_float(batch["references"]).reshape(b * k, size, size, 3)
    pictures = relight(pictures, draw_light(keys[10], b * k)).reshape(b, k, size, size, 3)
    nearest = _covered(keys[11], pictures[:, 0], batch["reference_landmarks"][:, 0], config)
    references = References(
        pictures.at[:, 0].set(nearest),
        batch["reference_landmarks"],
        batch["reference_frames"],
        batch["present"],
        batch["reference_identities"],
    )
    condition = make_condition(
        y_up,
        landmarks,
        references,
        batch["identity"],
        size / n,
        _draw_reveal(keys[2], b),
        patch=config.model.pixels_per_place,
        mouth=config.model.mouth,
    )
    keep = jax.random.bernoulli(keys[3], 1.0 - config.diffusion.condition_dropout, (b,))
    condition = condition.replace(identity_present=keep.astype(jnp.float32))  # type: ignore[attr-defined]
    side = config.model.diffused_side(size)
    centres = jnp.broadcast_to(jnp.asarray(pixel_centres(size)), (b, size, size, 2))
    return Examples(
        x0=x0,
        inside=inside_frame(batch["target_frame"], centres, size),
        condition=jax.lax.stop_gradient(condition),
        noise=jax.random.normal(keys[4], (b, side, side, config.model.diffused_channels)),
        truth=batch["truth"],
        others=batch["others"],
        bare=bare,
        towards_others=config.train.towards_others * batch["several"],
        person=batch["person"],
        seen_at=moved_landmarks(keys[5], batch["target_landmarks"], config.train.identity_movement),
        mirrored=jax.random.bernoulli(keys[6], 0.5, (b,)).astype(jnp.float32),
        shift=jax.random.randint(keys[7], (b, 2), 0, STRIDE),
    )


def as_diffused(examples: Examples, autoencoder: Any) -> Examples:
    """The examples as the denoiser has them: themselves, or with latents of an autoencoder in place of pixels."""
    if autoencoder is None:
        return examples
    from idfsr_jax.latent.space import encode_condition, latent_means

    condition, (x0,) = encode_condition(examples.condition, autoencoder, examples.x0)
    inside = latent_means(examples.inside, autoencoder)
    return examples.replace(x0=x0, condition=condition, inside=inside)  # type: ignore[attr-defined]


def _covered(
    key: PRNGKeyArray, images: Float[Array, "b s s 3"], landmarks: Float[Array, "b 68 2"], config: Config
) -> Float[Array, "b s s 3"]:
    """`draw_coverings`, which takes long to compile and is left out where it would draw nothing."""
    share = config.data.covered
    return draw_coverings(key, images, landmarks, share) if share > 0 else images


def _draw_reveal(key: PRNGKeyArray, batch: int) -> Float[Array, " b"]:
    """How much of each LR face is shown: of some nothing, as in the paper; of the rest evenly up to all there is."""
    nothing_key, amount_key = jax.random.split(key)
    amount = jax.random.uniform(amount_key, (batch,))
    return jnp.where(jax.random.bernoulli(nothing_key, 0.1, (batch,)), 0.0, amount)


def course_states(
    params: Any, examples: Examples, sizes: tuple[int, ...], config: Config, key: PRNGKeyArray
) -> tuple[Float[Array, "b s s c"], Float[Array, " b"]]:
    """Noise and log-SNR with which `q_sample` of the truth gives states of a sampling run, one of each example's.

    States of the learner's own making, with the right answer to each: DAgger (Ross et al. 2011). The steps take turns
    along the batch, from one that is drawn. The first of the run is left out: there the state is noise alone, and
    nothing of a picture can be judged.

    Args:
      params: of the denoiser.
      examples: of `as_diffused`.
      sizes: length of each recogniser's part of the identity.
      config: the run's.
      key: draws whose turn comes first.
    """
    network = denoiser_of(config, sizes)
    features = network.apply({"params": params}, examples.condition, method="encode")

    def denoise(x_t: Float[Array, "b s s c"], log_snr: Float[Array, " b"]) -> Float[Array, "b s s c"]:
        return network.apply({"params": params}, x_t, log_snr, examples.condition, features)

    start, side = config.sample.temperature * examples.noise, examples.x0.shape[1]
    # Latents have no bound.
    bound = math.inf if config.model.autoencoder else 1.0
    states, levels = course(denoise, start, config.sample, config.diffusion, side, bound)
    order, judged = jnp.arange(examples.x0.shape[0]), config.sample.steps - 1
    step = 1 + (jax.random.randint(key, (), 0, judged) + order) % judged
    return noise_from_x0(states[step, order], examples.x0, levels[step]), levels[step]


def step_inputs(
    params: Any, batch: Mapping[str, Array], frozen: Frozen, config: Config, keys: tuple[PRNGKeyArray, PRNGKeyArray]
) -> tuple[Examples, Examples, Float[Array, "b s s c"], Float[Array, " b"]]:
    """What `training_loss` is of: examples, as drawn and as diffused, with noise and log-SNR.

    Some are at levels of the schedule, the others on the sampler's course.
    """
    example_key, course_key = keys
    examples = draw_examples(batch, frozen, config, example_key)
    diffused = as_diffused(examples, frozen.autoencoder)
    b, size = diffused.x0.shape[:2]
    count = noised_count(b, config)
    time_key, turn_key = jax.random.split(course_key)
    levels = draw_log_snr(time_key, count, size, config.diffusion)
    if count == b:
        return examples, diffused, examples.noise, levels
    on_course = jax.tree.map(lambda rows: rows[count:], diffused)
    noise, judged_at = course_states(params, on_course, dimensions(frozen.recognisers), config, turn_key)
    noise = jnp.concatenate([examples.noise[:count], jax.lax.stop_gradient(noise)])
    return examples, diffused, noise, jnp.concatenate([levels, judged_at])


def noised_count(batch: int, config: Config) -> int:
    """How many examples of a batch are noised photographs; the rest, `train.rollout_fraction`, are on the course."""
    return batch - round(batch * config.train.rollout_fraction)
