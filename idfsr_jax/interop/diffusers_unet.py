"""diffusers' files of a `UNet2DConditionModel` as Stable Diffusion 1.5 and 2.1 have it, and of its scheduler."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import ml_dtypes

from idfsr_jax.config import DiffusionConfig, UNetConfig, require_types
from idfsr_jax.config.unet import Down, Up
from idfsr_jax.interop.diffusers_layout import (
    CONFIG,
    FILES,
    network_folder,
    read_json,
    read_parameters,
    state_of,
    write_json,
    write_network,
)
from idfsr_jax.io.errors import BadConfig, BadWeights

UNET, _SCHEDULER = "unet", "scheduler"
"""Folders within a pipeline's."""
_SCHEDULER_CONFIG = "scheduler_config.json"
PIPELINE_FILES = (*(f"{UNET}/{name}" for name in FILES), f"{_SCHEDULER}/{_SCHEDULER_CONFIG}")
"""What `write_unet` writes."""
_PLAIN = MappingProxyType(
    {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_type": "default",
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "downsample_padding": 1,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "resnet_out_scale_factor": 1.0,
        "resnet_time_scale_shift": "default",
        "time_embedding_type": "positional",
        "transformer_layers_per_block": 1,
    }
)
"""Fields that may have no other value; those that are in no table may be None or False only."""
_UNREAD = frozenset(
    {"sample_size", "dropout", "upcast_attention", "addition_embed_type_num_heads", "in_channels", "out_channels"}
)
"""What is predicted does not depend on them, as scores of attention are float32 here in any case; or they are read by
themselves."""
_KINDS = MappingProxyType({"down_block_types": get_args(Down), "up_block_types": get_args(Up)})
_LISTS = ("block_out_channels", "attention_head_dim", *_KINDS)
_SCHEDULE = MappingProxyType(
    {
        "prediction_type": (get_args(get_type_hints(UNetConfig)["prediction_type"]), "epsilon"),
        "beta_schedule": (("scaled_linear", "linear"), None),
        "beta_start": (None, None),
        "beta_end": (None, None),
        "num_train_timesteps": (None, None),
        "rescale_betas_zero_snr": ((None, False), None),
        "trained_betas": ((None,), None),
    }
)
"""Fields of a scheduler that say what a network was trained for: what is supported, None for all, and what it means
that one is not there."""


@dataclass(frozen=True)
class UNetFiles:
    """What a folder holds.

    Attributes:
      config: the network's shape; `folder` and `prediction_type`, which the network's own files do not say, are the
        defaults.
      in_channels: of what it sees.
      out_channels: of what it predicts.
      schedule: what the scheduler beside it says, by diffusers' names; empty where there is none.
      params: a tree of float32 arrays; whether they fit the shape is for the network to say.
    """

    config: UNetConfig
    in_channels: int
    out_channels: int
    schedule: dict[str, Any]
    params: dict[str, Any]


def read_unet(folder: Path) -> UNetFiles:
    """Reads a network.

    Args:
      folder: its own, or a pipeline's, with `unet/` in it.

    Raises:
      BadWeights: a file is missing or damaged, or the network has parts that ours lacks; the sentence names the field.
    """
    place = network_folder(folder, UNET)
    values = read_json(place / CONFIG)
    config = _config_of(place / CONFIG, values)
    for name in ("in_channels", "out_channels"):
        if not isinstance(values.get(name, 4), int):
            raise _unsupported(place / CONFIG, name, values[name])
    scheduler = place.parent / _SCHEDULER / _SCHEDULER_CONFIG
    schedule: dict[str, Any] = {}
    if scheduler.is_file():
        schedule = _schedule_of(scheduler, read_json(scheduler))
    seen, predicted = (values.get(name, 4) for name in ("in_channels", "out_channels"))
    return UNetFiles(config, seen, predicted, schedule, read_parameters(place))


def write_unet(
    folder: Path,
    config: UNetConfig,
    diffusion: DiffusionConfig,
    params: Any,
    side: int,
    dtype: str = "float32",
) -> None:
    """Writes what `UNet2DConditionModel.from_pretrained(folder, subfolder="unet")` of diffusers reads.

    And beside it, in `scheduler/`, the schedule that it was trained on, for `DDIMScheduler.from_pretrained`.

    Args:
      folder: in which both folders will be.
      config: the network's shape.
      diffusion: the schedule.
      params: of `UNet2DCondition`.
      side: of the latents that it was trained on.
      dtype: "float32" or "bfloat16", of matrices; vectors are float32, as they are few and sensitive.

    Raises:
      InputError: the folder cannot be written to.
    """
    shape = dataclasses.asdict(config)
    del shape["folder"], shape["prediction_type"]
    heads = config.attention_head_dim
    described = dict(_PLAIN) | shape | {"attention_head_dim": heads[0] if len(heads) == 1 else heads}
    described |= {
        "in_channels": params["conv_in"]["kernel"].shape[2],
        "out_channels": params["conv_out"]["kernel"].shape[3],
        "sample_size": side,
        "upcast_attention": True,
    }
    state = state_of(params)
    if not config.use_linear_projection:
        projections = [name for name in state if name.endswith((".proj_in.weight", ".proj_out.weight"))]
        state |= {name: state[name][:, :, None, None] for name in projections}
    if dtype == "bfloat16":
        state = {name: value.astype(ml_dtypes.bfloat16) if value.ndim > 1 else value for name, value in state.items()}
    write_network(folder / UNET, described, state)
    scheduler = {
        "_class_name": "DDIMScheduler",
        "beta_end": diffusion.beta_end,
        "beta_schedule": diffusion.schedule,
        "beta_start": diffusion.beta_start,
        "clip_sample": False,
        "num_train_timesteps": diffusion.num_train_timesteps,
        "prediction_type": config.prediction_type,
        "set_alpha_to_one": False,
        "steps_offset": diffusion.steps_offset,
        "timestep_spacing": diffusion.timestep_spacing,
    }
    write_json(folder / _SCHEDULER / _SCHEDULER_CONFIG, scheduler)


def _config_of(path: Path, values: dict[str, Any]) -> UNetConfig:
    fields = {field.name for field in dataclasses.fields(UNetConfig)} - {"folder", "prediction_type"}
    # What diffusers takes for a field that a file lacks, where it is not Stable Diffusion 1.5's.
    given: dict[str, Any] = {"cross_attention_dim": 1280}
    for name, raw in values.items():
        value = _of_all_blocks(raw)
        if name in fields:
            if not _is_known(name, value):
                raise _unsupported(path, name, raw)
            given[name] = tuple(raw if isinstance(raw, list) else [raw]) if name in _LISTS else value
        elif name not in _UNREAD and (name == "_class_name" or not name.startswith("_")):
            alike = value == _PLAIN[name] if name in _PLAIN else value in (None, False)
            if not alike and (name, value) != ("act_fn", "swish"):
                raise _unsupported(path, name, raw)
    given["attention_head_dim"] = _shortest(given.get("attention_head_dim", (8,)))
    try:
        require_types(UNetConfig, given)
    except BadConfig as error:
        raise BadWeights(f"{path}: is not a config of diffusers, as {error}") from error
    config = UNetConfig(**given)
    if len(config.attention_head_dim) not in (1, len(config.block_out_channels)):
        raise _unsupported(path, "attention_head_dim", values["attention_head_dim"])
    return config


def _schedule_of(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    schedule = {}
    for name, (supported, default) in _SCHEDULE.items():
        value = values.get(name, default)
        if supported is not None and name in values and value not in supported:
            raise _unsupported(path, name, value)
        if value:
            schedule[name] = value
    return schedule


def _is_known(name: str, value: Any) -> bool:
    """Whether the network can have it; whether it does is another question."""
    if name in _KINDS:
        return all(each in _KINDS[name] for each in (value if isinstance(value, list) else [value]))
    return not isinstance(value, list) or name in _LISTS


def _unsupported(path: Path, name: str, value: Any) -> BadWeights:
    return BadWeights(
        f"{path}: {name} is {value!r}, which is not supported; give a UNet of the kind of Stable Diffusion 1.5's or "
        "2.1's."
    )


def _shortest(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[:1] if all(value == values[0] for value in values) else values


def _of_all_blocks(value: Any) -> Any:
    """A list whose elements are all the same, as one of them."""
    alike = isinstance(value, list) and bool(value) and all(each == value[0] for each in value)
    return value[0] if alike else value
