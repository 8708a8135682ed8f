"""Teaching LandmarkNet dlib's points: small, spoilt, moved crops, with the person's own shape beside most of them."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from idfsr_jax.config import LandmarkConfig
from idfsr_jax.data.augment import FLIP_68, mirror_landmarks
from idfsr_jax.data.faces import Faces
from idfsr_jax.io.images import to_float
from idfsr_jax.method.degrade import ResamplingTables, degrade, draw_degradations, resampling_tables
from idfsr_jax.method.landmarks import (
    EYES,
    MOUTH,
    LandmarkNet,
    aligned_shapes,
    expression_errors,
    init_landmark_net,
    point_errors,
)
from idfsr_jax.networks.resample import sample_bilinear
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.averaged import train_averaged

LEAST_WIDTH = 4
"""Narrowest LR crop that the net is shown, pixels; the widest fills its side."""
MOST_PHOTOGRAPHS = 5
"""Of so many photographs, at most, a shape is the mean."""
UNKNOWN_SHARE = 0.2
"""How often the shape is withheld although there are other photographs of the person."""
EXPRESSION_WEIGHT = 1.0
"""Weight of mouth and eyes after rigid alignment, beside that of all points as they are."""
MOUTH_WEIGHT = 2.0
"""Of a point of the mouth among all points."""
MAX_LOG_GAIN, MAX_LOG_CHANNEL_GAIN, MAX_LOG_GAMMA = 0.4, 0.12, 0.4
"""How far the light of a crop is changed."""
GREY_SHARE = 0.1
"""How many crops lose their colours."""


def draw_batches(faces: Faces, batch: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Draws targets, and shapes from other photographs of the same person, for ever; step i follows from (seed, i).

    A photograph is drawn with a probability proportional to the inverse root of how many its person has: so that
    neither those with hundreds of photographs nor those with one make up most of a batch.

    Yields:
      `images` uint8 [batch, s, s, 3], `landmarks` float32 [batch, 68, 2], `shape` float32 [batch, 68, 2] and `known`
      float32 [batch].
    """
    landmarks = faces.index.landmarks
    shapes = aligned_shapes(landmarks)
    _, inverse, count = np.unique(faces.index.person, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(count)[:-1])
    probability = count[inverse] ** -0.5
    probability /= probability.sum()
    for step in itertools.count():
        rng = np.random.default_rng((seed, step))
        records = rng.choice(len(inverse), batch, p=probability)
        shape, known = np.zeros((batch, 68, 2), np.float32), np.zeros(batch, np.float32)
        for row, record in enumerate(records):
            others = members[inverse[record]]
            others = others[others != record]
            if len(others) and rng.random() >= UNKNOWN_SHARE:
                wanted = int(rng.integers(1, MOST_PHOTOGRAPHS + 1))
                chosen = rng.choice(others, min(len(others), wanted), replace=False)
                shape[row], known[row] = shapes[chosen].mean(axis=0), 1.0
        yield {"images": faces.images[records], "landmarks": landmarks[records], "shape": shape, "known": known}


def vary(
    key: PRNGKeyArray, batch: Mapping[str, Array], config: LandmarkConfig, tables: ResamplingTables
) -> tuple[Float[Array, "b l l 3"], Float[Array, " b"], Float[Array, "b 68 2"], Float[Array, "b 68 2"]]:
    """What the net sees of a batch and what it is to say: mirrored, moved, in another light, small and spoilt.

    Returns:
      (y_up, n, shape, landmarks).
    """
    flip_key, jitter_key, light_key, draw_key, degrade_key = jax.random.split(key, 5)
    images, landmarks, shape = to_float(batch["images"]), batch["landmarks"], batch["shape"]
    flip = jax.random.bernoulli(flip_key, 0.5, (images.shape[0],))[:, None, None]
    images = jnp.where(flip[..., None], images[:, :, ::-1], images)
    landmarks = jnp.where(flip, mirror_landmarks(landmarks), landmarks)
    shape = jnp.where(flip, shape[:, FLIP_68] * np.array([-1, 1], np.float32), shape)
    images, landmarks = jitter(jitter_key, images, landmarks, config)
    images = _other_light(light_key, images)
    drawn = draw_degradations(draw_key, images.shape[0], least=LEAST_WIDTH, most=config.size)
    y_up, _ = degrade(images, drawn, tables, degrade_key)
    return y_up, drawn.n.astype(jnp.float32), shape, landmarks


def jitter(
    key: PRNGKeyArray,
    images: Float[Array, "b s s 3"],
    landmarks: Float[Array, "b 68 2"],
    config: LandmarkConfig,
) -> tuple[Float[Array, "b l l 3"], Float[Array, "b 68 2"]]:
    """Shifts, scales and turns every crop about its middle, as a hand-made crop would be, at the net's side.

    How much is drawn anew for every picture, from nothing to the configured limits: most crops at use time are
    aligned well, and a network that always saw the full jitter would move points about in 4 x 4 pixels that show none.
    Beyond the border the crop is mirrored: a flat border would tell the network how it was moved.
    """
    b, size = images.shape[0], config.size
    keys = jax.random.split(key, 4)
    amount = jax.random.uniform(keys[3], (b,))

    def draw(k: PRNGKeyArray, limit: float, shape: tuple[int, ...]) -> Array:
        sized = amount.reshape((b,) + (1,) * (len(shape) - 1))
        return limit * sized * jax.random.uniform(k, shape, minval=-1.0, maxval=1.0)

    angle = draw(keys[0], np.deg2rad(config.max_degrees), (b,))
    zoom = jnp.exp(draw(keys[1], config.max_log_scale, (b,)))
    shift = draw(keys[2], config.max_shift, (b, 2))
    rotation = jnp.stack([jnp.cos(angle), -jnp.sin(angle), jnp.sin(angle), jnp.cos(angle)], -1).reshape(b, 2, 2)
    forward = zoom[:, None, None] * rotation
    moved = jnp.einsum("bij,bnj->bni", forward, landmarks - 0.5) + 0.5 + shift[:, None]
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    source = jnp.einsum("bij,bnj->bni", jnp.linalg.inv(forward), grid[None] - 0.5 - shift[:, None]) + 0.5
    source = 1.0 - jnp.abs(1.0 - jnp.abs(source))  # mirrored at 0 and at 1
    return sample_bilinear(images, source).reshape(b, size, size, 3), moved


def _other_light(key: PRNGKeyArray, images: Float[Array, "b l l 3"]) -> Float[Array, "b l l 3"]:
    """Gamma, gain, a gain for each channel; some turn grey."""
    b = images.shape[0]
    keys = jax.random.split(key, 4)

    def factor(k: PRNGKeyArray, limit: float, channels: int = 1) -> Array:
        return jnp.exp(jax.random.uniform(k, (b, 1, 1, channels), minval=-limit, maxval=limit))

    light = jnp.clip(0.5 * images + 0.5, 1e-4, 1.0) ** factor(keys[0], MAX_LOG_GAMMA)
    light = light * factor(keys[1], MAX_LOG_GAIN) * factor(keys[2], MAX_LOG_CHANNEL_GAIN, 3)
    grey = jax.random.bernoulli(keys[3], GREY_SHARE, (b, 1, 1, 1))
    light = jnp.where(grey, light.mean(axis=-1, keepdims=True), light)
    return 2.0 * jnp.clip(light, 0.0, 1.0) - 1.0


def landmark_loss(predicted: Float[Array, "b 68 2"], truth: Float[Array, "b 68 2"]) -> Float[Array, ""]:
    """Mean point error, the mouth's counting more, plus the error of mouth and eyes after rigid alignment.

    At use, references are moved by the rigid points: what then counts is where the mouth is relative to them.
    """
    weights = np.ones(68, np.float32)
    weights[list(MOUTH)] = MOUTH_WEIGHT
    placed = (point_errors(predicted, truth, 1e-3) * (weights / weights.sum())).sum(axis=-1)
    expression = expression_errors(predicted, truth, 1e-3)
    inner = 0.5 * (expression[:, jnp.asarray(MOUTH)].mean(axis=-1) + expression[:, jnp.asarray(EYES)].mean(axis=-1))
    return (placed + EXPRESSION_WEIGHT * inner).mean()


def train_landmark_net(
    batches: Iterator[Mapping[str, Any]],
    config: LandmarkConfig,
    seed: int,
    progress: Callable[[int, Any, Array], None] = lambda step, average, loss: None,
) -> dict:
    """Trains LandmarkNet.

    Args:
      batches: of `draw_batches`.
      config: the network and its schedule.
      seed: of weights and variations.
      progress: called with (steps done, averaged parameters, loss) after every step.

    Returns:
      The averaged parameters.
    """
    params = init_landmark_net(step_key(seed, "landmark-weights", 0), config)
    net, tables = LandmarkNet(config), resampling_tables(config.size, LEAST_WIDTH, config.size)

    def loss(params: Any, given: tuple[Mapping[str, Array], ResamplingTables], index: Array, _: None) -> Array:
        batch, tables = given
        y_up, n, shape, landmarks = vary(step_key(seed, "landmark-variation", index), batch, config, tables)
        predicted = net.apply({"params": params}, y_up, jnp.log2(n), shape, batch["known"])
        return landmark_loss(predicted, landmarks)  # type: ignore[arg-type]

    return train_averaged(
        loss,
        params,
        (((batch, tables), None) for batch in batches),
        learning_rate=config.learning_rate,
        warmup=200,
        steps=config.steps,
        average=0.003,
        progress=progress,
    )
