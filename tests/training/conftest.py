"""A few drawn faces, and what runs in processes of their own need."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from benchmarks import small_run


@pytest.fixture
def noise_faces(tmp_path, face_crop) -> Path:
    """A data set of a few pictures of noise, 32 px."""
    return small_run.noise_faces(tmp_path / "data", face_crop.landmarks)


@pytest.fixture
def child_environment(tmp_path) -> dict[str, str]:
    """Variables of a process that trains.

    Its compiled code is kept beside, and not among, that of the tests: a killed process may leave half an entry, and it
    may have other devices.
    """
    kept = jax.config.jax_compilation_cache_dir
    return small_run.process_environment(Path(kept).with_name(f"{Path(kept).name}-train") if kept else tmp_path / "xla")


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """A function that waits for a condition for as long as the processes given live."""

    def wait(ready: Callable[[], bool], *processes: subprocess.Popen) -> None:
        deadline = time.monotonic() + 400
        while not ready():
            for process in processes:
                assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait
