"""The denoiser's network: a UNet on pixel patches, modulated by log-SNR, scale and identity, shown references."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.networks.blocks import (
    Attention,
    GroupNorm,
    ResidualBlock,
    depth_to_space,
    fourier_features,
    space_to_depth,
    upsample_nearest,
)
from idfsr_jax.networks.convolution import Conv3x3
from idfsr_jax.networks.reference_encoder import ReferenceAttention, ReferenceFeatures

_AGREEMENT_WIDTH = 64
_HEAD_CHANNELS = 12


class Embedding(nn.Module):
    """Joins log-SNR, scale, identity and its agreement with the nearest reference into one modulation vector.

    And makes identity tokens for attention.

    Attributes:
      width: of the vector and of each token.
      tokens: how many tokens an identity becomes.
    """

    width: int
    tokens: int

    @nn.compact
    def __call__(
        self,
        log_snr: Float[Array, " b"],
        scale: Float[Array, " b"],
        identity: Float[Array, "b d"],
        agreement: Float[Array, "b a"],
    ) -> tuple[Float[Array, "b e"], Float[Array, "b n e"]]:
        width = self.width
        noise = nn.silu(nn.Dense(width, name="noise_in")(fourier_features(log_snr, 128)))
        person = nn.silu(nn.Dense(width, name="identity_in")(identity))
        agreed = nn.silu(nn.Dense(_AGREEMENT_WIDTH, name="agreement_in")(agreement))
        modulation = (
            nn.Dense(width, name="noise_out")(noise)
            + nn.Dense(width, name="scale_out")(fourier_features(jnp.log2(scale), 32))
            + nn.Dense(width, name="identity_out")(person)
            + nn.Dense(width, kernel_init=nn.initializers.zeros, name="agreement_out")(agreed)
        )
        tokens = nn.Dense(self.tokens * width, name="identity_tokens")(identity)
        return modulation, tokens.reshape(-1, self.tokens, width)


class UNet(nn.Module):
    """Image-to-image UNet (Ronneberger et al. 2015; Dhariwal and Nichol 2021) on `patch` x `patch` pixel patches.

    The input is space-to-depth'ed first, so that the finest feature map has a fraction of the picture's side and wide
    channels, which feeds matrix units and saves memory traffic. After depth-to-space a thin head at full resolution
    joins what neighbouring patches say of the pixels between them; patches of one pixel, or latent, need none.

    Attributes:
      channels: width of each resolution, finest first; each next one has half the side.
      blocks: residual blocks on the way down at each resolution; the way up has one more.
      patch: side of the squares of pixels.
      attention_at: feature maps of this side or less get attention.
      head_width: channels of an attention head.
      embedding: width of the modulation vector.
      identity_tokens: how many tokens an identity becomes.
      out_channels: of the result.
    """

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    patch: int
    attention_at: int
    head_width: int
    embedding: int
    identity_tokens: int
    out_channels: int = 3

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b s s c"],
        log_snr: Float[Array, " b"],
        scale: Float[Array, " b"],
        identity: Float[Array, "b d"],
        agreement: Float[Array, "b a"],
        pose: Float[Array, "b h w p"],
        references: ReferenceFeatures,
    ) -> Float[Array, "b s s o"]:
        """Maps the input picture stack to `out_channels` channels of the same side, float32.

        Args:
          x: picture stack, about unit variance; its first `out_channels` channels are the noisy picture.
          log_snr: log signal-to-noise ratio of each example.
          scale: down-sampling factor s of each example, at least 1.
          identity: identity vectors of about unit variance per element.
          agreement: of the nearest reference with the identity, `denoiser.agreements`.
          pose: heat maps of the landmarks, at the finest feature map's side.
          references: of `ReferenceEncoder`.
        """
        embed = Embedding(self.embedding, self.identity_tokens, name="embedding")
        modulation, tokens = embed(log_snr, scale, identity, agreement)
        zero = nn.initializers.zeros  # what is new begins as nothing

        def block(h: Float[Array, "b h w c"], channels: int, name: str) -> Float[Array, "b h w d"]:
            return ResidualBlock(channels, name=name)(h, modulation)

        def attend(h: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
            if h.shape[1] > self.attention_at:
                return h
            h = Attention(self.head_width, name=f"{name}_attention")(h, tokens)
            if h.shape[1] == references.fused.shape[1] // 2:
                h = ReferenceAttention(self.head_width, name=f"{name}_references")(h, references)
            return h

        h = Conv3x3(self.channels[0], name="stem")(space_to_depth(x, self.patch))
        h = h + Conv3x3(self.channels[0], kernel_init=zero, name="stem_pose")(pose)
        h = h + nn.Dense(self.channels[0], kernel_init=zero, name="stem_references")(references.fused)
        skips = [h]
        for level, (channels, count) in enumerate(zip(self.channels, self.blocks, strict=True)):
            if level:
                h = nn.Conv(channels, (3, 3), strides=(2, 2), name=f"down_{level}")(h)
                skips.append(h)
            for i in range(count):
                h = block(h, channels, f"down_{level}_{i}")
                if i == count - 1:
                    h = attend(h, f"down_{level}")
                skips.append(h)

        h = block(h, self.channels[-1], "middle_0")
        h = attend(h, "middle")
        h = block(h, self.channels[-1], "middle_1")

        for level in reversed(range(len(self.channels))):
            channels, count = self.channels[level], self.blocks[level]
            for i in range(count + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), channels, f"up_{level}_{i}")
            h = attend(h, f"up_{level}")
            if level:
                h = Conv3x3(self.channels[level - 1], name=f"up_{level}")(upsample_nearest(h))

        h = nn.silu(GroupNorm(name="norm_out")(h))
        out = Conv3x3(self.patch**2 * self.out_channels, kernel_init=zero, name="out")(h)
        if self.patch == 1:
            return out
        detail = nn.Dense(self.patch**2 * _HEAD_CHANNELS, name="detail")(h)
        return self._head(depth_to_space(out, self.patch), depth_to_space(detail, self.patch), x)

    def _head(
        self, out: Float[Array, "b s s o"], detail: Float[Array, "b s s d"], x: Float[Array, "b s s c"]
    ) -> Float[Array, "b s s o"]:
        """Corrects the patches where they meet."""
        joined = jnp.concatenate([out, x[..., : self.out_channels]], axis=-1)
        h = Conv3x3(_HEAD_CHANNELS, name="head_in")(joined) + detail
        zero = nn.initializers.zeros
        return out + Conv3x3(self.out_channels, kernel_init=zero, name="head_out")(nn.silu(h))
