"""IDFSR's denoiser: v(x_t, log-SNR, condition), preconditioned around the nearest reference's detail."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idfsr_jax.config import Config, ModelConfig
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.id_embedding import scaled_identity
from idfsr_jax.method.pose import CHANNELS
from idfsr_jax.networks.blocks import block_means, upsample_nearest
from idfsr_jax.networks.recognisers import split_parts
from idfsr_jax.networks.reference_encoder import ReferenceEncoder, ReferenceFeatures
from idfsr_jax.networks.unet import UNet


class Denoiser(nn.Module):
    """Predicts v = alpha eps - sigma x0 (Salimans and Ho 2022) of noisy pixels or latents x_t under a condition.

    Karras et al. (2022, section 5) precondition a denoiser around the data's mean and deviation so that the network
    has a unit-variance input and target at every noise level. Here the best guess before any noise is seen is not the
    mean face but p, the nearest reference's detail on what is revealed of the LR picture, and s is the deviation of the
    truth from it. With x0 ~ N(p, s^2) the best linear denoiser is x0 = p + alpha s^2 / k^2 (x_t - alpha p),
    k^2 = alpha^2 s^2 + sigma^2, its error has deviation s sigma / k, and in terms of v

        v = sigma / k^2 (alpha (1 - s^2) x_t - p) + s / k F((x_t - alpha p) / k, condition).

    With `prior_detail_std` this is done for two parts of the picture apart, each with its own s: the means of 2 x 2
    pixels, and what they leave out. The noise of a part has the deviation c sigma, with c = 1/2 for the means, so that
    in general k^2 = alpha^2 s^2 + c^2 sigma^2 and

        v = sigma / k^2 (alpha (c^2 - s^2) x_t - c^2 p) + c s / k F.

    Attributes:
      config: of the network.
      sizes: length of each recogniser's part of the identity.
    """

    config: ModelConfig
    sizes: tuple[int, ...]

    def setup(self) -> None:
        cfg = self.config
        self.null_identity = self.param("null_identity", nn.initializers.zeros, (sum(self.sizes),), jnp.float32)
        self.references = ReferenceEncoder((cfg.channels[0], cfg.channels[1]), cfg.patch)
        self.unet = UNet(
            cfg.channels,
            cfg.blocks,
            cfg.patch,
            cfg.attention_at,
            cfg.head_width,
            cfg.embedding,
            cfg.identity_tokens,
            cfg.diffused_channels,
        )

    def encode(self, condition: Condition) -> ReferenceFeatures:
        """What the network takes from the references, the same at all noise levels."""
        agreement = agreements(condition, self.sizes)
        return self.references(
            condition.references, condition.valid, agreement, condition.hidden, condition.mask, condition.pose
        )

    def __call__(
        self,
        x_t: Float[Array, "b s s c"],
        log_snr: Float[Array, " b"],
        condition: Condition,
        features: ReferenceFeatures | None = None,
    ) -> Float[Array, "b s s c"]:
        """Predicts v.

        Args:
          x_t: noisy pictures, or latents.
          log_snr: noise level of each.
          condition: of each.
          features: of `encode`, where they are at hand.
        """
        features = self.encode(condition) if features is None else features
        identity = scaled_identity(condition, self.null_identity, self.sizes)

        alpha = jnp.sqrt(jax.nn.sigmoid(log_snr))[:, None, None, None]
        sigma = jnp.sqrt(jax.nn.sigmoid(-log_snr))[:, None, None, None]
        guess = condition.guess
        bands = _bands(self.config)
        k = [jnp.sqrt(jnp.square(alpha * band.deviation) + jnp.square(sigma * band.noise_share)) for band in bands]
        scaled = sum(band.part(x_t - alpha * guess) / each for band, each in zip(bands, k, strict=True))

        nearest, seen = condition.references[:, 0], condition.valid[:, 0]
        agreement = agreements(condition, self.sizes)[:, 0]
        stack = jnp.concatenate([scaled, condition.hidden, condition.mask, nearest, seen], axis=-1)
        output = self.unet(stack, log_snr, condition.scale, identity, agreement, condition.pose, features)
        v = jnp.zeros_like(x_t)
        for band, each in zip(bands, k, strict=True):
            c, s = band.noise_share, band.deviation
            linear = sigma / jnp.square(each) * band.part(alpha * (c**2 - s**2) * x_t - c**2 * guess)
            v += linear + c * s / each * band.part(output)
        return v


def agreements(condition: Condition, sizes: tuple[int, ...]) -> Float[Array, "b k a"]:
    """How far each reference shows the person that e stands for, and whether that can be said.

    The cosine between e and the reference's own vector, by each recogniser; then 1. All are 0 where there is no
    reference or no e. So a network need not find out from pixels whether a photograph is to be trusted: where it is of
    somebody else, e alone says who is to come out, and the photograph remains what it is meant to be, style.

    Args:
      condition: of each.
      sizes: length of each recogniser's part of the identity.
    """
    there = jnp.max(condition.valid, axis=(2, 3, 4)) * condition.identity_present[:, None]
    products = split_parts(condition.reference_identities * condition.identity[:, None], sizes)
    cosines = [jnp.sum(product, axis=-1) for product in products]
    return jnp.stack([*cosines, jnp.ones_like(there)], axis=-1) * there[..., None]


class _Band(NamedTuple):
    """A part of a picture: its projection, s, and c."""

    part: Callable[[Float[Array, "b s s c"]], Float[Array, "b s s c"]]
    deviation: float
    noise_share: float


def _bands(config: ModelConfig) -> list[_Band]:
    """The whole picture; or, with `prior_detail_std`, the means of 2 x 2 pixels, and what they leave out."""
    if config.prior_detail_std == 0:
        return [_Band(lambda x: x, config.prior_std, 1.0)]
    return [_Band(_coarse, config.prior_std, 0.5), _Band(lambda x: x - _coarse(x), config.prior_detail_std, 1.0)]


def _coarse(x: Float[Array, "b s s c"]) -> Float[Array, "b s s c"]:
    return upsample_nearest(block_means(x))


def denoiser_of(config: Config, sizes: tuple[int, ...]) -> Any:
    """The network of a configuration, for identities of these parts: `Denoiser`, or one that is called alike."""
    if config.model.unet.folder:
        from idfsr_jax.latent.unet_denoiser import UNetDenoiser

        return UNetDenoiser(config.model, config.diffusion, sizes)
    return Denoiser(config.model, sizes)


def empty_condition(
    batch: int,
    size: int,
    references: int,
    config: ModelConfig,
    sizes: tuple[int, ...],
    *,
    diffused: bool = False,
) -> Condition:
    """A condition of zeros, for its shapes.

    Args:
      batch: number of examples.
      size: side of the pictures, pixels.
      references: places for references, k.
      config: of the network.
      sizes: length of each recogniser's part of the identity.
      diffused: as the denoiser has it, that is, in latents where these are diffused, and not in pixels.
    """
    side, channels = (config.diffused_side(size), config.diffused_channels) if diffused else (size, 3)
    places = size // config.pixels_per_place

    def zeros(*shape: int) -> Array:
        return jnp.asarray(np.zeros((batch, *shape), np.float32))  # By NumPy there is no program to read for it.

    picture, one = zeros(side, side, channels), jnp.asarray(np.ones(batch, np.float32))
    return Condition(
        hidden=picture,
        mask=zeros(side, side, 1),
        pose=zeros(places, places, CHANNELS),
        references=zeros(references, side, side, channels),
        valid=zeros(references, side, side, 1),
        reference_identities=zeros(references, sum(sizes)),
        guess=picture,
        identity=zeros(sum(sizes)),
        identity_present=one,
        scale=one,
        start=zeros(sum(sizes)),
        landmarks=zeros(68, 2),
    )


def init_denoiser(key: Array, config: Config, sizes: tuple[int, ...]) -> dict:
    """Fresh float32 parameters of `denoiser_of`.

    Of a pretrained UNet too all are random here; `latent.unet_weights.begun_with_unet` puts those of its files in.
    """
    network, model = denoiser_of(config, sizes), config.model
    condition = empty_condition(1, config.data.size, model.references, model, sizes, diffused=True)
    # The pass of the network itself is dropped by the compiler, as nothing of it is given back.
    return jax.jit(lambda key: network.init(key, condition.hidden, jnp.zeros(1), condition)["params"])(key)
