"""Mistakes in a command line are named in one sentence before work starts; those of `restore` are in test_restore."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLANNED = str(Path(__file__).parents[2] / "configs" / "lfw128.py")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare"], "--photos is missing"),
        (["prepare", "--photos", "me"], "--out is missing"),
        (["prepare", "--photos", "nowhere", "--out", "o"], "nowhere: no such folder"),
        (["prepare", "--photos", "me", "--out", "o", "--splits", "nowhere"], "nowhere: no such folder"),
        (["prepare", "--photos", "me", "--out", "tiny.png"], "tiny.png: is a file"),
        (["prepare", "--photos", "me", "--out", "o", "--workers", "-1"], "--workers -1"),
        (["prepare", "--photos", "me", "--out", "o", "--lists", "train_x.csv"], "train_x.csv: no such list"),
        (["prepare", "--photos", "me", "--out", "o", "--identities", "who.txt"], "who.txt: no such list"),
        (["fit"], "--photos is missing; give "),
        (["fit", "--photos", "me"], "--out is missing; give "),
        (["fit", "--photos", "nobody", "--out", "x.safetensors"], "nobody: no such photograph"),
        (["fit", "--photos", ".", "--out", "me"], "safetensors"),
        (["fit", "--photos", "me", "--out", "x.png"], "safetensors"),
        (["fit", "--photos", "me", "--out", "x.safetensors", "--box", "c.png:1,2,3,4"], "c.png:1,2,3,4: none of the"),
        (["fit", "--photos", "me", "--out", "tiny.png/x.safetensors"], "cannot be written to"),
        (["fit", "--photos", "me", "--out", "me.safetensors"], "me.safetensors: is there already, and is no identity"),
        (["train", "nowhere.py"], "nowhere.py: no such config file"),
        (["evaluate", "nowhere.py", "--name", "x"], "nowhere.py: no such config file"),
        (["export"], "--out is missing"),
        (["export", "--out", "tiny.png"], "tiny.png: is a file"),
        (["export", "--out", "o", "--batch", "0"], "--batch 0"),
        (["export", "--out", "o", "--steps", "0"], "--steps 0"),
        (["export", "--out", "o", "--photos", "me"], "--identity and --photos belong together"),
        (["export", "--out", "o", "--photos", "me", "--identity", "you.safetensors"], "you.safetensors: no such"),
        (["plan", "nowhere.py"], "nowhere.py: no such config file"),
        (["plan", PLANNED, "--devices", "0"], "--devices 0"),
        (["plan", PLANNED, "--devices.fsdp", "0"], "devices.fsdp is 0, which does not divide 8 devices"),
        (["plan", PLANNED, "--devices.fsdp", "3"], "devices.fsdp is 3, which does not divide 8 devices"),
        (["plan", PLANNED, "--memory", "h1000"], "--memory h1000: give the GiB of each device, or one of"),
        (["plan", PLANNED, "--memory", "nan"], "--memory nan"),
        (["plan", PLANNED, "--memory=-1"], "--memory -1"),
        (["plan", PLANNED, "--train.batch", "0"], "train.batch is 0"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(
    arguments: list[str], said: str, folder: Path, calls: list[Any], complaint: Callable[[list[str]], str]
):
    assert said in complaint(arguments)
    assert calls == []
