"""A training step's arguments without a data set: people whose photographs are noise.

As many numbers of the same types, so that a step can be planned and timed where there is no data.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.config import AutoencoderConfig, Config, ModelConfig
from idfsr_jax.data.examples import People, load_people
from idfsr_jax.data.faces import Faces
from idfsr_jax.data.index import Index
from idfsr_jax.method.examples import Frozen
from idfsr_jax.method.landmarks import MEAN_SHAPE, init_landmark_net
from idfsr_jax.networks.recognisers import Recognisers, dimensions
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.training.step import frozen_parts

_PEOPLE, _PHOTOGRAPHS = 8, 2


def invented_people(config: Config, sizes: Sequence[int]) -> People:
    """People of two photographs each, with landmarks near those of the mean face.

    Args:
      config: says how large the pictures are, and how many references an example has.
      sizes: length of each recogniser's descriptor.
    """
    rng, side = np.random.default_rng(0), config.data.size
    person = np.repeat(np.arange(_PEOPLE), _PHOTOGRAPHS)
    n = len(person)
    index = Index(
        people=tuple(str(each) for each in range(_PEOPLE)),
        person=person,
        photos=tuple(str(each) for each in range(n)),
        landmarks=(0.5 + 0.3 * MEAN_SHAPE + rng.normal(scale=0.01, size=(n, 68, 2))).astype(np.float32),
        frames=np.tile(np.eye(3, dtype=np.float32)[:2], (n, 1, 1)),
        embeddings=rng.normal(size=(n, sum(sizes))).astype(np.float32),
        encoder="invented",
    )
    images = rng.integers(0, 256, (n, side, side, 3), np.uint8)
    return load_people(Faces(index, images), np.zeros(sum(sizes), np.float32), sizes, config.model.references)


def invented_frozen(config: Config, recognisers: Recognisers, people: People) -> Frozen:
    """What a step reads and never changes; LandmarkNet is random, which takes as long as a trained one."""
    net = init_landmark_net(step_key(0, "landmark-weights", 0), config.landmarks)
    center = np.zeros(sum(dimensions(recognisers)), np.float32)
    return frozen_parts(config, recognisers, net, center, people, _invented_autoencoder(config.model))


def _invented_autoencoder(config: ModelConfig) -> Any:
    """An autoencoder of the configured latents, of zeros and Stable Diffusion's widths; None where there are none."""
    if not config.autoencoder:
        return None
    from idfsr_jax.latent.autoencoder import AutoencoderKL
    from idfsr_jax.latent.space import Autoencoder

    widths = (128, 256, 512, 512, 512, 512)[: config.latent_reduction.bit_length()]
    described = AutoencoderConfig(block_out_channels=widths, layers_per_block=2, latent_channels=config.latent_channels)
    network = AutoencoderKL(described)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))["params"]
    return Autoencoder(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), described, "invented")
