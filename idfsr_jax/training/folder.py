"""The folder of a run: whose it is, LandmarkNet in it, and the grids of samples."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from idfsr_jax.config import Config, to_json
from idfsr_jax.errors import BadConfig
from idfsr_jax.face import write_image
from idfsr_jax.files import write_atomically
from idfsr_jax.models.condition import paste
from idfsr_jax.parameter_files import load_tree, save_tree
from idfsr_jax.pictures import grid
from idfsr_jax.runtime.randomness import step_key
from idfsr_jax.sampling import restore_crops
from idfsr_jax.training.distributed import all_agree, is_main, wait_for_all
from idfsr_jax.training.landmarks import train_landmark_net
from idfsr_jax.training.log import progress_bar
from idfsr_jax.training.mesh import whole
from idfsr_jax.training.same_run import difference, read_config
from idfsr_jax.training.soundness import NonFiniteLoss
from idfsr_jax.training.step import Frozen, condition_of


def claim_folder(out: Path, config: Config, autoencoder: Any = None) -> None:
    """Writes `config.json`, and the autoencoder's name, into the run's folder; one process writes, and all look.

    Raises:
      BadConfig: the folder belongs to a run of another configuration; the sentence names the first field. Or what lies
        at the autoencoder's place is no longer the same.
    """
    path = out / "config.json"
    if path.exists():
        differing = difference(read_config(path, path.read_bytes()), config)
        if differing is not None:
            name, old, new = differing
            raise BadConfig(
                f"{out}: belongs to a run with {name} = {old!r}, not {new!r}; "
                "choose another train.out or the same configuration."
            )
    named = out / "autoencoder.txt"
    if autoencoder is not None and named.exists() and named.read_text(errors="replace").strip() != autoencoder.name:
        raise BadConfig(
            f"{config.model.autoencoder}: is not the autoencoder that the run in {out} began with; "
            "put that one there, or choose another train.out."
        )
    if is_main():
        write_atomically(path, lambda file: file.write(to_json(config).encode()))
        if autoencoder is not None:
            name = autoencoder.name
            write_atomically(named, lambda file: file.write(f"{name}\n".encode()))


def landmark_net(out: Path, config: Config, batches: Callable[[], Iterator[Mapping[str, Any]]]) -> Any:
    """LandmarkNet's parameters, trained unless they are there; a file beside them holds their SHA-256.

    It is small: each of several processes trains it whole, on one device, and all take what one of them wrote.

    Args:
      out: the run's folder.
      config: the run.
      batches: opens the examples that it is trained on, `config.landmarks.batch` at a time.

    Raises:
      BadWeights: the file is damaged.
      NonFiniteLoss: the training broke down; nothing is saved.
    """
    path, sum_path = out / "landmark_net.safetensors", out / "landmark_net.sha256"
    wait_for_all("LandmarkNet is looked for")
    if not all_agree(sum_path.exists()):
        landmarks = config.landmarks
        with progress_bar("LandmarkNet", landmarks.steps) as progress:

            def report(step: int, metrics: dict[str, jax.Array]) -> None:
                if step % 50 == 0 or step == landmarks.steps:
                    progress(step, f"error {float(metrics['nme']):.4f} eye distances")

            params = train_landmark_net(batches(), landmarks, config.train.seed, report)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise NonFiniteLoss(
                f"{out}: LandmarkNet is not finite after its training; choose another train.out, with a lower learning "
                f"rate than {landmarks.learning_rate:g} (--landmarks.learning-rate)."
            )
        save_landmark_net(out, params)
        wait_for_all("LandmarkNet is written")
    return load_tree(path, sum_path.read_text(errors="replace").strip())


def save_landmark_net(out: Path, params: Any) -> None:
    """Writes LandmarkNet's parameters into a run's folder; the sum comes last."""
    if not is_main():
        return
    digest = save_tree(out / "landmark_net.safetensors", params)
    write_atomically(out / "landmark_net.sha256", lambda file: file.write(digest.encode()))


def previewer(out: Path, config: Config, frozen: Frozen, batch: Mapping[str, Any]) -> Callable[[int, Any], None]:
    """A function that writes a grid of val examples: LR, warped reference, pasted, sample, truth, a row each.

    One process draws it, on one device; all call it, as each may have a part of the parameters.
    """
    if not is_main():
        return lambda step, ema: whole(ema) and None
    key = step_key(config.train.seed, "preview", 0)
    target, condition = jax.jit(partial(condition_of, config=config))(batch, frozen, key=key)

    def preview(step: int, ema: Any) -> None:
        sampled = restore_crops(whole(ema), condition, key, config)
        rows = (condition.hidden, condition.reference, paste(condition, config.model.mask), sampled, target)
        write_image(out / "samples" / f"{step:07d}.png", grid(rows), {})

    return preview
