"""Pictures of noise to train on, and pretrained UNets that diffusers wrote."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import small_run
from idfsr_jax.config import UNetConfig


@pytest.fixture(scope="session")
def noise_faces(tmp_path_factory, face_crop) -> Path:
    """A data set of pictures of noise of 32 px, with descriptors of MobileFaceNet."""
    folder = tmp_path_factory.mktemp("faces")
    return small_run.noise_faces(folder, face_crop.landmarks, encoder="mobilefacenet-ms1m-v1", length=192)


@pytest.fixture(scope="session")
def write_unet_of() -> Callable[..., None]:
    """A function that has diffusers write a UNet of random weights, norms' too, in the shape of Stable Diffusion's.

    Keywords are those of diffusers' class, `levels` and `seed`, and `schedule`, those of its scheduler.
    """

    def write(folder: Path, seed: int = 0, levels: int = 2, schedule: dict | None = None, **values) -> None:
        import torch
        from diffusers import DDIMScheduler, UNet2DConditionModel

        blocks = {
            "down_block_types": ("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        }
        size = {"block_out_channels": (8, 16, 16, 16)[:levels], "norm_num_groups": 4, "layers_per_block": 1}
        size |= {"attention_head_dim": 2, "cross_attention_dim": 12, "sample_size": 16}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = UNet2DConditionModel(**{**blocks, **size, **values}).eval()
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.ndim == 1:
                        parameter.add_(0.3 * torch.randn_like(parameter))
            network.save_pretrained(folder / "unet")
        if schedule is not None:
            betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
            DDIMScheduler(**{**betas, **schedule}).save_pretrained(folder / "scheduler")

    return write


@pytest.fixture(scope="session")
def unet_config(latent_config, tmp_path_factory, write_unet_of):
    """`latent_config`, with a pretrained UNet as its denoiser that diffusers wrote."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_unet_of(folder, schedule={})
    unet = UNetConfig(
        folder=str(folder),
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(2,),
        cross_attention_dim=12,
        norm_num_groups=4,
    )
    diffusion = replace(latent_config.diffusion, schedule="scaled_linear")
    model = replace(latent_config.model, unet=unet, embedding=unet.cross_attention_dim)
    return replace(latent_config, model=model, diffusion=diffusion)
