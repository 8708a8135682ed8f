import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.small_run import write_config
from idfsr_jax.config import DeviceConfig, load_config
from idfsr_jax.io.errors import InputError
from idfsr_jax.training.run import train
from idfsr_jax.training.sole_use import FolderInUse, sole_use

HOLDER = """
import sys, time
from pathlib import Path
from idfsr_jax.training.sole_use import sole_use
with sole_use(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_kept_out_until_the_first_has_ended(tmp_path):
    with sole_use(tmp_path / "run"):
        with (
            pytest.raises(FolderInUse, match=r"run: another run is at work in this folder; wait"),
            sole_use(tmp_path / "run"),
        ):
            pytest.fail("entered")
        with sole_use(tmp_path / "other"):
            pass
    with sole_use(tmp_path / "run"):
        pass


def test_a_run_that_fails_frees_its_folder(tmp_path):
    with pytest.raises(KeyError), sole_use(tmp_path):
        raise KeyError("x")
    with sole_use(tmp_path):
        pass


def test_a_killed_run_frees_its_folder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse), sole_use(tmp_path):
            pytest.fail("entered")
        process.send_signal(signal.SIGKILL)
    with sole_use(tmp_path):
        pass


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    monkeypatch.setattr("idfsr_jax.training.sole_use.try_lock", lambda file: None)
    with sole_use(tmp_path), sole_use(tmp_path):
        pass


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"run: cannot be written to \(Not a directory\)"),
        sole_use(tmp_path / "file/run"),
    ):
        pytest.fail("entered")


def test_training_asks_before_it_writes(noise_faces, tmp_path):
    out = tmp_path / "run"
    config = load_config(write_config(tmp_path / "small.py", noise_faces, 1))
    with sole_use(out), pytest.raises(FolderInUse):
        train(replace(config, train=replace(config.train, out=str(out)), devices=DeviceConfig(data=1)))
    assert {path.name for path in out.iterdir()} == {"lock"}
