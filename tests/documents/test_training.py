"""The commands of docs/training.md, run on a data set of two people with a network that is small."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from idfsr_jax.config import to_json


@pytest.fixture(scope="module")
def studio(tmp_path_factory, tiny_config):
    """A folder with two people's photographs (both the astronaut's), splits, and `configs/mine.py`, a small network."""
    folder = tmp_path_factory.mktemp("studio")
    astronaut = Image.fromarray(skimage.data.astronaut())
    mirrored = Image.fromarray(np.asarray(astronaut)[:, ::-1].copy())
    for person, picture in (("Ann", astronaut), ("Bob", mirrored)):
        (folder / "photos" / person).mkdir(parents=True)
        for number, side in enumerate((300, 360), 1):
            picture.resize((side, side)).save(folder / "photos" / person / f"{number}.jpg", quality=95)
    (folder / "splits").mkdir()
    (folder / "splits" / "train.txt").write_text("Ann\n")
    (folder / "splits" / "val.txt").write_text("Bob\n")
    config = replace(
        tiny_config,
        data=replace(tiny_config.data, dataset="data/mine", covered=0.0),
        model=replace(tiny_config.model, patch=4, recognisers=("dlib", "mobilefacenet")),
        train=replace(
            tiny_config.train,
            out="runs/mine",
            steps=2,
            rollout_fraction=0.5,
            perceptual_loss=0.0,
            identity_losses=(0.0, 0.0),
        ),
    )
    (folder / "configs").mkdir()
    (folder / "configs" / "mine.json").write_text(to_json(config))
    (folder / "configs" / "mine.py").write_text(
        "import json\nfrom pathlib import Path\n\nfrom idfsr_jax.config import Config, from_dict\n\n"
        "config = from_dict(Config, json.loads(Path(__file__).with_suffix('.json').read_text()))\n"
    )
    return folder


@pytest.mark.timeout(900)
def test_the_commands_about_ones_own_data_run(studio, to_be_run, run, capsys):
    lines = to_be_run("docs/training.md")
    assert len(lines) == 5
    for line in lines:
        # What is long is cut short by the overrides that the page speaks of; a worker would have to start anew.
        short = {"--train.steps 100": "--train.steps 3", "idfsr prepare": "idfsr prepare --workers 0"}
        for long, brief in short.items():
            line = line.replace(long, brief)
        code = run(line, studio)
        assert code == 0, (line, capsys.readouterr().err)
    assert json.loads((studio / "runs/mine/model/model.json").read_text())["steps"] == 3
    shutil.rmtree(studio)
