"""Training on a packed data set that lies in device memory: no step waits for the host.

The run is that of `idfsr_jax.training.run`: the same configuration, step, loss, averages, checkpoints and model folder.
Only where its batches come from differs.

The faces lie whole on every device of the mesh; one process only.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from idfsr_jax.config import Config
from idfsr_jax.data.pack import read_manifest
from idfsr_jax.data.resident import ResidentFaces
from idfsr_jax.training.folder import claim_folder, landmark_net, previewer
from idfsr_jax.training.loop import train_denoiser
from idfsr_jax.training.mesh import batch_sharding, make_mesh, placed, replicated, spread
from idfsr_jax.training.resident_batches import (
    LandmarkBatches,
    ResidentBatches,
    cooling,
    examples_of_step,
    load_faces,
)
from idfsr_jax.training.rollout import load_perceptual
from idfsr_jax.training.sole_use import sole_use
from idfsr_jax.training.speed import flops_of_step, peak_flops
from idfsr_jax.training.start import beginning, bring_landmark_net, initial_state
from idfsr_jax.training.state import TrainState, make_optimizer
from idfsr_jax.training.step import Frozen, train_step
from idfsr_jax.training.travel import load_travel, save_travel
from idfsr_jax.weights import save_model

SAVING_SECONDS = 40.0
"""Kept free before the time limit for the last checkpoint and the model folder."""


def resident_train_step(
    state: TrainState,
    drawn_from: tuple[ResidentFaces, Float[Array, ""]],
    frozen: Frozen,
    *,
    config: Config,
    optimizer: optax.GradientTransformation,
    sharding: NamedSharding | None = None,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """`train_step` on a batch drawn inside the compiled program.

    Args:
      state: donated.
      drawn_from: the faces, and the share of the learning rate that this step takes.
      frozen: see `train_step`.
      config: static.
      optimizer: static.
      sharding: how the drawn batch is to lie.
    """
    faces, share = drawn_from
    batch = examples_of_step(faces, config.data, config.train.seed, state.step, config.train.batch)
    return train_step(state, spread(batch, sharding), frozen, config=config, optimizer=optimizer, share=share)


def train_packed(
    config: Config,
    pack: Path,
    *,
    began: float,
    cool_minutes: float = 0.0,
    start_from: Path | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Runs or continues a training on a packed data set.

    Besides what `idfsr_jax.training.run.train` writes, `travel/` in the run's folder is renewed with every checkpoint:
    a model folder in bfloat16, and with it what another machine needs to go on from it.

    Args:
      config: the run; `train.max_minutes` counts from `began` and includes compiling and saving.
      pack: folder that `idfsr pack` wrote.
      began: on `time.monotonic`'s clock.
      cool_minutes: so long before the limit the learning rate starts to fall towards zero.
      start_from: a `travel` folder to go on from where the run's own folder has no checkpoint.
      say: told what is going on.

    Returns:
      The number of the signal that stopped it, or 0.

    Raises:
      InputError: the pack, the folder or the configuration is at fault, or the loss is not finite.
    """
    out = Path(config.train.out)
    deadline = None
    if config.train.max_minutes > 0:
        deadline = began + max(60 * config.train.max_minutes - SAVING_SECONDS, 1.0)
    mesh = make_mesh(config)
    faces, shown, encoder, center = load_faces(pack, config)
    kind = jax.devices()[0].device_kind
    say(f"{faces.images.shape[0]} faces on {mesh.size} x {kind} after {time.monotonic() - began:.0f} s.")
    manifest = read_manifest(pack)
    encoder_named = manifest["encoder"]
    start: TrainState | None
    if start_from is not None:
        start, brought_net = load_travel(start_from, config, initial_state(config))
    else:
        start, brought_net = beginning(config, encoder_named)
    with sole_use(out):
        claim_folder(out, config)
        if brought_net is not None:
            bring_landmark_net(out, brought_net)
        net = jax.tree.map(jnp.asarray, landmark_net(out, config, lambda: LandmarkBatches(faces, config)))
        frozen = Frozen(net, encoder, jnp.asarray(center), load_perceptual(config.train, pack))
        say(f"LandmarkNet ready after {time.monotonic() - began:.0f} s.")

        facts: dict[str, Any] = {"pack": manifest["self_sha256"]}

        def describe(step: int) -> dict[str, Any]:
            return facts | {
                "images_seen": step * config.train.batch,
                "minutes": round((time.monotonic() - began) / 60, 2),
            }

        def travel(step: int, state: TrainState) -> None:
            parts = (frozen.landmark_net, center, describe(step), encoder_named)
            save_travel(out / "travel", config, state, *parts)

        everywhere = placed(faces, replicated(mesh))
        state, signal_number = train_denoiser(
            config,
            frozen,
            ResidentBatches(everywhere, cooling(deadline, cool_minutes) if deadline is not None else lambda: 1.0),
            previewer(out, config, frozen, shown),
            step_function=partial(resident_train_step, sharding=batch_sharding(mesh)),
            start=start,
            deadline=deadline,
            saved=travel,
            annotate=speedometer(config, faces, frozen),
        )
        steps = int(state.step)
        travel(steps, state)
        save_model(
            out / "model",
            config,
            state.ema,
            frozen.landmark_net,
            center,
            steps,
            facts=describe(steps),
            encoder=encoder_named,
        )
        say(f"Step {steps} after {(time.monotonic() - began) / 60:.1f} minutes.")
        return signal_number


def speedometer(
    config: Config, faces: ResidentFaces, frozen: Frozen
) -> Callable[[Mapping[str, float]], dict[str, float]]:
    """Adds arithmetic a second, and its share of the device's peak where that is known, to a log line."""
    state = jax.eval_shape(lambda: initial_state(config))
    arguments = (state, (faces, jnp.ones(())), frozen)
    flops = flops_of_step(resident_train_step, arguments, config, make_optimizer(config.train)) / config.train.batch
    peak = (peak_flops(jax.devices()[0].device_kind) or 0.0) * make_mesh(config).size

    def annotate(values: Mapping[str, float]) -> dict[str, float]:
        rate = flops * values["images_per_second"]
        return {"teraflops": rate / 1e12} | ({"peak_share": rate / peak} if peak else {})

    return annotate
