"""The training loop of the denoiser."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.runtime.programs import compiler_options
from idfsr_jax.training import checkpoint
from idfsr_jax.training.distributed import compiled_together, largest_of_all
from idfsr_jax.training.log import progress_bar, run_log, stop_signal
from idfsr_jax.training.mesh import abstract_state, born_sharded, global_batch, make_mesh, placed, replicated
from idfsr_jax.training.soundness import LARGEST_PARAMETER, NonFiniteLoss, is_sound
from idfsr_jax.training.state import TrainState, make_optimizer
from idfsr_jax.training.step import train_step

_AHEAD = 2
"""Steps that are handed over and not done: one that runs and one that waits keep the devices busy, and where a step
takes seconds a signal ends the run after these two."""

_TIME_IS_UP = 1
"""What stops a run where no signal does; SIGHUP's number, which is not listened to."""


@runtime_checkable
class Batches(Protocol):
    """An endless iterator of this process's runs of the examples of each batch, whose position can be saved."""

    def __next__(self) -> Mapping[str, np.ndarray]: ...
    def get_state(self) -> dict: ...
    def set_state(self, state: dict) -> None: ...


def compiled_step(
    config: Config, step_function: Callable[..., Any] = train_step, like: Any | None = None
) -> Callable[..., Any]:
    """A step function of (state, batch, frozen), to be compiled on its first call; the state is donated.

    Args:
      config: the run.
      step_function: what `train_step` is to its batches.
      like: the state or its description. The new state lies where it does, so that its buffers can be taken over and
        the second call finds what the first was compiled for; without it the compiler chooses.
    """
    step = partial(step_function, config=config, optimizer=make_optimizer(config.train))
    if like is None:
        return jax.jit(step, donate_argnums=0, compiler_options=compiler_options())
    shardings = jax.tree.map(lambda leaf: leaf.sharding, like)
    returned = (shardings, replicated(shardings.step.mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=returned, compiler_options=compiler_options())


def train_denoiser(
    config: Config,
    frozen: Any,
    batches: Batches,
    preview: Callable[[int, Any], None] = lambda step, ema: None,
    *,
    make: Callable[[], TrainState],
    start: TrainState | None = None,
    step_function: Callable[..., Any] = train_step,
    name_of: Callable[[int], str] = str,
) -> tuple[TrainState, int]:
    """Trains until `config.train.steps`, a time limit or a signal, from the newest checkpoint if there is one.

    A checkpoint holds the state after a step and the iterator's position before the next batch, so that a run that was
    killed goes on with the first batch that it had not used. The mesh may be another one than before.

    A step is handed over and not waited for: the next batch is put on the devices while they compute. At most two are
    not done. A line of the log, a checkpoint and a look wait for all, as they read what was computed.

    Every process of a run calls this with its own `batches`; all take the same steps, and one writes.

    Args:
      config: the run.
      frozen: what the step reads and never changes, for example LandmarkNet and the recognisers.
      batches: of `data.examples.training_examples`.
      preview: called with (step, averaged parameters) every `samples_every` steps, by all processes.
      make: makes the state with random weights, which says where every part of it lies.
      start: the state to begin with where there is no checkpoint, whole in every process; that of `make` if None.
      step_function: what is taken in place of `train_step`.
      name_of: of a record of the data set by its number, for complaints.

    Returns:
      The last state, and the number of the signal that stopped it, or 0.

    Raises:
      NonFiniteLoss: the loss, its gradient, the parameters or their average are broken (`soundness`). With the step,
        the names of its records and the newest checkpoint, which is sound: nothing broken is saved or shown.
    """
    train, mesh = config.train, make_mesh(config)
    like = abstract_state(make, mesh, config.devices)
    step_fn = compiled_step(config, step_function, like)
    frozen = placed(frozen, replicated(mesh))
    deadline = time.monotonic() + 60 * train.max_minutes if train.max_minutes > 0 else math.inf
    with checkpoint.open_checkpoints(train) as manager, stop_signal() as stopped, ExitStack() as opened:
        restored = checkpoint.restore(manager, like, config)
        if restored is not None:
            state, position = restored
            batches.set_state(position)
        elif start is not None:
            state = placed(start, jax.tree.map(lambda leaf: leaf.sharding, like))
        else:
            state = born_sharded(make, like)
        step, number = int(state.step), 0
        log = opened.enter_context(run_log(Path(train.out), step))
        window, agreed = _Window(step, name_of, partial(_advice, manager, config)), largest_of_all()
        step_fn = compiled_together(step_fn, f"the step after {step} is compiled")
        with progress_bar("training", train.steps, step) as progress:
            while step < train.steps:
                batch = next(batches)
                state, metrics = step_fn(state, global_batch(batch, mesh), frozen)
                step += 1
                window.add(metrics, batch)
                number = agreed(stopped() or _TIME_IS_UP * (time.monotonic() > deadline))
                stop = step == train.steps or number > 0
                saving = stop or step % train.checkpoint_every == 0
                # None where a run is asked to stop: whoever does gives it seconds.
                showing = number == 0 and (step == train.steps or step % train.samples_every == 0)
                if saving or showing:
                    window.demand_sound(step, state)
                if stop or step % train.log_every == 0:
                    values = window.close(step, train.batch)
                    log(step, values)
                    progress(step, f"loss {values['loss']:.4f}, {values['images_per_second']:.1f} images/s")
                if saving:
                    checkpoint.save(manager, step, state, batches.get_state(), config)
                if showing:
                    preview(step, state.ema)
                if stop:
                    break
        manager.wait_until_finished()
        return state, number if number > _TIME_IS_UP else 0


def _advice(manager: Any, config: Config) -> str:
    """What to do about a training that broke down."""
    newest = manager.latest_step()
    begin = "start again" if newest is None else f"go on from step {newest}, the newest good checkpoint,"
    lower = f"with a lower learning rate than {config.train.learning_rate:g} (--train.learning-rate)"
    return f"give the same command to {begin} {lower}, or leave out what is wrong."


class _Window:
    """Metrics since the last log line; they stay on the device until they are asked for."""

    def __init__(self, step: int, name_of: Callable[[int], str], advice: Callable[[], str]) -> None:
        self.metrics: list[dict[str, jax.Array]] = []
        self.records: list[Any] = []
        self.step, self.began, self.name_of, self.advice = step, time.monotonic(), name_of, advice

    def add(self, metrics: dict[str, jax.Array], batch: Mapping[str, np.ndarray]) -> None:
        self.metrics.append(metrics)
        self.records.append(batch.get("record", ()))
        jax.block_until_ready(self.metrics[-_AHEAD - 1 : -_AHEAD])

    def demand_sound(self, step: int, state: TrainState) -> None:
        """Refuses a state that must not be kept; the window's numbers come first, as they tell where it broke."""
        self._fetch()
        if not is_sound(state):
            raise NonFiniteLoss(
                f"Parameters are not finite, or above {LARGEST_PARAMETER:g}, at step {step}; {self.advice()}"
            )

    def close(self, step: int, batch: int) -> dict[str, float]:
        fetched = self._fetch()
        means = {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
        now = time.monotonic()
        means["images_per_second"] = (step - self.step) * batch / max(now - self.began, 1e-9)
        self.metrics, self.records, self.step, self.began = [], [], step, now
        return means

    def _fetch(self) -> list[dict[str, Any]]:
        """The window's numbers; raises `NonFiniteLoss` for the first that is not finite."""
        fetched: list[dict[str, Any]] = jax.device_get(self.metrics)
        for offset, metrics in enumerate(fetched):
            broken = [name for name, value in metrics.items() if not np.isfinite(value)]
            if broken:
                name = "loss" if "loss" in broken else broken[0]
                names = ", ".join(self.name_of(int(record)) for record in self.records[offset])
                raise NonFiniteLoss(
                    f"The {name.replace('_', ' ')} is {metrics[name]} at step {self.step + offset + 1}"
                    f"{names and f', of {names}'}; {self.advice()}"
                )
        return fetched
