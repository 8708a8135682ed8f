"""The networks: denoiser and autoencoder."""

from dataclasses import dataclass, field
from typing import Literal

from idfsr_jax.config.unet import UNetConfig

ARCFACE_PREFIX = "arcface:"


@dataclass(frozen=True)
class ModelConfig:
    """The denoiser: a UNet on square patches, and the condition it sees."""

    patch: int = 4
    """Side of the squares of pixels, or latents, that become one place of the UNet."""
    channels: tuple[int, ...] = (64, 128, 192)
    """Width of each resolution, finest first; each next one has half the side."""
    blocks: tuple[int, ...] = (2, 2, 2)
    """Residual blocks on the way down at each resolution (the way up has one more)."""
    attention_at: int = 16
    """Feature maps of this side or less attend to themselves and to the identity tokens."""
    head_width: int = 32
    """Channels of an attention head."""
    embedding: int = 256
    """Width of the modulation vector made of log-SNR, scale and identity."""
    recognisers: tuple[str, ...] = ("dlib", "mobilefacenet", "mobilefacenet-relu6", "mobileface")
    """The face recognisers that make the ID embedding, may judge in training, and, but for the first, guide: `dlib`,
    `mobilefacenet`, `mobilefacenet-relu6`, `mobileface` or `arcface:PATH`."""
    references: int = 4
    """Photographs of the person, at the most, that the model is shown beside the ID embedding."""
    mouth: float = 1.0
    """Share of the lips' movement that references are bent by, 0 (their own expression) to 1 (the LR picture's)."""
    identity_tokens: int = 4
    """Tokens that the identity becomes for cross-attention."""
    prior_std: float = 0.35
    """Assumed error of the guess, the nearest reference's detail on what is revealed of the LR picture, around which
    the denoiser is preconditioned."""
    prior_detail_std: float = 0.0
    """The same of what the means of 2x2 pixels leave out (of each of its three Haar coefficients), which is then
    preconditioned apart from the means; 0: nothing is."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """In which `model.unet` computes; our own network has float32 always."""
    remat: bool = False
    """Of `model.unet` only: computes each block anew on the way back instead of keeping what it made: less memory, a
    third more arithmetic, the same numbers."""
    autoencoder: str = ""
    """Folder of an `AutoencoderKL` in diffusers' layout, whose latents are diffused; without one, pixels are. Training
    reads it, and every model folder holds a copy."""
    latent_channels: int = 4
    """Of the autoencoder; not read without one."""
    latent_reduction: int = 8
    """Pixels per latent along a side, likewise."""
    unet: UNetConfig = field(default_factory=UNetConfig)
    """A pretrained network in place of our own; of `patch` to `embedding` only the last is read then, the width of its
    tokens, and `prior_std`, `prior_detail_std` are not."""

    @property
    def diffused_channels(self) -> int:
        """Channels of what is diffused, pixels or latents."""
        return self.latent_channels if self.autoencoder else 3

    @property
    def pixels_per_place(self) -> int:
        """Pixels along a side of what becomes one place of the denoiser's finest feature map."""
        return self.patch * (self.latent_reduction if self.autoencoder else 1)

    def diffused_side(self, size: int) -> int:
        """Side of what is diffused, where the picture's is `size`."""
        return size // self.latent_reduction if self.autoencoder else size


@dataclass(frozen=True)
class AutoencoderConfig:
    """An image autoencoder whose latents are diffused; names and defaults are those of diffusers' `AutoencoderKL`."""

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    """Width of each resolution, finest first; each next one has half the side."""
    layers_per_block: int = 1
    """Residual blocks of the encoder at each resolution; the decoder has one more."""
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int = 32
    """Side of the pictures that it was trained on, pixels."""
    scaling_factor: float = 0.18215
    """Latents are multiplied by it before they are diffused, for unit variance."""
    shift_factor: float | None = None
    """Subtracted before that."""
    latents_mean: tuple[float, ...] | None = None
    """Of each channel, in place of `shift_factor`."""
    latents_std: tuple[float, ...] | None = None
    """Of each channel, to be divided by as well."""
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
