"""The denoiser's network: a UNet on pixel patches, modulated by log-SNR, scale and identity."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import ModelConfig
from idfsr_jax.networks.blocks import (
    Attention,
    GroupNorm,
    ResidualBlock,
    depth_to_space,
    fourier_features,
    space_to_depth,
    upsample_nearest,
)


class Embedding(nn.Module):
    """Joins log-SNR, scale and identity into one modulation vector, and makes identity tokens for attention."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, log_snr: Float[Array, " b"], scale: Float[Array, " b"], identity: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b e"], Float[Array, "b n e"]]:
        width, tokens = self.config.embedding, self.config.identity_tokens
        dense = lambda n, name: nn.Dense(n, name=name)  # noqa: E731  float32: this vector is tiny and sensitive
        noise = dense(width, "noise_out")(nn.silu(dense(width, "noise_in")(fourier_features(log_snr, 128))))
        size = dense(width, "scale_out")(fourier_features(jnp.log2(scale), 32))
        person = dense(width, "identity_out")(nn.silu(dense(width, "identity_in")(identity)))
        identity_tokens = dense(tokens * width, "identity_tokens")(identity).reshape(-1, tokens, width)
        return noise + size + person, identity_tokens


class UNet(nn.Module):
    """Image-to-image UNet (Ronneberger et al. 2015; Dhariwal and Nichol 2021) on `patch` x `patch` pixel patches.

    The input is space-to-depth'ed first, so that the finest feature map has a fraction of the picture's side and wide
    channels, which feeds matrix units and saves memory traffic.
    """

    config: ModelConfig
    out_channels: int = 3

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b s s c"],
        log_snr: Float[Array, " b"],
        scale: Float[Array, " b"],
        identity: Float[Array, "b d"],
    ) -> Float[Array, "b s s o"]:
        """Maps the input picture stack to `out_channels` channels of the same side, float32.

        Args:
          x: picture stack, about unit variance.
          log_snr: log signal-to-noise ratio of each example.
          scale: down-sampling factor s of each example, at least 1.
          identity: identity vectors of about unit variance per element.
        """
        cfg = self.config
        dtype = jnp.dtype(cfg.dtype)
        embedding, tokens = Embedding(cfg, name="embedding")(log_snr, scale, identity)
        residual = nn.remat(ResidualBlock) if cfg.remat else ResidualBlock
        block = lambda h, channels, name: residual(channels, dtype, name=name)(h, embedding)  # noqa: E731

        def attend(h: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
            if h.shape[1] > cfg.attention_at:
                return h
            return Attention(cfg.head_width, dtype, name=name)(h, tokens)

        h = space_to_depth(x.astype(dtype), cfg.patch)
        h = nn.Conv(cfg.channels[0], (3, 3), dtype=dtype, name="stem")(h)
        skips = [h]
        for level, (channels, count) in enumerate(zip(cfg.channels, cfg.blocks, strict=True)):
            if level:
                h = nn.Conv(channels, (3, 3), strides=(2, 2), dtype=dtype, name=f"down_{level}")(h)
                skips.append(h)
            for i in range(count):
                h = block(h, channels, f"down_{level}_{i}")
                if i == count - 1:
                    h = attend(h, f"down_{level}_attention")
                skips.append(h)

        h = block(h, cfg.channels[-1], "middle_0")
        h = attend(h, "middle_attention")
        h = block(h, cfg.channels[-1], "middle_1")

        for level in reversed(range(len(cfg.channels))):
            channels, count = cfg.channels[level], cfg.blocks[level]
            for i in range(count + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), channels, f"up_{level}_{i}")
            h = attend(h, f"up_{level}_attention")
            if level:
                h = nn.Conv(cfg.channels[level - 1], (3, 3), dtype=dtype, name=f"up_{level}")(upsample_nearest(h))

        h = nn.silu(GroupNorm(name="norm_out")(h)).astype(jnp.float32)
        zero = nn.initializers.zeros  # the untrained network predicts nothing, so the preconditioning alone speaks
        h = nn.Conv(cfg.patch**2 * self.out_channels, (3, 3), kernel_init=zero, name="out")(h)
        return depth_to_space(h, cfg.patch)
