"""The real command, killed in the middle of a run and started again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = 120
CONFIG = """
from idfsr_jax.config import Config, DataConfig, LandmarkConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="killed",
    data=DataConfig(dataset={dataset!r}, size=16, scales=(4, 8), scale_weights=(1.0, 1.0)),
    model=ModelConfig(channels=(8,), blocks=(1,), attention_at=1, embedding=16, identity_tokens=1),
    landmarks=LandmarkConfig(size=16, channels=(4,), steps=1, batch=2, low_resolution_widths=(2, 4)),
    train=TrainConfig(steps={steps}, batch=2, warmup_steps=1, log_every=1, checkpoint_every=8, samples_every=100000),
    sample=SampleConfig(steps=1),
)
"""


@pytest.fixture
def start(tmp_path, noise_faces, child_environment):
    """A function that starts `idfsr train` into a folder, as a user would."""
    config = tmp_path / "killed.py"
    config.write_text(CONFIG.format(dataset=str(noise_faces), steps=STEPS))
    processes = []

    def started(out: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "idfsr_jax.cli", "train", str(config), "--train.out", str(out)]
        process = subprocess.Popen(command, env=os.environ | child_environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def _newest(out: Path) -> int:
    return max((int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def _finish(process: subprocess.Popen) -> int:
    process.communicate(timeout=400)
    return process.returncode


@pytest.mark.timeout(1800)
def test_stopped_and_killed_and_started_again_it_ends_as_if_nothing_had_happened(start, log_of, wait_until, tmp_path):
    broken, whole = tmp_path / "broken", tmp_path / "whole"

    process = start(broken)
    wait_until(lambda: len(log_of(broken)) >= 3, process)
    process.send_signal(signal.SIGTERM)
    assert _finish(process) == 128 + signal.SIGTERM
    stopped = len(log_of(broken))
    assert stopped < STEPS and _newest(broken) == stopped
    assert json.loads((broken / "model" / "model.json").read_text())["steps"] == stopped

    process = start(broken)
    wait_until(lambda: _newest(broken) > stopped, process)
    process.send_signal(signal.SIGKILL)
    assert _finish(process) == -signal.SIGKILL
    killed, saved = len(log_of(broken)), _newest(broken)
    assert stopped < saved <= killed < STEPS

    assert _finish(start(broken)) == 0
    assert _finish(start(whole)) == 0
    log, expected = log_of(broken), {line["step"]: line for line in log_of(whole)}
    # The first step not in the checkpoint comes next, and the steps that were lost come once more.
    assert [line["step"] for line in log] == [*range(1, killed + 1), *range(saved + 1, STEPS + 1)]
    for line in log:
        for name in set(line) - {"time", "images_per_second"}:
            assert line[name] == expected[line["step"]][name], (line["step"], name)
    names = sorted(path.name for path in (whole / "model").glob("*.safetensors"))
    assert len(names) >= 3
    for name in names:
        assert (broken / "model" / name).read_bytes() == (whole / "model" / name).read_bytes(), name
    assert len({line["loss"] for line in log}) > STEPS // 2
