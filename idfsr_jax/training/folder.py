"""The folder of a run: whose it is, and LandmarkNet in it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from idfsr_jax.config import Config, to_json
from idfsr_jax.data.faces import Faces
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.io.files import write_atomically
from idfsr_jax.io.parameters import load_tree, save_tree
from idfsr_jax.training.distributed import all_agree, is_main, wait_for_all
from idfsr_jax.training.landmarks import draw_batches, train_landmark_net
from idfsr_jax.training.log import progress_bar
from idfsr_jax.training.same_run import require_same_run
from idfsr_jax.training.soundness import NonFiniteLoss

_SAID_EVERY = 50
"""Steps of LandmarkNet's training between what is said of it."""


def claim_folder(out: Path, config: Config, autoencoder: Any = None) -> None:
    """Writes `config.json`, and the autoencoder's name, into the run's folder; one process writes, and all look.

    Raises:
      BadConfig: the folder belongs to a run of another configuration; the sentence names the first field. Or what lies
        at the autoencoder's place is no longer the same.
    """
    path = out / "config.json"
    if path.exists():
        require_same_run(path, path.read_bytes(), config, out)
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


def landmark_net_of_run(out: Path, config: Config, faces: Faces, given: Any = None) -> Any:
    """LandmarkNet's parameters, given or trained unless they are there; a file beside them holds their SHA-256.

    It is small: each of several processes trains it whole, on one device, and all take what one of them wrote.

    Args:
      out: the run's folder.
      config: the run.
      faces: what it is trained on.
      given: parameters to begin with; None trains them.

    Raises:
      BadWeights: the file is damaged.
      BadConfig: the run began with others than those given.
      NonFiniteLoss: the training broke down; nothing is saved.
    """
    path, sum_path = out / "landmark_net.safetensors", out / "landmark_net.sha256"
    wait_for_all("LandmarkNet is looked for")
    if not all_agree(sum_path.exists()):
        params = _trained_landmark_net(config, faces) if given is None else given
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise NonFiniteLoss(
                f"{out}: LandmarkNet is not finite after its training; choose another train.out, with a lower learning "
                f"rate than {config.landmarks.learning_rate:g} (--landmarks.learning-rate)."
            )
        if is_main():
            digest = save_tree(path, params)
            write_atomically(sum_path, lambda file: file.write(digest.encode()))  # last: it says that all is there
        wait_for_all("LandmarkNet is written")
    kept = load_tree(path, sum_path.read_text(errors="replace").strip())
    if given is not None and not jax.tree.all(jax.tree.map(np.array_equal, kept, given)):
        raise BadConfig(
            f"{out}: belongs to a run with another LandmarkNet; choose another train.out or the train.landmark_net and "
            "train.start_from that it began with."
        )
    return kept


def _trained_landmark_net(config: Config, faces: Faces) -> Any:
    landmarks, seed = config.landmarks, config.train.seed
    with progress_bar("LandmarkNet", landmarks.steps) as progress:

        def report(step: int, average: Any, loss: jax.Array) -> None:
            if step % _SAID_EVERY == 0 or step == landmarks.steps:
                progress(step, f"error {float(loss):.4f} eye distances")

        return train_landmark_net(draw_batches(faces, landmarks.batch, seed), landmarks, seed, progress=report)
