"""Checkpoints: the training state and the data iterator's position, saved together by Orbax, with SHA-256 sums.

One sum is of the arrays and the position, taken before they are written. The others are of the finished files; they
lie beside them in `sums.json`, so that damage can be told from an error of reading.

Every process of a run calls these functions, and each writes and reads the parts of the state that it has; so the
folder must be one that all of them see. A checkpoint belongs to no number of devices or processes.
"""

import dataclasses
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from idfsr_jax.config import Config, TrainConfig
from idfsr_jax.io.errors import BadWeights, InputError
from idfsr_jax.io.files import file_sha256, read_summed_json, write_summed_json
from idfsr_jax.training.distributed import all_agree, is_main, wait_for_all
from idfsr_jax.training.mesh import whole
from idfsr_jax.training.same_run import require_same_run

_ITEMS = ("state", "iterator")
_SUMS = "sums.json"
_UNFINISHED = "*.orbax-checkpoint-tmp*"
"""Names of checkpoints that are being written."""
_METADATA, _LATE = "_CHECKPOINT_METADATA", "commit_timestamp_nsecs"
"""Orbax's notes, and what of them it adds after all else, when the checkpoint takes its name."""


class UnreadCheckpoint(InputError, OSError):
    """A checkpoint could not be read, which says nothing about whether it is sound."""


class _WrongSum(ValueError):
    """What was read is not what was saved."""


def open_checkpoints(config: TrainConfig) -> ocp.CheckpointManager:
    """The manager of a run's `checkpoints` folder; it writes asynchronously, each checkpoint whole or not at all."""
    # Orbax fails late, in its saving thread, on a relative path.
    folder = (Path(config.out) / "checkpoints").resolve()
    # Called when all files are written, before the checkpoint takes its name; so none is ever without its sums.
    finishing = ocp.options.AsyncOptions(post_finalization_callback=partial(_sum_unfinished, folder))
    options = ocp.CheckpointManagerOptions(
        max_to_keep=config.keep_checkpoints, enable_async_checkpointing=True, async_options=finishing
    )
    return ocp.CheckpointManager(folder, options=options, item_names=_ITEMS)


def any_saved(config: TrainConfig) -> bool:
    """Whether a run has left checkpoints, sound or not: `restore` then finds one, or complains."""
    folder = Path(config.out) / "checkpoints"
    return folder.is_dir() and any(each.name.isdecimal() for each in folder.iterdir())


def save(manager: ocp.CheckpointManager, step: int, state: Any, iterator_state: dict, config: Config) -> None:
    """Saves state and iterator under `step`; call it before the next batch is fetched, so that both agree.

    Args:
      manager: of `open_checkpoints`.
      step: steps done so far.
      state: a pytree of arrays.
      iterator_state: JSON-able position of the data iterator; the same in all processes.
      config: of the run, to be compared when it goes on.
    """
    notes = {"position": iterator_state, "config": json.loads(json.dumps(dataclasses.asdict(config)))}
    record = notes | {"notes_sha256": _notes_sha256(notes), "sha256": state_sha256(state, notes)}
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), iterator=ocp.args.JsonSave(record))
    manager.save(step, args=items)


def restore(manager: ocp.CheckpointManager, like: Any, config: Config) -> tuple[Any, dict] | None:
    """The newest intact checkpoint, or None if there is none at all.

    Newer ones whose sums prove them damaged are named on standard error and moved to `checkpoints.damaged`, since the
    run will come by their steps again. Nothing is moved for another reason, or where no older one is intact.

    Args:
      manager: of `open_checkpoints`.
      like: a state of the wanted shapes, dtypes and shardings, or its description; any devices will do.
      config: of the run that is to go on.

    Raises:
      BadConfig: a checkpoint is of another run; the sentence names the first field that differs.
      BadWeights: there are checkpoints, and all are damaged; or one is read otherwise than it was saved, though its
        files are as they were written.
      UnreadCheckpoint: the machine failed to read one.
      Exception: whatever else a library raises on a checkpoint that is not proven damaged.
    """
    damaged: list[int] = []
    for step in sorted(manager.all_steps(), reverse=True):
        intact = _restore_intact(manager, step, like, config)
        if intact is None:
            damaged.append(step)
            continue
        for bad in damaged:
            place = _asked_of_main(partial(_set_aside, Path(manager.directory), bad), f"step {bad} is set aside")
            if is_main():
                print(
                    f"The checkpoint of step {bad} is damaged; going on from that of step {step} "
                    f"(the damaged one is kept as {place}).",
                    file=sys.stderr,
                )
        if damaged:
            manager.reload()
        return intact
    if damaged:
        raise BadWeights(f"{manager.directory}: every checkpoint is damaged; remove the folder to start from step 0.")
    return None


def files_as_written(folder: Path) -> bool:
    """Whether all files of a checkpoint have their recorded sums.

    Raises:
      OSError: a file cannot be read, or the sums are not there, so that nothing is known.
    """
    try:
        recorded = read_summed_json(folder / _SUMS)["files"]
    except ValueError:
        return False
    try:
        return all(_file_sum(folder, name) == digest for name, digest in recorded.items())
    except (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _file_sum(folder: Path, name: str) -> str:
    """SHA-256 of a file of a checkpoint, but of Orbax's notes without what is added late; `ValueError` if damaged."""
    if name != _METADATA:
        return file_sha256(folder / name)
    notes = json.loads((folder / name).read_bytes())
    if not isinstance(notes, dict):
        raise ValueError("no notes of Orbax's")
    return _notes_sha256({field: value for field, value in notes.items() if field != _LATE})


def _sum_unfinished(folder: Path) -> None:
    """Writes the sums of the files of the checkpoint that is being written; called when they are complete."""
    for each in folder.glob(_UNFINISHED):
        if not (each / _SUMS).exists():
            names = [path.relative_to(each).as_posix() for path in each.rglob("*") if path.is_file()]
            write_summed_json(each / _SUMS, {"files": {name: _file_sum(each, name) for name in names}})


def _set_aside(folder: Path, step: int) -> str:
    """Moves a step out of the manager's sight, never onto one that was moved before; returns where it is."""
    place = folder.with_name(f"{folder.name}.damaged")
    place.mkdir(exist_ok=True)
    number, target = 1, place / str(step)
    while target.exists():
        number += 1
        target = place / f"{step}.{number}"
    os.rename(folder / str(step), target)
    return str(target)


def _asked_of_main(ask: Callable[[], Any], name: str) -> Any:
    """What the first process says; the others are told whether it is true, as a text is.

    Args:
      ask: called by the first process alone.
      name: of this question, another one each time.

    Raises:
      Exception: what the question raised; in the other processes `InputError`.
    """
    if jax.process_count() == 1:
        return ask()
    answer, error = None, None
    if is_main():
        try:
            answer = ask()
        except Exception as raised:  # it is passed on once all know
            error = raised
    # It may have taken longer than an exchange waits.
    wait_for_all(name)
    if not all_agree(error is None):
        raise error or InputError(f"{name}: the first process could not do it, and says why.")
    yes = all_agree(not is_main() or bool(answer))
    return answer if is_main() else yes


def state_sha256(state: Any, notes: Any) -> str:
    """SHA-256 of the names, types, shapes and bytes of all arrays, wherever their parts lie, and of the notes.

    Orbax itself loads a flipped bit without a word.

    Args:
      state: a pytree of arrays.
      notes: JSON-able.
    """
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.ascontiguousarray(whole(leaf))
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {np.shape(leaf)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _notes_sha256(notes: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()


def _restore_intact(manager: ocp.CheckpointManager, step: int, like: Any, config: Config) -> tuple[Any, dict] | None:
    """A checkpoint, or None where its sums prove it damaged."""
    folder = Path(manager.directory) / str(step)
    with _unread_explained(folder):
        if not _asked_of_main(partial(files_as_written, folder), f"the files of step {step} are summed"):
            return None
        try:
            return _read_intact(manager, step, like, config)
        except _WrongSum as error:
            raise BadWeights(
                f"{folder}: its files are as they were written, but what is read from them is not what was saved "
                f"({error}); try again, and if it stays so, move this folder away to go on from an older one."
            ) from error
        except (InputError, MemoryError, OSError):
            raise
        except Exception as error:
            error.add_note(f"while {folder} was read, which is not proven damaged and was left as it is")
            raise


def _read_intact(manager: ocp.CheckpointManager, step: int, like: Any, config: Config) -> tuple[Any, dict]:
    """A checkpoint whose arrays and notes have their recorded sum; raises `_WrongSum` where they have not.

    Whatever other error damage brings about is passed on.
    """
    with _no_asyncio_log():
        record = manager.restore(step, args=ocp.args.Composite(iterator=ocp.args.JsonRestore()))["iterator"]
        notes = {name: value for name, value in record.items() if name not in ("notes_sha256", "sha256")}
        # Before the notes are believed: with a damaged config this would be another run.
        if record["notes_sha256"] != _notes_sha256(notes):
            raise _WrongSum("the sum of its notes is wrong")
        # Before the arrays, which those of another network cannot be read into.
        place = str(manager.directory / str(step))
        require_same_run(place, notes["config"], config, place)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like)))
        state = manager.restore(step, args=items)["state"]
    if state_sha256(state, notes) != record["sha256"]:
        raise _WrongSum("the sum of its arrays is wrong")
    return state, notes["position"]


@contextmanager
def _unread_explained(folder: Path) -> Iterator[None]:
    """Turns the machine's errors of reading into a sentence; other errors pass."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        found = _machine_error(error)
        if found is None:
            raise
        name, reason = found
        raise UnreadCheckpoint(
            f"{name or folder}: cannot be read ({reason}); nothing was changed; give the same command again, and if it "
            f"stays so, see to the disk, or move {folder} away to go on from an older checkpoint."
        ) from error


def _machine_error(error: BaseException | None) -> tuple[str | None, str] | None:
    """File and reason of an error that came of the operating system, else None."""
    while error is not None:
        if isinstance(error, OSError):
            return error.filename, error.strerror or " ".join(str(error).split())
        # TensorStore tells no error numbers in another way.
        if (code := re.search(r"os_error_code='?(\d+)", str(error))) is not None:
            return None, os.strerror(int(code[1]))
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _no_asyncio_log() -> Iterator[None]:
    """Keeps asyncio from printing, for every array of a damaged checkpoint, a traceback that the caller deals with."""
    logger = logging.getLogger("asyncio")
    refuse = lambda record: False  # noqa: E731
    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)
