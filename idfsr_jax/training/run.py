"""A training run: its networks, its data, its loop, and the model folder at its end."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from idfsr_jax.config import Config
from idfsr_jax.data.examples import load_people, training_examples
from idfsr_jax.data.faces import load_faces
from idfsr_jax.face import write_image
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.io.images import grid
from idfsr_jax.method.examples import Frozen
from idfsr_jax.method.model import save_model
from idfsr_jax.networks.id_encoder import require_encoder
from idfsr_jax.networks.recognisers import dimensions, load_recognisers, recognisers_name
from idfsr_jax.training.distributed import is_main, wait_for_all
from idfsr_jax.training.folder import claim_folder, landmark_net_of_run
from idfsr_jax.training.full_disk import full_disk_explained
from idfsr_jax.training.loop import train_denoiser
from idfsr_jax.training.mesh import make_mesh, whole
from idfsr_jax.training.sole_use import sole_use
from idfsr_jax.training.start import autoencoder_of_run, beginning
from idfsr_jax.training.step import frozen_parts, initial_state
from idfsr_jax.training.val import few_cases, measure

_SHARE_OF_MEMORY = 0.25
"""Of a device's memory, that all pictures may take where they lie on it."""


def train(config: Config) -> int:
    """Runs or continues the training that `config` describes, in the folder `config.train.out`.

    Returns:
      The number of the signal that stopped it, or 0.

    Raises:
      BadConfig: the folder belongs to a run of another configuration, or of another autoencoder; the data set is of
        other recognisers or of one person, or its pictures do not fit on a device; or `train.start_from` or
        `model.unet.folder` is another network.
      InputError: the data set is missing or damaged, or the loss is not finite.
    """
    out, data = Path(config.train.out), config.data
    make_mesh(config)
    recognisers = load_recognisers(config.model.recognisers)
    sizes, name = dimensions(recognisers), recognisers_name(recognisers)
    faces = load_faces(data.dataset, data.train_split, data.size)
    remedy = f"prepare it with `idfsr prepare --encoder {'+'.join(config.model.recognisers)}`"
    require_encoder(faces.index.encoder, name, data.dataset, remedy)
    if len(faces.index.members) < 2:
        raise BadConfig(
            f"{data.dataset}: its split {data.train_split} shows one person, and training needs others beside; prepare "
            "photographs of two people or more."
        )
    center = np.asarray(faces.index.embeddings, np.float32).mean(0)
    people = load_people(faces, center, sizes, config.model.references)
    autoencoder = autoencoder_of_run(config)
    start, landmark_net = beginning(config, sizes, name, autoencoder)
    if data.on_device:
        stats = jax.local_devices()[0].memory_stats() or {}
        _require_room(faces.images.nbytes, stats.get("bytes_limit", 0))
    with sole_use(out), full_disk_explained(out):
        claim_folder(out, config, autoencoder)
        landmark_net = landmark_net_of_run(out, config, faces, landmark_net)
        frozen = frozen_parts(config, recognisers, landmark_net, center, people, autoencoder)
        batches = training_examples(
            people,
            config.train.seed,
            config.train.batch,
            threads=data.workers,
            shard=jax.process_index(),
            shards=jax.process_count(),
            pictures=not data.on_device,
        )
        make = partial(initial_state, config, sizes)
        look = _looker(out, config, frozen, center)
        state, signal_number = train_denoiser(
            config,
            frozen.replace(images=faces.images) if data.on_device else frozen,  # type: ignore[attr-defined]
            iter(batches),
            look,
            make=make,
            start=start,
            name_of=faces.index.photos.__getitem__,
        )
        steps, averaged = int(state.step), whole(state.ema)
        if is_main():
            save_model(
                out / "model",
                config,
                averaged,
                landmark_net,
                center,
                steps,
                facts={"images_seen": steps * config.train.batch},
                encoder=name,
                autoencoder=autoencoder,
            )
    wait_for_all("the model is written")
    return signal_number


def _require_room(needed: int, memory: int) -> None:
    """Refuses pictures that would take more of a device's memory (bytes; 0 is not known) than a step can spare."""
    if memory and needed > _SHARE_OF_MEMORY * memory:
        raise BadConfig(
            f"data.on_device: the pictures take {needed / 1e9:.1f} GB of the {memory / 1e9:.1f} GB of a device; leave "
            "it out, or lower data.size."
        )


def _looker(out: Path, config: Config, frozen: Frozen, center: Float[np.ndarray, " d"]) -> Callable[[int, Any], None]:
    """A function of (step, averaged parameters) that restores a few people of val.

    It adds a line to `val.jsonl`, and writes a grid of pictures to `samples/`. One process does; all call it, as each
    may have a part of the parameters.
    """
    if not is_main():
        return _gather_only
    sizes = dimensions(frozen.recognisers)
    faces = load_faces(config.data.dataset, config.data.val_split, config.data.size)
    people = load_people(faces, center, sizes, config.model.references)
    if not few_cases(people):  # Nobody has a second photograph to be restored from.
        return _gather_only

    def look(step: int, ema: Any) -> None:
        values, rows = measure(whole(ema), people, frozen, config)
        with (out / "val.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "images": step * config.train.batch} | values) + "\n")
        write_image(out / "samples" / f"{step:07d}.png", grid(rows), {})

    return look


def _gather_only(step: int, ema: Any) -> None:
    whole(ema)
