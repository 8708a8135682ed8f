import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.training.loop import NonFiniteLoss, train_denoiser
from idfsr_jax.training.step import Frozen


class SeededBatches:
    """Batches that are a function of their number, which is the whole state; notes the numbers handed out."""

    def __init__(self, face_crop, poison: int | None = None) -> None:
        self.landmarks, self.next, self.given, self.poison = face_crop.landmarks, 0, [], poison

    def __next__(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.next)
        images = rng.integers(0, 256, (2, 2, 32, 32, 3), np.uint8)
        descriptors = rng.normal(size=(2, 128)).astype(np.float32)
        if self.next == self.poison:
            descriptors[:] = np.nan
        self.given.append(self.next)
        self.next += 1
        landmarks = np.stack([self.landmarks, self.landmarks])
        return {
            "target": images[0],
            "target_landmarks": landmarks,
            "reference": images[1],
            "reference_landmarks": landmarks,
            "embedding": descriptors,
            "target_embedding": descriptors,
            "scale": rng.integers(0, 2, 2).astype(np.int32),
        }

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


@pytest.fixture
def frozen(tiny_weights):
    return Frozen(tiny_weights[1], None, jnp.zeros(128))


def configured(tiny_config, out, **train):
    options = {"out": str(out), "steps": 6, "log_every": 1, "checkpoint_every": 2, "samples_every": 100}
    return replace(tiny_config, train=replace(tiny_config.train, **options | train))


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, tiny_config, frozen, face_crop, monkeypatch):
    whole_batches = SeededBatches(face_crop)
    whole, _ = train_denoiser(configured(tiny_config, tmp_path / "whole"), frozen, whole_batches)
    assert whole_batches.given == list(range(6))

    from idfsr_jax.training import loop

    first = SeededBatches(face_crop)
    # The schedule belongs to the whole run, so it is stopped as by a signal, after its third step.
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_signal", lambda: _StopAfter(first, 3))
        half, number = train_denoiser(configured(tiny_config, tmp_path / "halves"), frozen, first)
    assert number == 15 and int(half.step) == 3 and first.given == [0, 1, 2]

    second = SeededBatches(face_crop)
    resumed, number = train_denoiser(configured(tiny_config, tmp_path / "halves"), frozen, second)
    assert number == 0 and second.given == [3, 4, 5]
    assert int(resumed.step) == 6
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    moved = jax.tree.map(lambda a, b: np.any(np.asarray(a) != np.asarray(b)), half.params, whole.params)
    assert any(jax.tree.leaves(moved))

    steps = [json.loads(line)["step"] for line in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]

    third = SeededBatches(face_crop)
    again, _ = train_denoiser(configured(tiny_config, tmp_path / "halves"), frozen, third)
    assert third.given == []
    jax.tree.map(np.testing.assert_array_equal, again, whole)


class _StopAfter:
    def __init__(self, batches, count: int) -> None:
        self.batches, self.count = batches, count

    def __enter__(self):
        return lambda: 15 if len(self.batches.given) >= self.count else 0

    def __exit__(self, *error) -> None:
        pass


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path, tiny_config, frozen, face_crop):
    config = configured(tiny_config, tmp_path, log_every=2)
    with pytest.raises(NonFiniteLoss, match="at step 4;"):
        train_denoiser(config, frozen, SeededBatches(face_crop, poison=3))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert kept == ["2"]


def test_only_the_newest_checkpoints_are_kept(tmp_path, tiny_config, frozen, face_crop):
    config = configured(tiny_config, tmp_path, checkpoint_every=1, keep_checkpoints=2)
    train_denoiser(config, frozen, SeededBatches(face_crop))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert kept == ["5", "6"]
