"""Runs through `train.py`: the shipped config, made small, steps, stops, goes on and leaves a model."""

import json
import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.small_run import newest_checkpoint, noise_faces, read_log, write_config
from idfsr_jax.config import DeviceConfig, load_config
from idfsr_jax.data.examples import load_people
from idfsr_jax.data.faces import load_faces
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.method.model import load_model
from idfsr_jax.training.run import _require_room
from idfsr_jax.training.run import train as train_model
from idfsr_jax.training.val import few_cases

# The step of even a small network takes a minute of the compiler's time.
pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "lfw128.py"
SMALL = """
    --data.size 32 --data.workers 1 --model.recognisers mobilefacenet --model.references 2
    --model.channels 8 8 --model.blocks 1 1 --model.head-width 8 --model.embedding 16 --model.identity-tokens 1
    --model.attention-at 4 --landmarks.size 32 --landmarks.channels 4 4 4 --landmarks.steps 2 --landmarks.batch 2
    --train.batch 3 --train.identity-losses 0.5 --train.log-every 1 --train.start-from= --devices.data 1
    --data.covered 0
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory, face_crop):
    folder = tmp_path_factory.mktemp("faces")
    return noise_faces(folder, face_crop.landmarks, encoder="mobilefacenet-ms1m-v1", length=192)


@pytest.fixture(scope="module")
def train(faces):
    """A function that runs `python train.py CONFIG [MORE ...]` on a small network; returns its exit code."""

    def run(out, *more):
        options = [*SMALL.split(), "--data.dataset", str(faces), "--train.out", str(out), *more]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", str(CONFIG), *options])
            with pytest.raises(SystemExit) as exit:
                runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        return exit.value.code

    return run


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """The folder of a run of two steps."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(out, "--train.steps", "2", "--train.checkpoint-every", "1") == 0
    return out


def test_a_run_goes_on_bit_for_bit_and_leaves_a_model(train, whole, tmp_path):
    parts = tmp_path / "parts"
    assert train(parts, "--train.steps", "2", "--train.checkpoint-every", "1", "--train.max-minutes", "1e-6") == 0
    assert newest_checkpoint(parts) == 1
    assert train(parts, "--train.steps", "2", "--train.checkpoint-every", "1") == 0
    ours, theirs = (
        [{k: v for k, v in line.items() if "time" not in k and "second" not in k} for line in read_log(out)]
        for out in (whole, parts)
    )
    assert ours == theirs and [line["step"] for line in ours] == [1, 2]
    assert all(math.isfinite(value) for line in ours for value in line.values())
    val = [json.loads(line) for line in (parts / "val.jsonl").read_text().splitlines()]
    assert [line["step"] for line in val] == [2]
    assert all(math.isfinite(value) for value in val[0].values()) and "psnr_face" in val[0]
    assert (parts / "samples" / "0000002.png").exists()
    one, other = load_model(whole / "model"), load_model(parts / "model")
    assert one.digest == other.digest and one.steps == 2
    assert one.encoder == "mobilefacenet-ms1m-v1" and one.center.shape == (192,)
    assert one.config.model.recognisers == ("mobilefacenet",)


def test_a_run_goes_on_with_its_pictures_on_the_device(tmp_path, face_crop):
    config = load_config(write_config(tmp_path / "small.py", noise_faces(tmp_path, face_crop.landmarks), steps=3))
    host, device = tmp_path / "host", tmp_path / "device"

    def run(out: Path, on_device: bool = False, minutes: float = 0.0) -> None:
        data = replace(config.data, on_device=on_device)
        settings = replace(config.train, out=str(out), checkpoint_every=1, max_minutes=minutes)
        assert train_model(replace(config, data=data, train=settings, devices=DeviceConfig(data=2))) == 0

    run(host)
    run(device, minutes=1e-6)
    assert newest_checkpoint(device) == 1
    run(device, on_device=True)
    ours, theirs = read_log(device), read_log(host)
    assert [line["step"] for line in ours] == [1, 2, 3]
    # The same numbers, in another program.
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose([line[name] for line in ours], [line[name] for line in theirs], rtol=1e-5)
    models = (jax.tree.leaves(load_model(out / "model").denoiser) for out in (host, device))
    for one, other in zip(*models, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_pictures_that_a_device_has_no_room_for_are_refused():
    _require_room(1_000_000_000, 4_000_000_000)
    with pytest.raises(BadConfig, match=r"data\.on_device: the pictures take 1\.1 GB of the 4\.0 GB of a device"):
        _require_room(1_100_000_000, 4_000_000_000)
    _require_room(1_100_000_000, 0)


def test_one_person_alone_is_nobody_to_train_on(train, tmp_path, capsys):
    assert train(tmp_path / "run", "--data.train-split", "val") == 2
    assert "its split val shows one person, and training needs others" in " ".join(capsys.readouterr().err.split())


def test_whoever_has_one_photograph_cannot_be_looked_at(faces):
    own = load_faces(faces, "val", 32)
    people = load_people(own, np.zeros(192, np.float32), (192,), 1)
    assert len(few_cases(people)) == 1
    apart = replace(own.index, people=("E", "F"), person=np.arange(2, dtype=own.index.person.dtype))
    assert few_cases(replace(people, faces=replace(own, index=apart))) == []


def test_a_data_set_of_other_recognisers_is_refused(train, tmp_path, capsys):
    code = train(tmp_path / "run", "--model.recognisers", "dlib", "--train.identity-losses", "0.5")
    assert code == 2
    assert "prepare it with `idfsr prepare --encoder dlib`" in " ".join(capsys.readouterr().err.split())


def test_a_run_begins_with_a_models_weights_and_landmark_net(train, whole, tmp_path):
    start, out = load_model(whole / "model"), tmp_path / "run"
    options = ["--train.start-from", str(whole / "model"), "--train.steps", "1", "--train.warmup-steps", "0"]
    assert train(out, *options) == 0
    model = load_model(out / "model")
    jax.tree.map(np.testing.assert_array_equal, model.landmark_net, start.landmark_net)
    # A step of Adam moves no weight by much more than its rate, and weights of chance would lie elsewhere.
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), model.denoiser, start.denoiser)
    assert 0 < max(jax.tree.leaves(moved)) < 2e-4
