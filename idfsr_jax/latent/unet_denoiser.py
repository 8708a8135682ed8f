"""IDFSR's denoiser from a pretrained UNet: identity and scale as tokens in place of text."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import DiffusionConfig, ModelConfig
from idfsr_jax.diffusion.schedule import v_from_noise
from idfsr_jax.latent.discrete import timestep_of
from idfsr_jax.latent.unet_2d_condition import UNet2DCondition
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.id_embedding import scaled_identity
from idfsr_jax.networks.blocks import fourier_features


class UNetDenoiser(nn.Module):
    """Predicts v of noisy latents x_t under a condition, as `Denoiser` does, with a `UNet2DConditionModel`.

    What the condition adds enters in two ways that the UNet knows already, so that it stays one of diffusers': further
    channels beside x_t, as for in-painting, whose weights start at zero; and tokens where those of a text were, of the
    identity and one of the scale. (An embedding of the scale that is added to the timestep's would be no part of a
    `UNet2DConditionModel`.) Untrained, it therefore is the UNet under these tokens. Of the references it sees the
    nearest alone.

    It is not preconditioned around the guess, as `Denoiser` is: the UNet was trained on x_t as it is and on the whole
    of its noise, or v; shifted and scaled inputs would be strange to it, and a scaled output would throw its knowledge
    away. So it begins with any picture of a face and not with the guess.

    Attributes:
      config: of the model; `config.unet` is the network.
      diffusion: the schedule of timesteps that the UNet was trained on.
      sizes: length of each recogniser's part of the identity.
    """

    config: ModelConfig
    diffusion: DiffusionConfig
    sizes: tuple[int, ...]

    def setup(self) -> None:
        """Makes the parts; `unet` has the names of diffusers within."""
        config = self.config
        self.unet = UNet2DCondition(config.unet, config.diffused_channels, jnp.dtype(config.dtype), config.remat)
        self.identity_tokens = _Tokens(config.identity_tokens, config.unet.cross_attention_dim)
        self.scale_tokens = _Tokens(1, config.unet.cross_attention_dim)
        # Not zero, where the tokens' norm has no slope to speak of but its steepest.
        self.null_identity = self.param("null_identity", nn.initializers.normal(1.0), (sum(self.sizes),))

    def __call__(
        self,
        x_t: Float[Array, "b s s c"],
        log_snr: Float[Array, " b"],
        condition: Condition,
        known: Float[Array, "b s s d"] | None = None,
    ) -> Float[Array, "b s s c"]:
        """Gives v = alpha noise - sigma x0, float32.

        Args:
          x_t: noisy latents.
          log_snr: of each example, a level of the schedule.
          condition: of latents.
          known: of `encode`, where it is at hand.
        """
        known = self.encode(condition) if known is None else known
        seen = jnp.concatenate([x_t, known], axis=-1)
        output = self.unet(seen, timestep_of(log_snr, self.diffusion), self.tokens(condition))
        if self.config.unet.prediction_type == "v_prediction":
            return output
        return v_from_noise(x_t, output, log_snr)

    def encode(self, condition: Condition) -> Float[Array, "b s s d"]:
        """What the UNet sees beside x_t, the same at all noise levels."""
        nearest, valid = condition.references[:, 0], condition.valid[:, 0]
        return jnp.concatenate([condition.hidden, condition.mask, nearest, valid], axis=-1)

    def tokens(self, condition: Condition) -> Float[Array, "b n w"]:
        """What stands in for the encoded text, `encoder_hidden_states` in diffusers: the identity's, then the scale's.

        Their elements have unit variance, as those of a text do that CLIP's last norm leaves.
        """
        identity = self.identity_tokens(scaled_identity(condition, self.null_identity, self.sizes))
        return jnp.concatenate([identity, self.scale_tokens(fourier_features(jnp.log2(condition.scale), 32))], axis=1)


class _Tokens(nn.Module):
    """A vector as normed tokens."""

    count: int
    width: int

    @nn.compact
    def __call__(self, vector: Float[Array, "b d"]) -> Float[Array, "b n w"]:
        tokens = nn.Dense(self.count * self.width, name="projection")(vector)
        return nn.LayerNorm(name="norm")(tokens.reshape(-1, self.count, self.width))


def seen_channels(config: ModelConfig) -> int:
    """Channels that the UNet sees: noisy latents, hidden picture, mask, nearest reference, validity."""
    return 3 * config.diffused_channels + 2
