"""Shapes and types of what a training step takes, of a config alone: nothing is read, drawn or computed."""

from typing import Any

import jax
import jax.numpy as jnp

from idfsr_jax.config import AutoencoderConfig, Config, ModelConfig
from idfsr_jax.models.landmark_net import LandmarkNet
from idfsr_jax.networks.dlib_resnet import DlibResNet
from idfsr_jax.networks.id_encoder import DLIB_NAME, IdEncoder
from idfsr_jax.networks.iresnet import IResNet
from idfsr_jax.training.rollout import load_perceptual


def abstract_batch(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a batch, as `data.pipeline.training_examples` makes them (a step reads all but `record`)."""
    b, size, dimension = config.train.batch, config.data.size, config.model.identity_dim
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "target": ((b, size, size, 3), jnp.uint8),
        "target_landmarks": ((b, 68, 2), jnp.float32),
        "target_embedding": ((b, dimension), jnp.float32),
        "reference": ((b, size, size, 3), jnp.uint8),
        "reference_landmarks": ((b, 68, 2), jnp.float32),
        "embedding": ((b, dimension), jnp.float32),
        "scale": ((b,), jnp.int32),
    }
    return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}


def abstract_frozen(config: Config) -> dict[str, Any]:
    """Shapes of the fields of `Frozen`; an ArcFace recogniser is taken for an IResNet-50."""
    key, side = jax.random.key(0), config.landmarks.size
    net = jax.eval_shape(lambda: LandmarkNet(config.landmarks).init(key, jnp.zeros((1, side, side, 3))))["params"]
    encoder = None
    if config.train.identity_loss > 0:
        is_dlib = config.model.encoder == "dlib"
        network = DlibResNet() if is_dlib else IResNet(dimension=config.model.identity_dim)
        chip = 150 if is_dlib else 112
        params = jax.eval_shape(lambda: network.init(key, jnp.zeros((1, chip, chip, 3))))["params"]
        encoder = IdEncoder(params, DLIB_NAME if is_dlib else config.model.encoder, network)
    center = jax.ShapeDtypeStruct((config.model.identity_dim,), jnp.float32)
    return {
        "landmark_net": net,
        "encoder": encoder,
        "center": center,
        "perceptual": jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), load_perceptual(config.train)
        ),
    }


def abstract_autoencoder(config: ModelConfig) -> Any:
    """Shapes of an autoencoder of the configured latents; None where pixels are diffused.

    A plan asks for no file, so that it is taken to have Stable Diffusion's widths.
    """
    if not config.autoencoder:
        return None
    from idfsr_jax.latent.autoencoder import AutoencoderKL
    from idfsr_jax.latent.space import Autoencoder

    widths = (128, 256, 512, 512, 512, 512)[: config.latent_reduction.bit_length()]
    described = AutoencoderConfig(block_out_channels=widths, layers_per_block=2, latent_channels=config.latent_channels)
    picture = jnp.zeros((1, 64, 64, 3))
    params = jax.eval_shape(lambda: AutoencoderKL(described).init(jax.random.key(0), picture))["params"]
    return Autoencoder(params, described, "planned")
