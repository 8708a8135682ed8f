"""Checkpoints, and a loop that goes on from them; its step is plain arithmetic, as no network matters."""

import json
import shutil
import signal
import time
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.config import Config, DeviceConfig, TrainConfig
from idfsr_jax.io.errors import BadWeights
from idfsr_jax.training import checkpoint
from idfsr_jax.training.checkpoint import UnreadCheckpoint, files_as_written, open_checkpoints, restore, save
from idfsr_jax.training.loop import NonFiniteLoss, train_denoiser
from idfsr_jax.training.state import TrainState, create_state, make_optimizer


class SeededBatches:
    """Batches that are a function of their number, which is the whole state; notes the numbers handed out.

    One of them may be `poison`, not finite; with another a signal comes, `stop`.
    """

    def __init__(self, poison: int | None = None, stop: int | None = None) -> None:
        self.next, self.given, self.poison, self.stop = 0, [], poison, stop

    def __next__(self) -> dict[str, np.ndarray]:
        number = self.next
        values = np.random.default_rng(number).normal(size=2).astype(np.float32)
        self.given.append(number)
        self.next += 1
        if number == self.stop:
            signal.raise_signal(signal.SIGTERM)
        factor = np.float32(np.nan if number == self.poison else 1.0)
        return {"values": values * factor, "record": np.array([10 * number, 10 * number + 1])}

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


def configured(out, **train) -> Config:
    options = {"out": str(out), "steps": 6, "log_every": 1, "checkpoint_every": 2, "samples_every": 100}
    return Config(train=TrainConfig(**options | train), devices=DeviceConfig(data=1))


def state_of(config: Config) -> TrainState:
    params = {"kernel": jnp.linspace(-1.0, 1.0, 30_000).reshape(100, 300), "bias": jnp.zeros(300)}
    return create_state(params, make_optimizer(config.train))


def light_step(state, batch, frozen, *, config, optimizer, explode_at: int = 0):
    """A step without a network; its loss is the batch's, and after `explode_at` the parameters are of 1e37."""
    loss = jnp.mean(batch["values"])
    grown = jnp.where(state.step + 1 == explode_at, 1e37, 1e-3 * loss)
    params = jax.tree.map(lambda leaf: leaf + grown, state.params)
    return state.replace(step=state.step + 1, params=params), {"loss": loss, "gradient_norm": 1.0 + loss}


def trained(config, batches, *more, step_function=light_step, **options):
    return train_denoiser(
        config, {}, batches, *more, make=partial(state_of, config), step_function=step_function, **options
    )


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole_batches = SeededBatches()
    whole, _ = trained(configured(tmp_path / "whole"), whole_batches)
    assert whole_batches.given == list(range(6))

    config, first = configured(tmp_path / "halves"), SeededBatches(stop=2)
    half, number = trained(config, first)
    assert number == signal.SIGTERM and int(half.step) == 3 and first.given == [0, 1, 2]

    second = SeededBatches()
    resumed, number = trained(config, second)
    assert number == 0 and second.given == [3, 4, 5]
    assert int(resumed.step) == 6
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    moved = jax.tree.map(lambda a, b: np.any(np.asarray(a) != np.asarray(b)), half.params, whole.params)
    assert all(jax.tree.leaves(moved))

    steps = [json.loads(line)["step"] for line in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]

    third = SeededBatches()
    again, _ = trained(config, third)
    assert third.given == []
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_no_more_than_two_steps_are_under_way(tmp_path):
    def slow_step(state, batch, frozen, *, config, optimizer):
        state, metrics = light_step(state, batch, frozen, config=config, optimizer=optimizer)
        matrix = jnp.eye(300) * batch["values"][0]
        slow = jax.lax.fori_loop(0, 100, lambda _, m: m @ matrix, matrix)
        return state, metrics | {"loss": metrics["loss"] + 0.0 * slow[0, 0]}

    asked = []

    class Timed(SeededBatches):
        def __next__(self):
            asked.append(time.monotonic())
            return super().__next__()

    trained(configured(tmp_path, steps=10, log_every=100, checkpoint_every=100), Timed(), step_function=slow_step)
    # When the last batch is asked for, seven of the ten steps are done; the first was compiled before the second's.
    assert asked[-1] - asked[1] > 0.3 * (time.monotonic() - asked[1])


def test_a_run_begins_with_the_state_that_it_is_given(tmp_path):
    config = configured(tmp_path, steps=1)
    start = jax.tree.map(lambda leaf: np.asarray(leaf) + np.asarray(3, leaf.dtype), state_of(config).params)
    given = jax.device_get(state_of(config)).replace(params=start)
    state, _ = trained(config, SeededBatches(), start=given)
    assert int(state.step) == 1
    assert min(float(leaf.min()) for leaf in jax.tree.leaves(state.params)) > 1.9


def _steps(out) -> list[int]:
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdigit())


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path):
    config = configured(tmp_path, log_every=2)
    with pytest.raises(NonFiniteLoss, match=r"at step 4, of photo 30, photo 31;"):
        trained(config, SeededBatches(poison=3), name_of=lambda record: f"photo {record}")
    assert _steps(tmp_path) == [2]


def test_nan_between_two_log_lines_costs_no_good_checkpoint(tmp_path):
    options = {"log_every": 50, "checkpoint_every": 1, "keep_checkpoints": 2, "samples_every": 5}
    config, shown = configured(tmp_path, **options), []
    sentence = (
        r"The loss is nan at step 5, of 40, 41; give the same command to go on from step 4, the newest good checkpoint,"
        r" with a lower learning rate than 0\.0005 \(--train\.learning-rate\), or leave out what is wrong\."
    )
    with pytest.raises(NonFiniteLoss, match=sentence):
        trained(config, SeededBatches(poison=4), lambda step, ema: shown.append(step))
    assert (_steps(tmp_path), shown) == ([3, 4], [])
    # The advice can be taken.
    lower = replace(config, train=replace(config.train, learning_rate=1e-5))
    batches = SeededBatches()
    state, _ = trained(lower, batches)
    assert (int(state.step), batches.given) == (6, [4, 5])


def test_parameters_that_explode_on_the_last_step_are_not_saved(tmp_path):
    config, shown = configured(tmp_path, steps=3), []
    with pytest.raises(NonFiniteLoss, match=r"Parameters are not finite, or above 10000, at step 3; .* step 2, "):
        trained(
            config,
            SeededBatches(),
            lambda step, ema: shown.append(step),
            step_function=partial(light_step, explode_at=3),
        )
    assert (_steps(tmp_path), shown) == ([2], [])


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    config = configured(tmp_path, checkpoint_every=1, keep_checkpoints=2)
    trained(config, SeededBatches())
    assert _steps(tmp_path) == [5, 6]


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


def _lose_a_file(folder) -> None:
    next(path for path in folder.rglob("*") if path.is_file() and path.name != "sums.json").unlink()


def _flip_bit_of_the_sums(folder) -> None:
    path = folder / "sums.json"
    path.write_bytes(path.read_bytes().replace(b'"files"', b'"gileS"'))


@pytest.fixture
def _saved(tmp_path):
    """A run's folder, its config, and its state at step 6; it has checkpoints at 2, 4 and 6."""
    config = configured(tmp_path / "run")
    with open_checkpoints(config.train) as manager:
        for step in (2, 4, 6):
            state = {"step": jnp.asarray(step), "kernel": jnp.arange(30_000.0) + step}
            save(manager, step, state, {"next": step}, config)
    return tmp_path / "run", config, state


@pytest.fixture(scope="module")
def _finished(tmp_path_factory):
    """The folder and last state of a run of six steps."""
    out = tmp_path_factory.mktemp("finished")
    return out, trained(configured(out), SeededBatches())[0]


@pytest.mark.parametrize(
    "damage",
    [
        _flip_bit_of_the_largest_file,
        _cut_every_file,
        partial(_rewrite_the_notes, before='"next": 6', after='"next": 7'),
        partial(_rewrite_the_notes, before='"min_snr_gamma": 5.0', after='"min_snr_gamma": 1.0'),
        partial(_rewrite_the_notes, before='"keep_checkpoints"', after='"kgep_checkpoints"'),
        _lose_a_file,
        _flip_bit_of_the_sums,
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_taken(_saved, capsys, damage):
    out, config, whole = _saved
    damage(out / "checkpoints" / "6")
    (out / "checkpoints.damaged" / "6").mkdir(parents=True)  # of an earlier time
    before = _content(out / "checkpoints" / "6")
    with open_checkpoints(config.train) as manager:
        state, position = restore(manager, whole, config)
        assert (int(state["step"]), position) == (4, {"next": 4})
        # Orbax saves no step at or before its newest, so that it must see the damaged one no more.
        assert manager.latest_step() == 4
    aside = out / "checkpoints.damaged" / "6.2"
    said = capsys.readouterr().err
    assert (
        f"The checkpoint of step 6 is damaged; going on from that of step 4 (the damaged one is kept as {aside})."
        in said
    )
    assert _content(aside) == before and _steps(out) == [2, 4]


def _content(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_is_never_without_its_sums(_saved):
    out, _, _ = _saved
    for step in (2, 4, 6):
        assert files_as_written(out / "checkpoints" / str(step)) is True
        listed = json.loads((out / "checkpoints" / str(step) / "sums.json").read_text())["files"]
        assert {*listed, "sums.json"} == set(_content(out / "checkpoints" / str(step)))


def test_without_its_sums_nothing_is_known_of_a_checkpoint(_saved):
    out, config, whole = _saved
    (out / "checkpoints" / "6" / "sums.json").unlink()
    before = _content(out)
    with (
        open_checkpoints(config.train) as manager,
        pytest.raises(UnreadCheckpoint, match=r"checkpoints/6/sums\.json: cannot be read \(No such file"),
    ):
        restore(manager, whole, config)
    assert _content(out) == before


@pytest.mark.parametrize(
    ("error", "raised", "sentence"),
    [
        (
            OSError(5, "Input/output error", "/disk/x"),
            UnreadCheckpoint,
            r"^/disk/x: cannot be read \(Input/output error\); ",
        ),
        (
            ValueError("Error reading [os_error_code='110']"),
            UnreadCheckpoint,
            r"checkpoints/6: cannot be read \(.*timed out",
        ),
        (RuntimeError("something else"), RuntimeError, "^something else"),
        (MemoryError(), MemoryError, None),
    ],
)
def test_what_is_not_proven_damaged_stays(_saved, monkeypatch, error, raised, sentence):
    out, config, whole = _saved
    before = _content(out)

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch, open_checkpoints(config.train) as manager:
        patch.setattr(manager, "restore", fail)
        with pytest.raises(raised, match=sentence):
            restore(manager, whole, config)
    assert _content(out) == before and not (out / "checkpoints.damaged").exists()
    with open_checkpoints(config.train) as manager:
        assert int(restore(manager, whole, config)[0]["step"]) == 6


def test_a_file_that_cannot_be_read_proves_nothing(_saved, monkeypatch):
    out, config, whole = _saved

    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(checkpoint, "file_sha256", fail)
    with (
        open_checkpoints(config.train) as manager,
        pytest.raises(UnreadCheckpoint, match=r"checkpoints/6/.*: cannot be read \(Input/output error\)"),
    ):
        restore(manager, whole, config)
    assert _steps(out) == [2, 4, 6]


def test_arrays_that_are_read_wrong_from_sound_files_are_no_damage(_saved, monkeypatch):
    out, config, whole = _saved
    monkeypatch.setattr(checkpoint, "state_sha256", lambda state, notes: "0" * 64)
    with (
        open_checkpoints(config.train) as manager,
        pytest.raises(BadWeights, match=r"checkpoints/6: its files are as they were written, but"),
    ):
        restore(manager, whole, config)
    assert _steps(out) == [2, 4, 6]


def test_steps_after_a_damaged_checkpoint_are_done_again(tmp_path, _finished):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    _flip_bit_of_the_largest_file(out / "checkpoints" / "6")
    batches = SeededBatches()
    again, _ = trained(configured(out), batches)
    assert batches.given == [4, 5]
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    with open_checkpoints(configured(out).train) as manager:
        jax.tree.map(np.testing.assert_array_equal, restore(manager, whole, configured(out))[0], whole)


def test_a_run_does_not_silently_start_anew_when_every_checkpoint_is_damaged(tmp_path, _finished):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    for each in (out / "checkpoints").iterdir():
        _flip_bit_of_the_largest_file(each)
    with (
        open_checkpoints(configured(out).train) as manager,
        pytest.raises(BadWeights, match="every checkpoint is damaged"),
    ):
        restore(manager, whole, configured(out))
