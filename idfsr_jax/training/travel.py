"""A run made small enough to leave its machine: a model folder in bfloat16 that training can go on from, not exactly.

An exact checkpoint is sixteen bytes a parameter; it stays where the run is. What travels is two: the averaged
parameters, which replace the momentary ones as well, and the optimiser's second moments as the outer product of their
row and column means (Shazeer and Stern 2018, "Adafactor"), a hundredth of a parameter's size. First moments start at
zero. Both moments are at home again after some hundred steps, the memory of `beta2`. The loss is where it was; the run
is not bit for bit the one that was left.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from idfsr_jax.config import Config
from idfsr_jax.errors import BadConfig, BadWeights
from idfsr_jax.networks.id_encoder import DLIB_NAME
from idfsr_jax.parameter_files import load_tree, save_tree
from idfsr_jax.training.state import TrainState
from idfsr_jax.weights import load_model, read_description, save_model

_RESUME = "resume.safetensors"


def save_travel(
    folder: Path,
    config: Config,
    state: TrainState,
    landmark_net: Any,
    center: Float[np.ndarray, " d"],
    facts: Mapping[str, Any],
    encoder: str = DLIB_NAME,
) -> None:
    """Writes the folder anew; at every moment it, or `FOLDER.old`, is whole.

    Args:
      folder: a model folder, and with it `resume.safetensors`.
      config: the run.
      state: of training.
      landmark_net: parameters of LandmarkNet.
      center: mean raw descriptor of the training people.
      facts: to be recorded.
      encoder: name of the ID encoder.
    """
    fresh, old = (folder.with_name(f"{folder.name}.{name}") for name in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)
    moments = factored(optax.tree.get(state.opt_state, "nu"))
    digest = save_tree(fresh / _RESUME, moments)
    facts = {**facts, "resume_sha256": digest}
    steps = int(state.step)
    save_model(
        fresh,
        config,
        state.ema,
        landmark_net,
        center,
        steps,
        dtype="bfloat16",
        facts=facts,
        encoder=encoder,
    )
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def load_travel(folder: Path, config: Config, like: TrainState) -> tuple[TrainState, Any]:
    """Reads what `save_travel` wrote.

    Args:
      folder: the folder.
      config: of the run that is to go on; its network must be the same.
      like: a state of the run, for its structure.

    Returns:
      The state, and the parameters of LandmarkNet.

    Raises:
      BadWeights: it is missing or damaged.
      BadConfig: it holds another network.
    """
    model = load_model(folder)
    digest = read_description(folder).get("facts", {}).get("resume_sha256")
    if digest is None:
        raise BadWeights(f"{folder}: is a model, but not one to go on from; give the `travel` folder of a run.")
    for section in ("model", "landmarks"):
        if getattr(model.config, section) != getattr(config, section):
            raise BadConfig(f"{folder}: its config.{section} is another one; use the configuration that it came from.")
    second = unfactored(load_tree(folder / _RESUME, digest), like.params)
    params = jax.tree.map(jnp.asarray, model.denoiser)
    step = jnp.asarray(model.steps, jnp.int32)
    opt_state = optax.tree.set(like.opt_state, nu=second, mu=jax.tree.map(jnp.zeros_like, params), count=step)
    # Copied, as a state is donated, and a buffer can be donated once only.
    return jax.tree.map(jnp.copy, TrainState(step, params, params, opt_state)), model.landmark_net


def factored(moments: Any) -> dict[str, Any]:
    """The means of every matrix over its last axis and over all others; vectors as they are."""
    flat: dict[str, np.ndarray] = {}
    for name, value in flax.traverse_util.flatten_dict(jax.device_get(moments), sep="/").items():
        if value.ndim > 1:
            matrix = value.reshape(-1, value.shape[-1])
            flat[f"{name}/rows"], flat[f"{name}/columns"] = matrix.mean(axis=1), matrix.mean(axis=0)
        else:
            flat[f"{name}/whole"] = value
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def unfactored(means: Any, like: Any) -> Any:
    """Second moments from their means: rows times columns over the mean of all.

    Args:
      means: of `factored`.
      like: the parameters, for names and shapes.
    """
    flat = flax.traverse_util.flatten_dict(means, sep="/")
    moments: dict[str, Any] = {}
    for name, value in flax.traverse_util.flatten_dict(like, sep="/").items():
        if value.ndim > 1:
            rows, columns = flat[f"{name}/rows"], flat[f"{name}/columns"]
            product = np.outer(rows, columns) / max(float(columns.mean()), 1e-30)
            moments[name] = jnp.asarray(product.reshape(value.shape), jnp.float32)
        else:
            moments[name] = jnp.asarray(flat[f"{name}/whole"])
    return flax.traverse_util.unflatten_dict(moments, sep="/")
