"""A few drawn faces, and what runs in processes of their own need."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import small_run
from idfsr_jax.config import Config, DeviceConfig, load_config
from idfsr_jax.data.examples import draw_example, gather, with_pictures
from idfsr_jax.method.examples import Frozen
from idfsr_jax.networks.recognisers import dimensions, load_recognisers
from idfsr_jax.training.invented import invented_frozen, invented_people


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


@pytest.fixture(scope="session")
def small_config(tmp_path_factory) -> Config:
    """Of a run whose step is small and judged by no network."""
    config = load_config(small_run.write_config(tmp_path_factory.mktemp("config") / "small.py", Path("faces"), steps=6))
    return replace(config, devices=DeviceConfig(data=1))


@pytest.fixture(scope="session")
def small_frozen(small_config) -> Frozen:
    """What a step of `small_config` reads and never changes."""
    recognisers = load_recognisers(small_config.model.recognisers)
    return invented_frozen(small_config, recognisers, invented_people(small_config, dimensions(recognisers)))


@pytest.fixture(scope="session")
def small_batch(small_config) -> Callable[..., dict[str, np.ndarray]]:
    """A function of a batch's number and length: examples of invented people, always the same."""
    people = invented_people(small_config, (128,))

    def batch(number: int, length: int = 2) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        records = rng.integers(0, len(people.faces.index), length)
        examples = gather(people.faces.index, [draw_example(people, int(record), rng) for record in records])
        return jax.tree.map(np.asarray, with_pictures(examples, people.faces.images))

    return batch
