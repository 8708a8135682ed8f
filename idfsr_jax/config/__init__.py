"""Configuration: one frozen dataclass per concern, joined in `Config`.

A config file (`configs/*.py`) defines `config = Config(...)`; the command line overrides single fields
(`--train.steps 100`). Nothing here imports more of the package than names of files, so every part may read it.
"""

from idfsr_jax.config.data import DataConfig, LandmarkConfig
from idfsr_jax.config.file import Config, from_dict, load_config, to_json, with_home
from idfsr_jax.config.model import ARCFACE_PREFIX, AutoencoderConfig, ModelConfig
from idfsr_jax.config.training import DeviceConfig, DiffusionConfig, TrainConfig
from idfsr_jax.config.types import require_types, typed_fields
from idfsr_jax.config.unet import UNetConfig
from idfsr_jax.config.use import EvaluateConfig, FitConfig, SampleConfig

__all__ = [
    "ARCFACE_PREFIX",
    "AutoencoderConfig",
    "Config",
    "DataConfig",
    "DeviceConfig",
    "DiffusionConfig",
    "EvaluateConfig",
    "FitConfig",
    "LandmarkConfig",
    "ModelConfig",
    "SampleConfig",
    "TrainConfig",
    "UNetConfig",
    "from_dict",
    "load_config",
    "require_types",
    "to_json",
    "typed_fields",
    "with_home",
]
