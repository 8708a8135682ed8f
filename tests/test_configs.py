"""Every config in configs/ makes sense; tests/training/test_run.py and tests/latent/test_configs.py run them."""

import ast
import json
from pathlib import Path

import pytest

from idfsr_jax.config import Config, from_dict, to_json
from idfsr_jax.config.checks import read_config

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def test_there_are_configs():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_config_makes_sense(path: Path):
    config = read_config(path)
    assert ast.get_docstring(ast.parse(path.read_text())), "a config opens with a note: what it is for, at what cost"
    assert config.name == path.stem and config.train.out == f"runs/{path.stem}"
    assert from_dict(Config, json.loads(to_json(config))) == config
    for shipped in (config.train.landmark_net, config.train.start_from, config.evaluate.protocol):
        assert shipped.startswith("runs/") or (ROOT / shipped).exists(), shipped
