"""What a configuration must hold for a run to make sense, checked before anything is loaded or written."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from idfsr_jax.config import Config, load_config, typed_fields, with_home
from idfsr_jax.io.errors import BadConfig

_LEAST_ONE = {
    "data": ("size", "workers"),
    "model": (
        "patch",
        "attention_at",
        "head_width",
        "embedding",
        "identity_tokens",
        "latent_channels",
        "latent_reduction",
    ),
    "model.unet": ("layers_per_block", "cross_attention_dim", "norm_num_groups"),
    "diffusion": ("shift_base", "num_train_timesteps"),
    "train": ("steps", "batch", "log_every", "checkpoint_every", "keep_checkpoints", "samples_every"),
    "devices": ("fsdp", "fsdp_least"),
    "landmarks": ("size", "steps", "batch"),
    "sample": ("steps",),
    "fit": ("steps", "batch"),
    "evaluate": ("batch",),
}
_POSITIVE = {
    "model": ("prior_std",),
    "model.unet": ("norm_eps",),
    "diffusion": ("min_snr_gamma",),
    "train": ("learning_rate", "clip_norm", "ema_halflife_images"),
    "landmarks": ("learning_rate",),
    "fit": ("learning_rate",),
}
_NOT_NEGATIVE = {
    "model": ("prior_detail_std",),
    "diffusion": ("steps_offset",),
    "train": (
        "weight_decay",
        "identity_smoothing",
        "identity_movement",
        "pixel_loss",
        "perceptual_loss",
        "max_minutes",
        "warmup_steps",
    ),
    "devices": ("data",),
    "landmarks": ("max_shift", "max_log_scale", "max_degrees"),
    "sample": ("guidance", "temperature"),
    "fit": ("max_distance",),
    "evaluate": ("people",),
}
_SHARES = {
    "data": ("clean", "covered"),
    "model": ("mouth",),
    "diffusion": ("condition_dropout",),
    "train": ("rollout_fraction", "beta2", "towards_others"),
    "sample": ("consistency", "reveal"),
}
_SEEDS = {"train": ("seed",), "fit": ("seed",)}
_LISTS = {
    "model": ("channels", "blocks"),
    "model.unet": ("block_out_channels", "attention_head_dim"),
    "landmarks": ("channels",),
}


def read_config(path: Path) -> Config:
    """Reads a config file, its `~` expanded, and says in one sentence what is wrong with it.

    Raises:
      BadConfig: missing, no Python file, fails when it is run, defines no config, or one that makes no sense.
    """
    if path.is_file() and path.suffix != ".py":
        raise BadConfig(f"{path}: is no Python file; give a config file such as configs/lfw128.py.")
    try:
        config = with_home(load_config(path))
    except BadConfig:
        raise
    # Config files are programs of the user's, so that anything can come out of them, `exit()` included.
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        said = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise BadConfig(f"{path}: cannot be run as a config file ({said}); correct it.") from error
    try:
        check_config(config)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error
    return config


def check_config(config: Config) -> None:
    """Checks types, ranges, and what must fit together.

    Raises:
      BadConfig: the sentence names the field, its value, and what it may be.
    """
    fields = dict(typed_fields(config))
    for name in _names(_LEAST_ONE):
        _demand(fields[name] >= 1, fields, name, "a whole number of at least 1")
    for name in _names(_POSITIVE):
        _demand(0 < fields[name] < math.inf, fields, name, "a number above 0")
    for name in _names(_NOT_NEGATIVE):
        _demand(0 <= fields[name] < math.inf, fields, name, "0 or more")
    for name in _names(_SHARES):
        _demand(0 <= fields[name] <= 1, fields, name, "a share from 0 to 1")
    for name in _names(_SEEDS):
        _demand(0 <= fields[name] < 2**32, fields, name, "a whole number from 0 to 4294967295")
    for name in _names(_LISTS):
        _demand(bool(fields[name]) and min(fields[name]) >= 1, fields, name, "whole numbers of at least 1")
    _demand(fields["landmarks.size"] % 4 == 0, fields, "landmarks.size", "a multiple of 4")
    if not config.model.unet.folder:
        _check_own_network(config, fields)
    _check_training(config, fields)
    _check_schedule(fields)
    if config.model.unet.folder:
        _check_unet(config, fields)


def check_use(config: Config) -> None:
    """`check_config` for what nothing is trained by: batches and losses are not asked about.

    Raises:
      BadConfig: see `check_config`.
    """
    devices = max(config.devices.data, 1) * config.devices.fsdp
    train = replace(config.train, batch=2 * devices, rollout_fraction=0.5)
    check_config(replace(config, train=train))


def _check_schedule(fields: dict[str, Any]) -> None:
    low, high = fields["diffusion.log_snr_min"], fields["diffusion.log_snr_max"]
    _demand(-math.inf < low < high < math.inf, fields, "diffusion.log_snr_min", f"a number below log_snr_max, {high}")
    first, last = fields["diffusion.beta_start"], fields["diffusion.beta_end"]
    _demand(0 < last < 1, fields, "diffusion.beta_end", "a number above 0 and below 1")
    _demand(0 < first <= last, fields, "diffusion.beta_start", f"a number above 0 and up to beta_end, {last}")
    if fields["diffusion.schedule"] != "cosine":
        steps, count = fields["sample.steps"], fields["diffusion.num_train_timesteps"]
        _demand(steps <= count, fields, "sample.steps", f"at most diffusion.num_train_timesteps, {count}")
        if fields["diffusion.timestep_spacing"] == "leading":
            most = count - 1 - (steps - 1) * (count // steps)
            wanted = f"at most {most}, as there are {steps} leading of {count} timesteps"
            _demand(fields["diffusion.steps_offset"] <= most, fields, "diffusion.steps_offset", wanted)


def _check_own_network(config: Config, fields: dict[str, Any]) -> None:
    size = fields["data.size"]
    channels, blocks, patch = fields["model.channels"], fields["model.blocks"], fields["model.patch"]
    _demand(len(channels) > 1, fields, "model.channels", "two widths or more, as references have two")
    _demand(len(blocks) == len(channels), fields, "model.blocks", f"one for each of the {len(channels)} model.channels")
    multiple = config.model.pixels_per_place * 2 ** (len(channels) - 1)
    latents = f" and {config.model.latent_reduction} pixels to a latent" if config.model.autoencoder else ""
    wanted = f"a multiple of {multiple}, as there are {len(channels)} model.channels{latents}"
    _demand(size % multiple == 0, fields, "data.size", wanted)
    sides = [config.model.diffused_side(size) // patch // 2**level for level in range(len(channels))]
    attending = [width for width, side in zip(channels, sides, strict=True) if side <= fields["model.attention_at"]]
    head = fields["model.head_width"]
    _demand(all(width % head == 0 for width in attending), fields, "model.channels", f"multiples of head_width, {head}")


def _check_unet(config: Config, fields: dict[str, Any]) -> None:
    unet, model = config.model.unet, config.model
    _demand(bool(model.autoencoder), fields, "model.autoencoder", "the autoencoder whose latents model.unet predicts")
    known = fields["diffusion.schedule"] != "cosine"
    _demand(known, fields, "diffusion.schedule", "the schedule of timesteps that model.unet was trained on")
    widths = unet.block_out_channels
    for part in ("down_block_types", "up_block_types"):
        wanted = f"one for each of the {len(widths)} block_out_channels"
        _demand(len(getattr(unet, part)) == len(widths), fields, f"model.unet.{part}", wanted)
    wanted = f"one for all or one for each of the {len(widths)} block_out_channels"
    _demand(len(unet.heads) == len(widths), fields, "model.unet.attention_head_dim", wanted)
    groups = unet.norm_num_groups
    for width, count in zip(widths, unet.heads, strict=True):
        fits = width % groups == 0 and width % count == 0
        wanted = f"multiples of norm_num_groups, {groups}, and of as many heads as attention_head_dim says"
        _demand(fits, fields, "model.unet.block_out_channels", wanted)
    # Half of the timestep's features are sines.
    _demand(widths[0] % 2 == 0, fields, "model.unet.block_out_channels", "an even number first")
    most = widths[0] // 2 - 1
    _demand(0 <= unet.freq_shift <= most, fields, "model.unet.freq_shift", f"a whole number from 0 to {most}")
    wanted = f"{unet.cross_attention_dim}, the width of model.unet's tokens"
    _demand(model.embedding == unet.cross_attention_dim, fields, "model.embedding", wanted)
    multiple = model.latent_reduction * 2 ** (len(widths) - 1)
    wanted = f"a multiple of {multiple}, as there are {len(widths)} model.unet.block_out_channels"
    _demand(fields["data.size"] % multiple == 0, fields, "data.size", wanted)


def _check_training(config: Config, fields: dict[str, Any]) -> None:
    train, model, groups = config.train, config.model, max(config.devices.data, 1)
    named = f"devices.data ({groups}) x devices.fsdp ({config.devices.fsdp})"
    _demand(train.batch % (groups * config.devices.fsdp) == 0, fields, "train.batch", f"a multiple of {named}")
    _demand(config.sample.steps > 1, fields, "sample.steps", "2 or more, as the states between them are trained at")
    if train.rollout_fraction > 0:
        # AlexNet leaves nothing of smaller pictures.
        seen = config.data.size >= 32 or train.perceptual_loss == 0
        _demand(seen, fields, "data.size", "32 or more, or a train.perceptual_loss of 0")
    if not model.unet.folder:
        multiple = 4 * model.pixels_per_place
        named = f"a multiple of {multiple}, as references are attended to by 4 x 4 places of the network"
        _demand(fields["data.size"] % multiple == 0, fields, "data.size", named)
    count = len(model.recognisers)
    judged = round(train.batch * train.rollout_fraction)
    # To decode estimates at 512 px and hold what the decoder made is more than a step of latents need cost.
    sound = 0 < judged < train.batch or (bool(model.autoencoder) and train.rollout_fraction == 0)
    named = f"a share of a batch of {train.batch} that leaves one example and more on the course and beside it"
    _demand(sound, fields, "train.rollout_fraction", named + (", or 0" if model.autoencoder else ""))
    sound = len(train.identity_losses) == count and all(0 <= each < math.inf for each in train.identity_losses)
    _demand(sound, fields, "train.identity_losses", f"{count} numbers of 0 and more, one for each recogniser")
    _demand(fields["model.references"] > 0, fields, "model.references", "1 or more")
    _demand(train.contrastive_temperature > 0, fields, "train.contrastive_temperature", "a number above 0")


def _names(sections: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [f"{section}.{field}" for section, fields in sections.items() for field in fields]


def _demand(fulfilled: bool, fields: dict[str, Any], name: str, wanted: str) -> None:
    if not fulfilled:
        raise BadConfig(f"{name} is {fields[name]!r}; give {wanted}.")
