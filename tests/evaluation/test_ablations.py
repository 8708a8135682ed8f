"""The ablation configs change what their names say and nothing else, and can be trained."""

import dataclasses
from pathlib import Path

import pytest

from idfsr_jax.config_checks import read_config

CONFIGS = Path(__file__).parents[2] / "configs"
CHANGES = {
    "no_mask": {"model.mask": "none"},
    "tone_mask": {"model.mask": "tone"},
    "similarity_warp": {"model.warp": "similarity"},
    "no_warp": {"model.warp": "none"},
    "no_identity": {"model.use_identity": False},
    "plain_diffusion": {
        "model.mask": "none",
        "model.use_reference": False,
        "model.use_identity": False,
        "train.identity_loss": 0.0,
    },
}


def flat(config) -> dict:
    return {
        f"{section}.{field}": value
        for section, fields in dataclasses.asdict(config).items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    }


def test_every_ablation_is_known():
    assert {path.stem for path in (CONFIGS / "ablations").glob("*.py")} == {"control", *CHANGES}


@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_changes_one_thing(name):
    base, config = (read_config(CONFIGS / path) for path in ("ablations/control.py", f"ablations/{name}.py"))
    before, after = flat(base), flat(config)
    changed = {key: value for key, value in after.items() if before[key] != value}
    assert changed == CHANGES[name] | {"train.out": f"runs/{name}"}
    assert config.name == name
