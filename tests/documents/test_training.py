"""The commands of docs/training.md, run on a data set of three people with a network that is small."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from idfsr_jax.config import ModelConfig, to_json


@pytest.fixture(scope="module")
def studio(tmp_path_factory, tiny_config):
    """A folder with three people's photographs (all the astronaut's), splits, and `configs/mine.py`, small."""
    folder = tmp_path_factory.mktemp("studio")
    astronaut = Image.fromarray(skimage.data.astronaut())
    mirrored = Image.fromarray(np.asarray(astronaut)[:, ::-1].copy())
    # The sides differ, for a copy of another's photograph is refused.
    for person, picture, sides in (
        ("Ann", astronaut, (300, 360)),
        ("Bob", mirrored, (300, 360)),
        ("Cem", mirrored, (320, 340)),
    ):
        (folder / "photos" / person).mkdir(parents=True)
        for number, side in enumerate(sides, 1):
            picture.resize((side, side)).save(folder / "photos" / person / f"{number}.jpg", quality=95)
    (folder / "splits").mkdir()
    (folder / "splits" / "train.txt").write_text("Ann\nCem\n")
    (folder / "splits" / "val.txt").write_text("Bob\n")
    train = replace(tiny_config.train, out="runs/mine", steps=2, rollout_fraction=0.5)
    config = replace(
        tiny_config,
        data=replace(tiny_config.data, dataset="data/mine", covered=0.0),
        model=replace(
            tiny_config.model,
            channels=(8, 8),
            blocks=(1, 1),
            attention_at=1,
            references=1,
            identity_tokens=1,
            recognisers=ModelConfig().recognisers,  # those that `idfsr prepare` takes
        ),
        # A step that is judged by networks takes the compiler minutes; tests/training/test_run.py has one.
        train=replace(train, perceptual_loss=0.0, identity_losses=(0.0,) * 4),
        fit=replace(tiny_config.fit, steps=1),
    )
    (folder / "configs").mkdir()
    (folder / "configs" / "mine.json").write_text(to_json(config))
    (folder / "configs" / "mine.py").write_text(
        "import json\nfrom pathlib import Path\n\nfrom idfsr_jax.config import Config, from_dict\n\n"
        "config = from_dict(Config, json.loads(Path(__file__).with_suffix('.json').read_text()))\n"
    )
    return folder


@pytest.mark.timeout(900)  # a step is compiled
def test_the_commands_about_ones_own_data_run(studio, to_be_run, run, capsys):
    lines = list(dict.fromkeys(to_be_run("docs/training.md")))
    assert len(lines) == 3
    for line in lines:
        # Two steps are enough, and a worker would have to start anew.
        line = line.replace(" --train.steps 100", "").replace("idfsr prepare", "idfsr prepare --workers 0")
        code = run(line, studio)
        said = capsys.readouterr()
        assert code == 0, (line, said.err)
        assert ("model: the model of this run, which goes on with a larger --train.steps." in said.out) == (
            " train " in line
        )
    assert json.loads((studio / "runs/mine/model/model.json").read_text())["steps"] == 2
    shutil.rmtree(studio)
