"""IDFSR's denoiser from a pretrained UNet: identity and scale as tokens in place of text."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from idfsr_jax.config import DiffusionConfig, ModelConfig
from idfsr_jax.diffusion.schedule import timestep_of, v_from_noise
from idfsr_jax.models.condition import Condition
from idfsr_jax.models.unet_2d_condition import UNet2DCondition
from idfsr_jax.networks.blocks import fourier_features


class UNetDenoiser(nn.Module):
    """Predicts v of noisy latents x_t under a condition, as `Denoiser` does, with a `UNet2DConditionModel`.

    What the condition adds enters in two ways that the UNet knows already, so that it stays one of diffusers': further
    channels beside x_t, as for in-painting, whose weights start at zero; and tokens where those of a text were, of the
    identity and one of the scale. (An embedding of the scale that is added to the timestep's would be no part of a
    `UNet2DConditionModel`.) Untrained, it therefore is the UNet under these tokens.

    It is not preconditioned around the pasted reference, as `Denoiser` is: the UNet was trained on x_t as it is and on
    the whole of its noise, or v; shifted and scaled inputs would be strange to it, and a scaled output would throw its
    knowledge away. So it begins with any picture of a face and not with the paste, which it sees in its further
    channels.

    Attributes:
      config: of the model; `config.unet` is the network.
      diffusion: the schedule of timesteps that the UNet was trained on.
    """

    config: ModelConfig
    diffusion: DiffusionConfig

    def setup(self) -> None:
        """Makes the parts; `unet` has the names of diffusers within."""
        config = self.config
        self.unet = UNet2DCondition(config.unet, config.diffused_channels, jnp.dtype(config.dtype), config.remat)
        self.identity_tokens = _Tokens(config.identity_tokens, config.unet.cross_attention_dim)
        self.scale_tokens = _Tokens(1, config.unet.cross_attention_dim)
        # Not zero, where the tokens' norm has no slope to speak of but its steepest.
        self.null_identity = self.param("null_identity", nn.initializers.normal(1.0), (config.identity_dim,))

    def __call__(
        self, x_t: Float[Array, "b s s c"], log_snr: Float[Array, " b"], condition: Condition
    ) -> Float[Array, "b s s c"]:
        """Gives v = alpha noise - sigma x0, float32.

        Args:
          x_t: noisy latents.
          log_snr: of each example, a level of the schedule.
          condition: of latents.
        """
        timestep = timestep_of(log_snr, self.diffusion)
        output = self.unet(self.channels(x_t, condition), timestep, self.tokens(condition))
        if self.config.unet.prediction_type == "v_prediction":
            return output
        return v_from_noise(x_t, output, log_snr)

    def channels(self, x_t: Float[Array, "b s s c"], condition: Condition) -> Float[Array, "b s s d"]:
        """What the UNet sees: x_t first, then what is known of the picture."""
        return jnp.concatenate([x_t, condition.hidden, condition.mask, condition.reference, condition.valid], axis=-1)

    def tokens(self, condition: Condition) -> Float[Array, "b n w"]:
        """What stands in for the encoded text, `encoder_hidden_states` in diffusers: the identity's, then the scale's.

        Their elements have unit variance, as those of a text do that CLIP's last norm leaves.
        """
        present = condition.identity_present[:, None]
        # A unit vector has elements of about 1/sqrt(D); the network wants about 1.
        known = condition.identity * self.config.identity_dim**0.5
        identity = self.identity_tokens(present * known + (1.0 - present) * self.null_identity)
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
    """Channels that the UNet sees: noisy latents, hidden picture, mask, reference, validity."""
    return 3 * config.diffused_channels + 2
