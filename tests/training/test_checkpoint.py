import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.errors import BadWeights
from idfsr_jax.training.checkpoint import open_checkpoints, restore
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
            "record": np.array([10 * self.given[-1], 10 * self.given[-1] + 1]),
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
    with pytest.raises(NonFiniteLoss, match=r"at step 4, of photo 30, photo 31;"):
        train_denoiser(config, frozen, SeededBatches(face_crop, poison=3), name_of=lambda record: f"photo {record}")
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert kept == ["2"]


def test_only_the_newest_checkpoints_are_kept(tmp_path, tiny_config, frozen, face_crop):
    config = configured(tiny_config, tmp_path, checkpoint_every=1, keep_checkpoints=2)
    train_denoiser(config, frozen, SeededBatches(face_crop))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert kept == ["5", "6"]


def _flip_bit_of_the_largest_file(folder) -> None:
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut_every_file(folder) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _rewrite_the_notes(folder, before: str, after: str) -> None:
    (path,) = [path for path in (folder / "iterator").rglob("*") if path.is_file() and "next" in path.read_text()]
    assert path.read_text().count(before) == 1
    path.write_text(path.read_text().replace(before, after))


def _change_the_position(folder) -> None:
    _rewrite_the_notes(folder, '"next": 6', '"next": 7')


def _make_it_another_run(folder) -> None:
    _rewrite_the_notes(folder, '"min_snr_gamma": 5.0', '"min_snr_gamma": 1.0')


def _misspell_a_field(folder) -> None:
    _rewrite_the_notes(folder, '"keep_checkpoints"', '"kgep_checkpoints"')


@pytest.fixture(scope="module")
def _finished(tmp_path_factory, tiny_config, tiny_weights, face_crop):
    """The folder and last state of a run of six steps."""
    out = tmp_path_factory.mktemp("finished")
    frozen = Frozen(tiny_weights[1], None, jnp.zeros(128))
    return out, train_denoiser(configured(tiny_config, out), frozen, SeededBatches(face_crop))[0]


@pytest.mark.parametrize(
    "damage",
    [
        _flip_bit_of_the_largest_file,
        _cut_every_file,
        _change_the_position,
        _make_it_another_run,
        _misspell_a_field,
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_taken(
    tmp_path, tiny_config, _finished, capsys, damage
):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    damage(out / "checkpoints" / "6")
    config = configured(tiny_config, out)
    with open_checkpoints(config.train) as manager:
        state, position = restore(manager, whole, config)
        assert (int(state.step), position) == (4, {"next": 4})
        # Orbax saves no step at or before its newest, so that the damaged one must be gone.
        assert manager.latest_step() == 4
    assert "The checkpoint of step 6 is damaged; going on from that of step 4." in capsys.readouterr().err


def test_steps_after_a_damaged_checkpoint_are_done_again(tmp_path, tiny_config, frozen, face_crop, _finished):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    _flip_bit_of_the_largest_file(out / "checkpoints" / "6")
    batches = SeededBatches(face_crop)
    again, _ = train_denoiser(configured(tiny_config, out), frozen, batches)
    assert batches.given == [4, 5]
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    with open_checkpoints(configured(tiny_config, out).train) as manager:
        jax.tree.map(np.testing.assert_array_equal, restore(manager, whole)[0], whole)


def test_a_run_does_not_silently_start_anew_when_every_checkpoint_is_damaged(tmp_path, tiny_config, _finished):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    for checkpoint in (out / "checkpoints").iterdir():
        _flip_bit_of_the_largest_file(checkpoint)
    with (
        open_checkpoints(configured(tiny_config, out).train) as manager,
        pytest.raises(BadWeights, match="every checkpoint is damaged"),
    ):
        restore(manager, whole)
