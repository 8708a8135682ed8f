"""A pretrained UNet as the denoiser."""

from dataclasses import dataclass
from typing import Literal

Down = Literal["CrossAttnDownBlock2D", "DownBlock2D"]
Up = Literal["CrossAttnUpBlock2D", "UpBlock2D"]


@dataclass(frozen=True)
class UNetConfig:
    """A UNet that predicts latents under tokens; names are those of diffusers' `UNet2DConditionModel`.

    Defaults are Stable Diffusion 1.5's. Its files are checked against them, so that a run can be planned, gone on with
    and restored from where they are not.
    """

    folder: str = ""
    """Folder of a `UNet2DConditionModel` in diffusers' layout, or of a pipeline with `unet/` in it, from which the
    denoiser is initialised; without one, the denoiser is our own network. Read when a run begins; every model folder
    holds the whole network."""
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    """What it predicts, noise or v; the schedule that it was trained on is `diffusion`'s."""
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    """Width of each resolution, finest first; each next one has half the side."""
    layers_per_block: int = 2
    """Residual blocks on the way down at each resolution; the way up has one more."""
    down_block_types: tuple[Down, ...] = (
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    )
    """Whether each resolution attends on the way down, finest first."""
    up_block_types: tuple[Up, ...] = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
    """On the way up, coarsest first."""
    attention_head_dim: tuple[int, ...] = (8,)
    """Number of attention heads, for each resolution or one for all: diffusers' name for it is a mistake of old."""
    cross_attention_dim: int = 768
    """Width of the tokens."""
    use_linear_projection: bool = False
    """Whether files have what leads into and out of attention as matrices, not as 1x1 convolutions; Stable Diffusion
    2's have."""
    norm_num_groups: int = 32
    """Of the group norms; they divide the widths."""
    norm_eps: float = 1e-5
    """Of those in residual blocks."""
    flip_sin_to_cos: bool = True
    """Cosines before sines in the features of the timestep."""
    freq_shift: int = 0
    """Subtracted from the number of their frequencies."""

    @property
    def heads(self) -> tuple[int, ...]:
        """Attention heads at each resolution, finest first."""
        given = self.attention_head_dim
        return given * len(self.block_out_channels) if len(given) == 1 else given
