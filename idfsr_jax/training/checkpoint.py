"""Checkpoints: the training state and the data iterator's position, saved together by Orbax, with a SHA-256 of both."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from idfsr_jax.config import TrainConfig
from idfsr_jax.errors import BadWeights


def open_checkpoints(config: TrainConfig) -> ocp.CheckpointManager:
    """The manager of a run's `checkpoints` folder; it writes asynchronously, each checkpoint whole or not at all."""
    # Orbax fails late, in its saving thread, on a relative path.
    folder = (Path(config.out) / "checkpoints").resolve()
    options = ocp.CheckpointManagerOptions(max_to_keep=config.keep_checkpoints, enable_async_checkpointing=True)
    return ocp.CheckpointManager(folder, options=options, item_names=("state", "iterator"))


def save(manager: ocp.CheckpointManager, step: int, state: Any, iterator_state: dict) -> None:
    """Saves state and iterator under `step`; call it before the next batch is fetched, so that both agree.

    Args:
      manager: of `open_checkpoints`.
      step: steps done so far.
      state: a pytree of arrays.
      iterator_state: JSON-able position of the data iterator.
    """
    record = {"position": iterator_state, "sha256": state_sha256(state, iterator_state)}
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), iterator=ocp.args.JsonSave(record))
    manager.save(step, args=items)


def restore(manager: ocp.CheckpointManager, like: Any) -> tuple[Any, dict] | None:
    """The newest intact checkpoint, or None if there is none at all.

    Damaged newer ones are named on standard error and removed, since the run will come by their steps again.

    Args:
      manager: of `open_checkpoints`.
      like: a state of the same shapes, dtypes and shardings.

    Raises:
      BadWeights: there are checkpoints, and all are damaged.
    """
    damaged: list[int] = []
    for step in sorted(manager.all_steps(), reverse=True):
        intact = _restore_intact(manager, step, like)
        if intact is None:
            damaged.append(step)
            continue
        for bad in damaged:
            print(f"The checkpoint of step {bad} is damaged; going on from that of step {step}.", file=sys.stderr)
            manager.delete(bad)
        return intact
    if damaged:
        raise BadWeights(f"{manager.directory}: every checkpoint is damaged; remove the folder to start from step 0.")
    return None


def state_sha256(state: Any, iterator_state: dict) -> str:
    """SHA-256 of the names, types, shapes and bytes of all arrays, and of the iterator's position.

    Orbax itself loads a flipped bit without a word.

    Args:
      state: a pytree of arrays.
      iterator_state: JSON-able.
    """
    digest = hashlib.sha256(json.dumps(iterator_state, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {np.shape(leaf)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _restore_intact(manager: ocp.CheckpointManager, step: int, like: Any) -> tuple[Any, dict] | None:
    """A checkpoint, or None where it cannot be read or its sum is wrong."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), iterator=ocp.args.JsonRestore())
    try:
        restored = manager.restore(step, args=items)
        state, record = restored["state"], restored["iterator"]
        position, recorded = record["position"], record["sha256"]
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    # Damage shows itself in the errors of several libraries.
    except Exception:
        return None
    return (state, position) if state_sha256(state, position) == recorded else None
