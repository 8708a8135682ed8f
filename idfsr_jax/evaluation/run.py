"""`idfsr evaluate`: restores one photograph of every held-out person and measures it against the truth."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from rich.table import Table

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import area_downsample, bicubic_upsample, quantise
from idfsr_jax.data.index import FaceImages, Index, load_index
from idfsr_jax.errors import BadConfig
from idfsr_jax.evaluation.metrics import bootstrap_interval, landmark_nme, lpips, psnr
from idfsr_jax.face import FaceCrop, resize_crop, write_image
from idfsr_jax.files import write_atomically
from idfsr_jax.models.condition import paste
from idfsr_jax.models.id_encoder import ENCODER_NAME, identity_of, unit_identity
from idfsr_jax.models.landmark_net import estimate_landmarks
from idfsr_jax.pictures import grid
from idfsr_jax.restorer import Restorer

METHODS = ("bicubic", "pasted", "unfitted", "fitted", "fitted, consistent")
_PHOTOGRAPHS = 5
_SCALES = (8, 16)


@dataclass(frozen=True)
class Person:
    """A held-out person: the photograph to be restored, and those that are at hand."""

    name: str
    target: FaceCrop
    photographs: Sequence[FaceCrop]


def evaluate(config: Config, *, people: int | None = None) -> dict:
    """Fits every person of the val split on up to five photographs and restores the last one at 8x and 16x.

    Writes `report/results.json` and, kept out of any repository as it shows people, `report/grid_8x.png` and
    `report/grid_16x.png` into the run's folder; prints a table. The weights are those of the run
    (`config.train.out`), or the shipped ones where it has none.

    Args:
      config: which data and which run.
      people: measure the first so many only; all by default.

    Returns:
      What `results.json` holds.
    """
    folder = Path(config.train.out) / "model"
    restorer = Restorer.load(folder if (folder / "model.json").exists() else None)
    persons = held_out_people(config)[:people]
    if not persons:
        raise BadConfig(f"{config.data.dataset}: nobody in {config.data.val_split} has two photographs.")
    rows: list[dict] = []
    pictures: dict[int, list] = {scale: [] for scale in _SCALES}
    for person in track(persons, "restoring", console=Console(stderr=True)):
        identity = restorer.fit(person.photographs)
        for scale in _SCALES:
            images, row = _restore_all(restorer, person, identity, scale)
            pictures[scale].append(images)
            rows += row
    console, out = Console(), Path(config.train.out) / "report"
    results: dict[str, Any] = {"judge": f"{ENCODER_NAME} (same network as the condition)", "pictures": rows}
    results["landmark_nme"] = landmark_errors(restorer, persons)
    index = load_index(config.data.dataset, config.data.val_split)
    results["real_pairs"] = separation(index, restorer.model.center)
    _print(rows, results["landmark_nme"], console)
    console.print("Mean identity cosine of real pairs:", results["real_pairs"])
    for scale, stacked in pictures.items():
        write_image(out / f"grid_{scale}x.png", grid(np.stack(stacked[:12]).swapaxes(0, 1)), {})
    text = json.dumps(results, indent=1)
    write_atomically(out / "results.json", lambda file: file.write(text.encode()))
    return results


def held_out_people(config: Config) -> list[Person]:
    """People of the val split with two photographs or more; the last, by name, is the target."""
    index: Index = load_index(config.data.dataset, config.data.val_split)
    images = FaceImages(config.data.dataset, config.data.val_split)
    read = lambda record: FaceCrop(images.read(int(record)), index.landmarks[record], np.eye(3))  # noqa: E731
    persons = []
    for name, members in zip(index.people, index.members, strict=True):
        if len(members) > 1:
            persons.append(Person(name, read(members[-1]), [read(m) for m in members[:-1][:_PHOTOGRAPHS]]))
    return persons


def _restore_all(restorer: Restorer, person: Person, identity: object, scale: int) -> tuple[np.ndarray, list[dict]]:
    size = restorer.config.data.size
    truth = to_float(resize_crop(person.target.image, size))[None]
    y = quantise(area_downsample(truth, scale))
    y8 = np.asarray(jnp.round((y[0] + 1.0) * 127.5)).astype(np.uint8)
    restored = restorer.restore(y8, identity, person.photographs, scale=scale)  # type: ignore[arg-type]
    exact = restorer.restore(y8, identity, person.photographs, scale=scale, consistency=1.0)  # type: ignore[arg-type]
    condition = restored.condition
    images = {
        "bicubic": bicubic_upsample(y, size)[0],
        "pasted": paste(jax.tree.map(jnp.asarray, condition), restorer.config.model.mask)[0],
        "unfitted": to_float(restored.unfitted()),
        "fitted": to_float(restored.images[0]),
        "fitted, consistent": to_float(exact.images[0]),
    }
    stack = jnp.clip(jnp.stack([images[method] for method in METHODS]), -1.0, 1.0)
    scores = _score(restorer, stack, truth, person.target, jnp.asarray(condition.mask))
    rows = [
        {"person": person.name, "scale": scale, "method": method, "photographs": len(person.photographs)}
        | {name: float(values[i]) for name, values in scores.items()}
        for i, method in enumerate(METHODS)
    ]
    reference = to_float(resize_crop(restored.reference, size))
    return np.stack([*np.asarray(stack), np.asarray(reference), np.asarray(truth[0])]), rows


def _score(
    restorer: Restorer, images: Float[jax.Array, "m s s 3"], truth: jax.Array, target: FaceCrop, mask: jax.Array
) -> dict[str, np.ndarray]:
    repeated = jnp.broadcast_to(truth, images.shape)
    landmarks = jnp.broadcast_to(jnp.asarray(target.landmarks), (len(images) + 1, 68, 2))
    center = jnp.asarray(restorer.model.center)
    # Chips are cut at the true landmarks for every method, so that no failed detection drops a picture.
    units = jax.jit(identity_of)(restorer.encoder, jnp.concatenate([images, truth]), landmarks, center)
    return {
        "identity": np.asarray(units[:-1] @ units[-1]),
        "psnr": np.asarray(psnr(images, repeated)),
        "psnr_face": np.asarray(psnr(images, repeated, jnp.broadcast_to(mask, (*images.shape[:3], 1)))),
        "lpips_alex": np.asarray(lpips(images, repeated, "alexnet")),
    }


def landmark_errors(restorer: Restorer, persons: Sequence[Person]) -> dict[str, float]:
    """Mean error of LandmarkNet against dlib on the targets, in eye distances, by scale."""
    config, size = restorer.config, restorer.config.data.size
    truth = jnp.stack([to_float(resize_crop(person.target.image, size)) for person in persons])
    points = np.stack([person.target.landmarks for person in persons])
    errors = {}
    for scale in config.data.scales:
        y_up = bicubic_upsample(quantise(area_downsample(truth, scale)), size)
        predicted = np.asarray(estimate_landmarks(restorer.model.landmark_net, y_up, config.landmarks))
        errors[f"{scale}x"] = float(landmark_nme(predicted, points).mean())
    return errors


def separation(index: Index, center: Float[np.ndarray, " d"]) -> dict[str, float]:
    """Mean cosine of same-person and of different-person pairs of real photographs: the judge's own range."""
    units = np.asarray(unit_identity(jnp.asarray(index.embeddings), jnp.asarray(center)))
    cosines, same = units @ units.T, index.person[:, None] == index.person[None]
    apart = ~np.eye(len(units), dtype=bool)
    return {"same": float(cosines[same & apart].mean()), "different": float(cosines[~same].mean())}


def to_float(image: np.ndarray) -> Float[jax.Array, "s s 3"]:
    """uint8 to [-1, 1]."""
    return jnp.asarray(image, jnp.float32) / 127.5 - 1.0


def _print(rows: list[dict], landmarks: dict[str, float], console: Console) -> None:
    metrics = {
        "identity": f"identity cosine, {ENCODER_NAME} (higher)",
        "psnr": "PSNR, dB (higher)",
        "psnr_face": "PSNR of the face, dB (higher)",
        "lpips_alex": "LPIPS, AlexNet (lower)",
    }
    for scale in _SCALES:
        count = len({row["person"] for row in rows})
        table = Table(title=f"{scale}x, {count} people; mean and 95% interval over people")
        table.add_column("method")
        for title in metrics.values():
            table.add_column(title, justify="right")
        for method in METHODS:
            chosen = [row for row in rows if row["scale"] == scale and row["method"] == method]
            names = np.array([row["person"] for row in chosen])
            cells = []
            for metric in metrics:
                values = np.array([row[metric] for row in chosen])
                low, high = bootstrap_interval(values, names, resamples=2_000)
                cells.append(f"{values.mean():.3f} [{low:.3f}, {high:.3f}]")
            table.add_row(method, *cells)
        console.print(table)
    console.print("LandmarkNet, mean error in eye distances:", landmarks)
