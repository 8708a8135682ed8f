"""A config read from a Python file, and as JSON."""

import dataclasses
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idfsr_jax.config.data import DataConfig, LandmarkConfig
from idfsr_jax.config.model import ModelConfig
from idfsr_jax.config.training import DeviceConfig, DiffusionConfig, TrainConfig
from idfsr_jax.config.use import EvaluateConfig, FitConfig, SampleConfig
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.io.names import at_home


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = "default"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    landmarks: LandmarkConfig = field(default_factory=LandmarkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    devices: DeviceConfig = field(default_factory=DeviceConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


def load_config(path: str | Path) -> Config:
    """Reads `config` from a Python file.

    Raises:
      BadConfig: the file is missing or defines no `config`.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise BadConfig(f"{path}: no such config file; the shipped ones are in configs/.")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise BadConfig(f"{path}: defines no `config = Config(...)`.")
    return config


def with_home(config: Any) -> Any:
    """A config with every `~` at the head of a path replaced by the home folder, see `io.names.at_home`."""
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if dataclasses.is_dataclass(value):
            changed[each.name] = with_home(value)
        elif isinstance(value, str):
            changed[each.name] = at_home(value)
        elif isinstance(value, tuple):
            changed[each.name] = tuple(at_home(part) if isinstance(part, str) else part for part in value)
    return dataclasses.replace(config, **changed)


def to_json(config: Any) -> str:
    """A dataclass as sorted, indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True)


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Rebuilds a (nested) config dataclass from `dataclasses.asdict` or its JSON.

    Raises:
      BadConfig: a field is unknown.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise BadConfig(f"{cls.__name__} has no field {', '.join(unknown)}; the file was written by another version.")
    kwargs = {}
    for name, value in values.items():
        kind = fields[name].type
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            value = from_dict(kind, value)  # type: ignore[arg-type]
        kwargs[name] = tuple(value) if isinstance(value, list) else value
    return cls(**kwargs)
