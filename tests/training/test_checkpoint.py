import json
import shutil
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idfsr_jax.io.errors import BadWeights
from idfsr_jax.training import checkpoint
from idfsr_jax.training.checkpoint import UnreadCheckpoint, files_as_written, open_checkpoints, restore, save
from idfsr_jax.training.loop import NonFiniteLoss, train_denoiser
from idfsr_jax.training.step import initial_state


class SeededBatches:
    """Batches that are a function of their number, which is the whole state; notes the numbers handed out."""

    def __init__(self, small_batch, poison: int | None = None) -> None:
        self.small_batch, self.next, self.given, self.poison = small_batch, 0, [], poison

    def __next__(self) -> dict[str, np.ndarray]:
        batch = self.small_batch(self.next)
        if self.next == self.poison:
            batch["identity"] = batch["identity"] * np.nan
        self.given.append(self.next)
        self.next += 1
        return batch | {"record": np.array([10 * self.given[-1], 10 * self.given[-1] + 1])}

    def get_state(self) -> dict:
        return {"next": self.next}

    def set_state(self, state: dict) -> None:
        self.next = state["next"]


SIZES = (128,)


@pytest.fixture
def frozen(small_frozen):
    return small_frozen


def configured(small_config, out, **train):
    options = {"out": str(out), "steps": 6, "log_every": 1, "checkpoint_every": 2, "samples_every": 100}
    return replace(small_config, train=replace(small_config.train, **options | train))


def trained(config, frozen, batches, *more, **options):
    """`train_denoiser`, compiled with little care."""
    return train_denoiser(config, frozen, batches, *more, make=partial(initial_state, config, SIZES), **options)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, small_config, frozen, small_batch, monkeypatch):
    whole_batches = SeededBatches(small_batch)
    whole, _ = trained(configured(small_config, tmp_path / "whole"), frozen, whole_batches)
    assert whole_batches.given == list(range(6))

    from idfsr_jax.training import loop

    first = SeededBatches(small_batch)
    # The schedule belongs to the whole run, so it is stopped as by a signal, after its third step.
    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_signal", lambda: _StopAfter(first, 3))
        half, number = trained(configured(small_config, tmp_path / "halves"), frozen, first)
    assert number == 15 and int(half.step) == 3 and first.given == [0, 1, 2]

    second = SeededBatches(small_batch)
    resumed, number = trained(configured(small_config, tmp_path / "halves"), frozen, second)
    assert number == 0 and second.given == [3, 4, 5]
    assert int(resumed.step) == 6
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    moved = jax.tree.map(lambda a, b: np.any(np.asarray(a) != np.asarray(b)), half.params, whole.params)
    assert any(jax.tree.leaves(moved))

    steps = [json.loads(line)["step"] for line in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]

    third = SeededBatches(small_batch)
    again, _ = trained(configured(small_config, tmp_path / "halves"), frozen, third)
    assert third.given == []
    jax.tree.map(np.testing.assert_array_equal, again, whole)


class _StopAfter:
    def __init__(self, batches, count: int) -> None:
        self.batches, self.count = batches, count

    def __enter__(self):
        return lambda: 15 if len(self.batches.given) >= self.count else 0

    def __exit__(self, *error) -> None:
        pass


def _steps(out) -> list[int]:
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdigit())


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path, small_config, frozen, small_batch):
    config = configured(small_config, tmp_path, log_every=2)
    with pytest.raises(NonFiniteLoss, match=r"at step 4, of photo 30, photo 31;"):
        trained(config, frozen, SeededBatches(small_batch, poison=3), name_of=lambda record: f"photo {record}")
    assert _steps(tmp_path) == [2]


def test_nan_between_two_log_lines_costs_no_good_checkpoint(tmp_path, small_config, frozen, small_batch):
    options = {"log_every": 50, "checkpoint_every": 1, "keep_checkpoints": 2, "samples_every": 5}
    config, shown = configured(small_config, tmp_path, **options), []
    sentence = (
        r"The loss is nan at step 5, of 40, 41; give the same command to go on from step 4, the newest good checkpoint,"
        r" with a lower learning rate than 0\.0005 \(--train\.learning-rate\), or leave out what is wrong\."
    )
    with pytest.raises(NonFiniteLoss, match=sentence):
        trained(
            config,
            frozen,
            SeededBatches(small_batch, poison=4),
            lambda step, ema: shown.append(step),
            step_function=_light_step,
        )
    assert (_steps(tmp_path), shown) == ([3, 4], [])
    # The advice can be taken.
    lower = replace(config, train=replace(config.train, learning_rate=1e-5))
    batches = SeededBatches(small_batch)
    state, _ = trained(lower, frozen, batches, step_function=_light_step)
    assert (int(state.step), batches.given) == (6, [4, 5])


def _light_step(state, batch, frozen, *, config, optimizer, explode_at: int = 0):
    """A step without a network; its loss is the batch's, and after `explode_at` the parameters are of 1e37."""
    grown = jnp.where(state.step + 1 == explode_at, 1e37, 1e-3)
    params = jax.tree.map(lambda leaf: leaf + grown, state.params)
    loss = jnp.mean(batch["identity"])
    return state.replace(step=state.step + 1, params=params), {"loss": loss, "gradient_norm": 1.0 + loss}


def test_parameters_that_explode_on_the_last_step_are_not_saved(tmp_path, small_config, frozen, small_batch):
    config, shown = configured(small_config, tmp_path, steps=3), []
    with pytest.raises(NonFiniteLoss, match=r"Parameters are not finite, or above 10000, at step 3; .* step 2, "):
        trained(
            config,
            frozen,
            SeededBatches(small_batch),
            lambda step, ema: shown.append(step),
            step_function=partial(_light_step, explode_at=3),
        )
    assert (_steps(tmp_path), shown) == ([2], [])


def test_a_checkpoint_that_was_saved_broken_is_not_gone_on_from(tmp_path, small_config, frozen, small_batch):
    config = configured(small_config, tmp_path)
    state = initial_state(config, SIZES)
    with open_checkpoints(config.train) as manager:
        broken = state.replace(step=jnp.asarray(6), ema=jax.tree.map(lambda leaf: leaf * np.nan, state.ema))
        save(manager, 6, broken, {"next": 6}, config)
    with pytest.raises(NonFiniteLoss, match=r"checkpoints/6: holds parameters that are not finite"):
        trained(config, frozen, SeededBatches(small_batch), step_function=_light_step)
    assert _steps(tmp_path) == [6]


def test_only_the_newest_checkpoints_are_kept(tmp_path, small_config, frozen, small_batch):
    config = configured(small_config, tmp_path, checkpoint_every=1, keep_checkpoints=2)
    trained(config, frozen, SeededBatches(small_batch))
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


def _lose_a_file(folder) -> None:
    next(path for path in folder.rglob("*") if path.is_file() and path.name != "sums.json").unlink()


def _flip_bit_of_the_sums(folder) -> None:
    path = folder / "sums.json"
    path.write_bytes(path.read_bytes().replace(b'"files"', b'"gileS"'))


@pytest.fixture
def _saved(tmp_path, small_config):
    """A run's folder, its config, and its state at step 6; it has checkpoints at 2, 4 and 6."""
    config = configured(small_config, tmp_path / "run")
    with open_checkpoints(config.train) as manager:
        for step in (2, 4, 6):
            state = {"step": jnp.asarray(step), "kernel": jnp.arange(30_000.0) + step}
            save(manager, step, state, {"next": step}, config)
    return tmp_path / "run", config, state


@pytest.fixture(scope="module")
def _finished(tmp_path_factory, small_config, small_frozen, small_batch):
    """The folder and last state of a run of six steps."""
    out = tmp_path_factory.mktemp("finished")
    return out, trained(configured(small_config, out), small_frozen, SeededBatches(small_batch))[0]


@pytest.mark.parametrize(
    "damage",
    [
        _flip_bit_of_the_largest_file,
        _cut_every_file,
        _change_the_position,
        _make_it_another_run,
        _misspell_a_field,
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
    (out / "checkpoints" / "6" / "sums.json").unlink()
    assert files_as_written(out / "checkpoints" / "6") is None


@pytest.mark.parametrize("damage", [_flip_bit_of_the_largest_file, _change_the_position, _make_it_another_run])
def test_without_sums_of_its_files_the_sum_of_what_is_read_decides(_saved, damage):
    out, config, whole = _saved
    for step in (2, 4, 6):
        (out / "checkpoints" / str(step) / "sums.json").unlink()
    with open_checkpoints(config.train) as manager:
        assert int(restore(manager, whole, config)[0]["step"]) == 6
    damage(out / "checkpoints" / "6")
    with open_checkpoints(config.train) as manager:
        assert int(restore(manager, whole, config)[0]["step"]) == 4
    assert (out / "checkpoints.damaged" / "6").is_dir()


@pytest.mark.parametrize("summed", [True, False])
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
def test_what_is_not_proven_damaged_stays(_saved, monkeypatch, summed, error, raised, sentence):
    out, config, whole = _saved
    if not summed:
        (out / "checkpoints" / "6" / "sums.json").unlink()
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


def test_steps_after_a_damaged_checkpoint_are_done_again(tmp_path, small_config, frozen, small_batch, _finished):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    _flip_bit_of_the_largest_file(out / "checkpoints" / "6")
    batches = SeededBatches(small_batch)
    again, _ = trained(configured(small_config, out), frozen, batches)
    assert batches.given == [4, 5]
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    with open_checkpoints(configured(small_config, out).train) as manager:
        jax.tree.map(np.testing.assert_array_equal, restore(manager, whole)[0], whole)


def test_a_run_does_not_silently_start_anew_when_every_checkpoint_is_damaged(tmp_path, small_config, _finished):
    folder, whole = _finished
    out = shutil.copytree(folder, tmp_path / "run")
    for each in (out / "checkpoints").iterdir():
        _flip_bit_of_the_largest_file(each)
    with (
        open_checkpoints(configured(small_config, out).train) as manager,
        pytest.raises(BadWeights, match="every checkpoint is damaged"),
    ):
        restore(manager, whole)
