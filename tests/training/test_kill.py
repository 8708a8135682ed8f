"""The real command, killed in the middle of a run and started again."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from idfsr_jax.data.identity_faces import IdentityFaces
from idfsr_jax.data.parts import FaceRecord

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


def _record(photo: str, landmarks: np.ndarray) -> FaceRecord:
    """A picture of noise, a function of its name."""
    digest = hashlib.sha256(photo.encode())
    rng = np.random.default_rng(list(digest.digest()))
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file, "JPEG")
    descriptor = rng.normal(size=128).astype(np.float32)
    return FaceRecord(photo, file.getvalue(), landmarks, descriptor, digest.hexdigest())


def _cache(tmp_path: Path) -> dict[str, str]:
    """Compiled code is kept beside, and not among, that of the tests: a killed process may leave half an entry."""
    kept = jax.config.jax_compilation_cache_dir
    folder = Path(kept).with_name(f"{Path(kept).name}-train") if kept else tmp_path / "xla"
    folder.mkdir(mode=0o700, exist_ok=True)
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**28),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture
def start(tmp_path, face_crop):
    """A function that starts `idfsr train` into a folder, as a user would."""
    photos = {"train": [f"{person}/{n}.jpg" for person in "ABCD" for n in range(3)], "val": ["E/0.jpg", "E/1.jpg"]}
    records = {
        split: (lambda names=names: ((name[0], _record(name, face_crop.landmarks)) for name in names))
        for split, names in photos.items()
    }
    IdentityFaces(data_dir=tmp_path / "data", records=records, encoder="dlib-resnet-v1").download_and_prepare()
    config = tmp_path / "killed.py"
    config.write_text(CONFIG.format(dataset=str(tmp_path / "data"), steps=STEPS))
    places = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **_cache(tmp_path)}
    processes = []

    def started(out: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "idfsr_jax.cli", "train", str(config), "--train.out", str(out)]
        process = subprocess.Popen(command, env=os.environ | places, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def _log(out: Path) -> list[dict]:
    path = out / "log.jsonl"
    # The last line may be being written.
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


def _newest(out: Path) -> int:
    return max((int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 400
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _finish(process: subprocess.Popen) -> int:
    process.communicate(timeout=400)
    return process.returncode


@pytest.mark.timeout(1800)
def test_stopped_and_killed_and_started_again_it_ends_as_if_nothing_had_happened(start, tmp_path):
    broken, whole = tmp_path / "broken", tmp_path / "whole"

    process = start(broken)
    _wait_until(lambda: len(_log(broken)) >= 3, process)
    process.send_signal(signal.SIGTERM)
    assert _finish(process) == 128 + signal.SIGTERM
    stopped = len(_log(broken))
    assert stopped < STEPS and _newest(broken) == stopped
    assert json.loads((broken / "model" / "model.json").read_text())["steps"] == stopped

    process = start(broken)
    _wait_until(lambda: _newest(broken) > stopped, process)
    process.send_signal(signal.SIGKILL)
    assert _finish(process) == -signal.SIGKILL
    killed, saved = len(_log(broken)), _newest(broken)
    assert stopped < saved <= killed < STEPS

    assert _finish(start(broken)) == 0
    assert _finish(start(whole)) == 0
    log, expected = _log(broken), {line["step"]: line for line in _log(whole)}
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
