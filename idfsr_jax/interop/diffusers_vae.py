"""diffusers' files of an `AutoencoderKL`."""

import dataclasses
from pathlib import Path
from typing import Any

from idfsr_jax.config import AutoencoderConfig
from idfsr_jax.interop.diffusers_layout import (
    CONFIG,
    network_folder,
    read_json,
    read_parameters,
    state_of,
    write_network,
)
from idfsr_jax.io.errors import BadWeights

_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def read_autoencoder(folder: Path) -> tuple[AutoencoderConfig, dict[str, Any]]:
    """Reads config and parameters; whether they fit together is for the network to say.

    Args:
      folder: the autoencoder's, or a pipeline's, with `vae/` in it.

    Returns:
      The config, and a tree of float32 arrays.

    Raises:
      BadWeights: a file is missing or damaged, or the network is of another kind.
    """
    folder = network_folder(folder, "vae")
    return _read_config(folder / CONFIG), read_parameters(folder)


def write_autoencoder(folder: Path, config: AutoencoderConfig, params: Any) -> None:
    """Writes what diffusers' `AutoencoderKL.from_pretrained(folder)` reads; float32, config last.

    Raises:
      InputError: the folder cannot be written to.
    """
    levels = len(config.block_out_channels)
    described = {"_class_name": "AutoencoderKL", "act_fn": "silu", **dataclasses.asdict(config)}
    described |= {name: [block] * levels for name, block in _BLOCKS.items()}
    write_network(folder, described, state_of(params))


def _read_config(path: Path) -> AutoencoderConfig:
    values = read_json(path)
    kind = values.get("_class_name", "AutoencoderKL")
    other = {each for name, plain in _BLOCKS.items() for each in values.get(name, [plain]) if each != plain}
    other |= {str(value) for name, value, plain in [("", kind, "AutoencoderKL")] if value != plain}
    other |= {values["act_fn"]} if values.get("act_fn", "silu") not in ("silu", "swish") else set()
    if other:
        raise BadWeights(f"{path}: describes another network ({', '.join(sorted(other))}); give a plain AutoencoderKL.")
    fields = {field.name for field in dataclasses.fields(AutoencoderConfig)}
    given: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in fields
    }
    try:
        return AutoencoderConfig(**given)
    except TypeError as error:
        raise BadWeights(f"{path}: is not a config of this version ({error}); get it again.") from error
