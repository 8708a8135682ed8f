"""The folder of a run: whose it is, LandmarkNet in it, and the grids of samples."""

import dataclasses
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from idfsr_jax.config import Config, from_dict, to_json
from idfsr_jax.errors import BadConfig
from idfsr_jax.face import write_image
from idfsr_jax.files import write_atomically
from idfsr_jax.models.condition import paste
from idfsr_jax.pictures import grid
from idfsr_jax.sampling import restore_crops
from idfsr_jax.training.landmarks import train_landmark_net
from idfsr_jax.training.log import progress_bar
from idfsr_jax.training.randomness import step_key
from idfsr_jax.training.step import Frozen, condition_of
from idfsr_jax.weights import load_tree, save_tree


def claim_folder(out: Path, config: Config) -> None:
    """Writes `config.json` into the run's folder.

    Raises:
      BadConfig: the folder belongs to a run of another configuration; the sentence names the first field.
    """
    path = out / "config.json"
    if path.exists():
        before = _read_config(path)
        for name in _fixed_fields(config):
            old, new = (operator.attrgetter(name)(each) for each in (before, config))
            if old != new:
                raise BadConfig(
                    f"{out}: belongs to a run with {name} = {old!r}, not {new!r}; "
                    "choose another train.out or the same configuration."
                )
    write_atomically(path, lambda file: file.write(to_json(config).encode()))


def _fixed_fields(config: Config) -> list[str]:
    """Dotted names of what a run may not change when it goes on."""
    sections = ("data", "model", "diffusion", "landmarks")
    parts = [(section, getattr(config, section)) for section in sections]
    fields = [f"{section}.{field.name}" for section, part in parts for field in dataclasses.fields(part)]
    return [*fields, "train.start_from", "train.seed", "train.batch"]


def _read_config(path: Path) -> Config:
    """The config of the run so far; a field that it did not know yet has its default."""
    try:
        return from_dict(Config, json.loads(path.read_bytes()))
    except (BadConfig, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadConfig(f"{path}: is damaged, so that the run cannot be told; choose another train.out.") from error


def landmark_net(out: Path, config: Config, batches: Callable[[], Iterator[Mapping[str, Any]]]) -> Any:
    """LandmarkNet's parameters, trained unless they are there; a file beside them holds their SHA-256.

    Args:
      out: the run's folder.
      config: the run.
      batches: opens the examples that it is trained on, `config.landmarks.batch` at a time.

    Raises:
      BadWeights: the file is damaged.
    """
    path, sum_path = out / "landmark_net.safetensors", out / "landmark_net.sha256"
    if not sum_path.exists():
        landmarks = config.landmarks
        with progress_bar("LandmarkNet", landmarks.steps) as progress:

            def report(step: int, metrics: dict[str, jax.Array]) -> None:
                if step % 50 == 0 or step == landmarks.steps:
                    progress(step, f"error {float(metrics['nme']):.4f} eye distances")

            params = train_landmark_net(batches(), landmarks, config.train.seed, report)
        save_landmark_net(out, params)
    return load_tree(path, sum_path.read_text(errors="replace").strip())


def save_landmark_net(out: Path, params: Any) -> None:
    """Writes LandmarkNet's parameters into a run's folder; the sum comes last."""
    digest = save_tree(out / "landmark_net.safetensors", params)
    write_atomically(out / "landmark_net.sha256", lambda file: file.write(digest.encode()))


def previewer(out: Path, config: Config, frozen: Frozen, batch: Mapping[str, Any]) -> Callable[[int, Any], None]:
    """A function that writes a grid of val examples: LR, warped reference, pasted, sample, truth, a row each."""
    key = step_key(config.train.seed, "preview", 0)
    target, condition = jax.jit(partial(condition_of, config=config))(batch, frozen, key=key)

    def preview(step: int, ema: Any) -> None:
        sampled = restore_crops(ema, condition, key, config)
        rows = (condition.hidden, condition.reference, paste(condition, config.model.mask), sampled, target)
        write_image(out / "samples" / f"{step:07d}.png", grid(rows), {})

    return preview
