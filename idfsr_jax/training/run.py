"""A whole training run: LandmarkNet first, then the denoiser, then the model folder."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idfsr_jax.config import Config, to_json
from idfsr_jax.data.pipeline import load_index, training_examples
from idfsr_jax.errors import BadConfig
from idfsr_jax.face import write_image
from idfsr_jax.files import write_atomically
from idfsr_jax.models.condition import paste
from idfsr_jax.models.id_encoder import load_id_encoder
from idfsr_jax.pictures import grid
from idfsr_jax.sampling import restore_crops
from idfsr_jax.training.landmarks import train_landmark_net
from idfsr_jax.training.log import progress_bar
from idfsr_jax.training.loop import train_denoiser
from idfsr_jax.training.randomness import step_key
from idfsr_jax.training.step import Frozen, condition_of
from idfsr_jax.weights import load_tree, save_model, save_tree

_FIXED = ("data", "model", "diffusion", "landmarks")
"""Sections of the config that a run may not change when it goes on."""


def train(config: Config) -> int:
    """Runs or continues the training that `config` describes, in the folder `config.train.out`.

    Writes there: `config.json`, `landmark_net.safetensors` and its sum, `checkpoints/`, `log.jsonl`, `tensorboard/`,
    `samples/`, and `model/`, which `Restorer.load` reads.

    Returns:
      The number of the signal that stopped it, or 0.

    Raises:
      BadConfig: the folder belongs to a run of another configuration; the sentence names the first field.
      BadWeights: LandmarkNet, or every checkpoint, is damaged.
      InputError: the data set is missing or damaged, or the loss is not finite.
    """
    out = Path(config.train.out)
    # The data first: a folder must not be claimed by a run that cannot begin.
    index = load_index(config.data.dataset, config.data.train_split)
    shown = next(iter(training_examples(config.data, 0, 8, config.data.val_split)))
    _claim_folder(out, config)
    center = np.asarray(index.embeddings, np.float32).mean(0)
    frozen = Frozen(
        landmark_net=_landmark_net(out, config),
        encoder=load_id_encoder() if config.train.identity_loss > 0 else None,
        center=jnp.asarray(center),
    )
    batches = iter(training_examples(config.data, config.train.seed, config.train.batch, config.data.train_split))
    state, signal_number = train_denoiser(config, frozen, batches, _previewer(out, config, frozen, shown))
    steps = int(state.step)
    facts = {"images_seen": steps * config.train.batch}
    save_model(out / "model", config, state.ema, frozen.landmark_net, center, steps, facts=facts)
    return signal_number


def _claim_folder(out: Path, config: Config) -> None:
    path = out / "config.json"
    if path.exists():
        now = json.loads(to_json(config))
        before = _read_config(path)
        for section in _FIXED:
            for name, value in now[section].items():
                if before[section].get(name) != value:
                    raise BadConfig(
                        f"{out}: belongs to a run with {section}.{name} = {before[section].get(name)!r}, "
                        f"not {value!r}; choose another train.out or the same configuration."
                    )
        if before["train"].get("seed") != config.train.seed or before["train"].get("batch") != config.train.batch:
            raise BadConfig(
                f"{out}: belongs to a run with another train.seed or train.batch; choose another train.out."
            )
    write_atomically(path, lambda file: file.write(to_json(config).encode()))


def _read_config(path: Path) -> dict[str, dict[str, Any]]:
    try:
        before = json.loads(path.read_bytes())
        return {section: dict(before[section]) for section in (*_FIXED, "train")}
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"{path}: is damaged, so that the run cannot be told; choose another train.out.") from error


def _landmark_net(out: Path, config: Config) -> Any:
    """LandmarkNet's parameters, trained unless they are there; a file beside them holds their SHA-256."""
    path, sum_path = out / "landmark_net.safetensors", out / "landmark_net.sha256"
    if not sum_path.exists():
        landmarks, seed = config.landmarks, config.train.seed
        # Its own batch size and stream of examples, of the same crops.
        batches = iter(training_examples(config.data, seed, landmarks.batch, config.data.train_split))
        with progress_bar("LandmarkNet", landmarks.steps) as progress:

            def report(step: int, metrics: dict[str, jax.Array]) -> None:
                if step % 50 == 0 or step == landmarks.steps:
                    progress(step, f"error {float(metrics['nme']):.4f} eye distances")

            params = train_landmark_net(batches, landmarks, seed, report)
        digest = save_tree(path, params)
        write_atomically(sum_path, lambda file: file.write(digest.encode()))
    return load_tree(path, sum_path.read_text(errors="replace").strip())


def _previewer(out: Path, config: Config, frozen: Frozen, batch: dict[str, np.ndarray]) -> Any:
    """A function that writes a grid of val examples: LR, pasted reference, sample, truth, a row each."""
    key = step_key(config.train.seed, "preview", 0)
    target, condition = jax.jit(partial(condition_of, config=config))(batch, frozen, key=key)

    def preview(step: int, ema: Any) -> None:
        sampled = restore_crops(ema, condition, key, config)
        rows = (condition.hidden, condition.reference, paste(condition, config.model.mask), sampled, target)
        write_image(out / "samples" / f"{step:07d}.png", grid(rows), {})

    return preview
