"""A minute's rehearsal of a training run on the machine that is to do it: every shape, and how fast it will be."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.config import Config
from idfsr_jax.errors import InputError
from idfsr_jax.models.denoiser import denoiser_of, empty_inputs
from idfsr_jax.training import checkpoint
from idfsr_jax.training.folder import previewer
from idfsr_jax.training.landmarks import train_landmark_net
from idfsr_jax.training.loop import compiled_step
from idfsr_jax.training.mesh import abstract_state, batch_sharding, born_sharded, make_mesh, placed, replicated
from idfsr_jax.training.resident import resident_train_step
from idfsr_jax.training.resident_batches import LandmarkBatches, load_faces
from idfsr_jax.training.rollout import load_perceptual
from idfsr_jax.training.speed import flops_of, flops_of_step, peak_flops
from idfsr_jax.training.start import initial_state
from idfsr_jax.training.state import make_optimizer
from idfsr_jax.training.step import Frozen
from idfsr_jax.training.travel import load_travel, save_travel

_EXPECTED_SHARES = (0.1, 0.2, 0.4)


def smoke(
    config: Config,
    pack: Path,
    *,
    began: float,
    batches: Sequence[int] = (),
    seconds: float = 90.0,
    steps: int = 20,
    say: Callable[[str], None] = print,
) -> None:
    """Steps, saves, loads and samples once, then measures; everything is written below `OUT/smoke`.

    Args:
      config: the run that is to follow; its own batch is compiled and measured first.
      pack: folder that `idfsr pack` wrote.
      began: on `time.monotonic`'s clock.
      batches: further batch sizes to measure, as long as there is time.
      seconds: from `began` on, after which no further batch size is begun.
      steps: timed for each batch size.
      say: told the results.

    Raises:
      InputError: something does not work: a loss or a sample that is not finite, a checkpoint that comes back changed.
    """
    out = Path(config.train.out) / "smoke"
    shutil.rmtree(out, ignore_errors=True)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, out=str(out)))
    device = jax.devices()[0]
    elapsed = lambda: f"[{time.monotonic() - began:4.0f} s]"  # noqa: E731
    say(f"{elapsed()} JAX {jax.__version__} on {make_mesh(config).size} x {device.device_kind}")

    faces, shown, encoder, center = load_faces(pack, config)
    say(f"{elapsed()} {faces.images.shape[0]} faces of {faces.images.shape[1]} px, {faces.images.nbytes / 1e6:.0f} MB")
    brief = dataclasses.replace(config.landmarks, steps=2)
    net = train_landmark_net(LandmarkBatches(faces, config), brief, config.train.seed)
    say(f"{elapsed()} LandmarkNet: two steps")

    perceptual = load_perceptual(config.train, pack)
    frozen = Frozen(jax.tree.map(jnp.asarray, net), encoder, jnp.asarray(center), perceptual)
    state = initial_state(config)
    forward, step = forward_flops(config, state.params), _step_flops(config, state, faces, frozen)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    say(f"{count / 1e6:.2f} M parameters; {forward / 1e9:.1f} GFLOP forward, {step / 1e9:.1f} GFLOP a trained image")
    peak = (peak_flops(device.device_kind) or 0.0) * make_mesh(config).size
    if peak:
        rates = ", ".join(f"{share * peak / step:.0f} at {share:.0%}" for share in _EXPECTED_SHARES)
        say(f"expected images/s: {rates} of the peak of {peak / 1e12:.0f} TFLOP/s")

    for batch in dict.fromkeys((config.train.batch, *batches)):
        if batch != config.train.batch and time.monotonic() - began > seconds:
            say(f"{elapsed()} no time left for batch {batch}")
            continue
        sized = dataclasses.replace(config, train=dataclasses.replace(config.train, batch=batch))
        try:
            state, text = _measure(sized, faces, frozen, steps)
        except jax.errors.JaxRuntimeError as error:
            say(f"{elapsed()} batch {batch}: {str(error).splitlines()[0][:120]}")
            state = initial_state(config)
            continue
        rate = float(text.split()[0])
        share = f", {rate * step / 1e12:.0f} TFLOP/s, {rate * step / peak:.1%} of the peak" if peak else ""
        say(f"{elapsed()} batch {batch}: {text}{share}")
        if batch == config.train.batch:
            _check_saving(sized, state, frozen, center)
            say(f"{elapsed()} checkpoint and travel folder written and read: {_megabytes(out / 'travel')}")
            previewer(out, sized, frozen, shown)(int(state.step), state.ema)
            say(f"{elapsed()} samples written: {out / 'samples'}")
    say(f"{elapsed()} all well")


def forward_flops(config: Config, params: Any) -> float:
    """Operations of the denoiser for one picture."""
    picture, log_snr, condition = empty_inputs(1, config.data.size, config.model)
    apply = denoiser_of(config).apply
    return flops_of(lambda tree, x: apply({"params": tree}, x, log_snr, condition), params, picture)


def _step_flops(config: Config, state: Any, faces: Any, frozen: Frozen) -> float:
    arguments = (state, (faces, jnp.ones(())), frozen)
    return flops_of_step(resident_train_step, arguments, config, make_optimizer(config.train)) / config.train.batch


def _measure(config: Config, faces: Any, frozen: Frozen, steps: int) -> tuple[Any, str]:
    """The state after some steps; images a second, seconds to compile, and the memory taken, in words."""
    # As the training loop has it, so that what is compiled here need not be compiled there.
    mesh, make = make_mesh(config), partial(initial_state, config)
    like = abstract_state(make, mesh, config.devices)
    function = compiled_step(config, partial(resident_train_step, sharding=batch_sharding(mesh)), like)
    faces, frozen = placed((faces, frozen), replicated(mesh))
    state, drawn_from = born_sharded(make, like), (faces, jnp.ones(()))
    began = time.monotonic()
    state, metrics = jax.block_until_ready(function(state, drawn_from, frozen))
    compiling = time.monotonic() - began
    began = time.monotonic()
    for _ in range(steps):
        state, metrics = function(state, drawn_from, frozen)
    metrics = jax.device_get(metrics)
    rate = steps * config.train.batch / (time.monotonic() - began)
    if not all(np.isfinite(value) for value in metrics.values()):
        raise InputError(f"The loss is not finite after {steps + 1} steps: {metrics}; lower train.learning_rate.")
    memory = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return state, f"{rate:.1f} images/s, first step after {compiling:.0f} s, {memory / 1e9:.1f} GB at most"


def _check_saving(config: Config, state: Any, frozen: Frozen, center: np.ndarray) -> None:
    with checkpoint.open_checkpoints(config.train) as manager:
        checkpoint.save(manager, int(state.step), state, {})
        manager.wait_until_finished()
        restored = checkpoint.restore(manager, state)
    if restored is None or not _equal(restored[0], state):
        raise InputError(f"{config.train.out}: a checkpoint does not come back as it was written; check the disk.")
    travel = Path(config.train.out) / "travel"
    save_travel(travel, config, state, frozen.landmark_net, center, {})
    load_travel(travel, config, state)


def _equal(left: Any, right: Any) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def _megabytes(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB, the largest {max(sizes) / 1e6:.1f} MB"
