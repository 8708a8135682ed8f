"""What a run may not change when it goes on."""

import dataclasses
import json
import operator
from pathlib import Path
from typing import Any

from idfsr_jax.config import Config, from_dict
from idfsr_jax.io.errors import BadConfig


def require_same_run(path: str | Path, recorded: bytes | dict[str, Any], config: Config, place: str | Path) -> None:
    """Checks that a configuration is of the run that left a recorded one behind.

    Args:
      path: where that comes from, for the complaint.
      recorded: it, as JSON or read from JSON; a field that it did not know yet has its default.
      config: of the run that is to go on.
      place: the folder or checkpoint that is of that run, for the complaint.

    Raises:
      BadConfig: it is of another run; the sentence names the first field that differs. Or what was recorded is damaged.
    """
    before = _read_config(path, recorded)
    for name in _fixed_fields(config):
        old, new = (operator.attrgetter(name)(each) for each in (before, config))
        if old != new:
            raise BadConfig(
                f"{place}: belongs to a run with {name} = {old!r}, not {new!r}; "
                "choose another train.out or the same configuration."
            )


def _fixed_fields(config: Config) -> list[str]:
    """Dotted names of the fields that runs are told apart by.

    Not among them is what only says how long a run is, on what machines it runs, how often it tells, and how it is
    sampled from.
    """
    sections = ("data", "model", "diffusion", "landmarks")
    parts = [(section, getattr(config, section)) for section in sections]
    fields = [name for section, part in parts for name in _leaves(section, part)]
    free = ("data.workers", "data.on_device", "model.remat", "diffusion.timestep_spacing", "diffusion.steps_offset")
    for name in free:
        fields.remove(name)
    return [*fields, "train.start_from", "train.seed", "train.batch"]


def _leaves(name: str, part: Any) -> list[str]:
    """Dotted names of the fields of a config, those of its parts among them."""
    if not dataclasses.is_dataclass(part):
        return [name]
    return [leaf for f in dataclasses.fields(part) for leaf in _leaves(f"{name}.{f.name}", getattr(part, f.name))]


def _read_config(path: str | Path, recorded: bytes | dict[str, Any]) -> Config:
    try:
        values = json.loads(recorded) if isinstance(recorded, bytes) else recorded
        return from_dict(Config, {name: value for name, value in values.items() if name != "evaluate"})
    except (BadConfig, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadConfig(f"{path}: is damaged, so that the run cannot be told; choose another train.out.") from error
