"""Checkpoints: the training state and the data iterator's position, saved together by Orbax, with a SHA-256 of both.

Every process of a run calls these functions, and each writes and reads the parts of the state that it has; so the
folder must be one that all of them see. A checkpoint belongs to no number of devices or processes.
"""

import dataclasses
import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from idfsr_jax.config import Config, TrainConfig
from idfsr_jax.errors import BadConfig, BadWeights
from idfsr_jax.training.distributed import all_agree, is_main
from idfsr_jax.training.mesh import whole
from idfsr_jax.training.same_run import difference, read_config

_ITEMS = ("state", "iterator")


def open_checkpoints(config: TrainConfig) -> ocp.CheckpointManager:
    """The manager of a run's `checkpoints` folder; it writes asynchronously, each checkpoint whole or not at all."""
    # Orbax fails late, in its saving thread, on a relative path.
    folder = (Path(config.out) / "checkpoints").resolve()
    options = ocp.CheckpointManagerOptions(max_to_keep=config.keep_checkpoints, enable_async_checkpointing=True)
    return ocp.CheckpointManager(folder, options=options, item_names=_ITEMS)


def any_saved(config: TrainConfig) -> bool:
    """Whether a run has left checkpoints, sound or not: `restore` then finds one, or complains."""
    folder = Path(config.out) / "checkpoints"
    return folder.is_dir() and any(each.name.isdecimal() for each in folder.iterdir())


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, iterator_state: dict, config: Config | None = None
) -> None:
    """Saves state and iterator under `step`; call it before the next batch is fetched, so that both agree.

    Args:
      manager: of `open_checkpoints`.
      step: steps done so far.
      state: a pytree of arrays.
      iterator_state: JSON-able position of the data iterator; the same in all processes.
      config: of the run, to be compared when it goes on.
    """
    notes: dict[str, Any] = {"position": iterator_state}
    if config is not None:
        notes["config"] = json.loads(json.dumps(dataclasses.asdict(config)))
    record = notes | {"notes_sha256": _notes_sha256(notes), "sha256": state_sha256(state, _summed(notes))}
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), iterator=ocp.args.JsonSave(record))
    manager.save(step, args=items)


def restore(manager: ocp.CheckpointManager, like: Any, config: Config | None = None) -> tuple[Any, dict] | None:
    """The newest intact checkpoint, or None if there is none at all.

    Damaged newer ones are named on standard error and removed, since the run will come by their steps again.

    Args:
      manager: of `open_checkpoints`.
      like: a state of the wanted shapes, dtypes and shardings, or its description; any devices will do.
      config: of the run that is to go on.

    Raises:
      BadConfig: a checkpoint is of another run; the sentence names the first field that differs.
      BadWeights: there are checkpoints, and all are damaged.
    """
    damaged: list[int] = []
    for step in sorted(manager.all_steps(), reverse=True):
        intact = _restore_intact(manager, step, like, config)
        if intact is None:
            damaged.append(step)
            continue
        for bad in damaged:
            if is_main():
                print(f"The checkpoint of step {bad} is damaged; going on from that of step {step}.", file=sys.stderr)
            manager.delete(bad)
        return intact
    if damaged:
        raise BadWeights(f"{manager.directory}: every checkpoint is damaged; remove the folder to start from step 0.")
    return None


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


def _summed(notes: dict[str, Any]) -> Any:
    """What of the notes the sum is taken of: all; of older checkpoints, which have no more, the position itself."""
    return notes if "config" in notes else notes["position"]


def _restore_intact(
    manager: ocp.CheckpointManager, step: int, like: Any, config: Config | None
) -> tuple[Any, dict] | None:
    """A checkpoint, or None where it cannot be read or its sum is wrong."""
    if jax.process_count() == 1:
        return _read_intact(manager, step, like, config)
    # Processes that each found other parts damaged would wait for one another forever, so that one looks for all.
    if not all_agree(not is_main() or _looks_intact(manager.directory, step, like, config)):
        return None
    state, notes, _ = _read(manager, step, like, config)
    return state, notes["position"]


def _looks_intact(folder: Any, step: int, like: Any, config: Config | None) -> bool:
    """Whether this process alone can read a checkpoint whole, into its own memory."""
    alone = ocp.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix=f"look at {step}")
    options = ocp.CheckpointManagerOptions(create=False, read_only=True, multiprocessing_options=alone)
    on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    with ocp.CheckpointManager(folder, options=options, item_names=_ITEMS) as manager:
        try:
            return _read_intact(manager, step, on_host, config) is not None
        except BadConfig:
            # All will find that and say so.
            return True


def _read_intact(
    manager: ocp.CheckpointManager, step: int, like: Any, config: Config | None
) -> tuple[Any, dict] | None:
    try:
        with _no_asyncio_log():
            state, notes, recorded = _read(manager, step, like, config)
        summed = _summed(notes)
    except (BadConfig, MemoryError, jax.errors.JaxRuntimeError):
        raise
    # Damage shows itself in the errors of several libraries.
    except Exception:
        return None
    return (state, notes["position"]) if state_sha256(state, summed) == recorded else None


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


def _read(manager: ocp.CheckpointManager, step: int, like: Any, config: Config | None) -> tuple[Any, dict, str]:
    """State, notes and recorded sum of a checkpoint; whatever error damage brings about is passed on."""
    record = manager.restore(step, args=ocp.args.Composite(iterator=ocp.args.JsonRestore()))["iterator"]
    notes = {name: value for name, value in record.items() if name not in ("notes_sha256", "sha256")}
    # Before the notes are believed: with a damaged config this would be another run. Older checkpoints lack this sum.
    if record.get("notes_sha256", _notes_sha256(notes)) != _notes_sha256(notes):
        raise ValueError("the notes are damaged")
    # Before the arrays, which those of another network cannot be read into.
    if config is not None and "config" in notes:
        _demand_same_run(f"{manager.directory / str(step)}", notes["config"], config)
    items = ocp.args.Composite(state=ocp.args.StandardRestore(jax.tree.map(_described, like)))
    return manager.restore(step, args=items)["state"], notes, record["sha256"]


def _described(leaf: Any) -> Any:
    """What Orbax makes its arrays after: of NumPy's, NumPy's; else the shape, type and sharding."""
    return leaf if isinstance(leaf, np.ndarray) else ocp.utils.to_shape_dtype_struct(leaf)


def _demand_same_run(path: str, recorded: dict[str, Any], config: Config) -> None:
    differing = difference(read_config(path, recorded), config)
    if differing is not None:
        name, old, new = differing
        raise BadConfig(
            f"{path}: is a checkpoint of a run with {name} = {old!r}, not {new!r}; "
            "choose another train.out or the same configuration."
        )
