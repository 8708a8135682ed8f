"""Checkpoints: the training state and the data iterator's position, saved together by Orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from idfsr_jax.config import TrainConfig


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
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), iterator=ocp.args.JsonSave(iterator_state))
    manager.save(step, args=items)


def restore(manager: ocp.CheckpointManager, like: Any) -> tuple[Any, dict] | None:
    """The newest checkpoint, or None if there is none.

    Args:
      manager: of `open_checkpoints`.
      like: a state of the same shapes, dtypes and shardings.
    """
    step = manager.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), iterator=ocp.args.JsonRestore())
    restored = manager.restore(step, args=items)
    return restored["state"], restored["iterator"]
