"""Fitting many people at once: `training.fit`'s own step under `vmap`, on albums padded to one length, over devices."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float
from rich.progress import Progress

from idfsr_jax.config import Config, FitConfig
from idfsr_jax.devices import by_shares, cut_rows, everywhere, placed_rows, used
from idfsr_jax.evaluation.methods import start_identity
from idfsr_jax.evaluation.parts import VERSION, part_path, read_part, write_part
from idfsr_jax.evaluation.people import Person, fit_one
from idfsr_jax.evaluation.protocol import PersonPlan
from idfsr_jax.evaluation.study import Study
from idfsr_jax.networks.id_encoder import unit_identity
from idfsr_jax.pictures import to_float
from idfsr_jax.restorer import Restorer
from idfsr_jax.training.fit import Album, choose_pairs, fit_step, make_fit_optimizer


def album_of(study: Study, photos: Sequence[str], center: Float[np.ndarray, " d"]) -> Album:
    """Photographs of a person as a fit sees them."""
    records = study.records(photos)
    identities = unit_identity(jnp.asarray(study.index.embeddings[records]), jnp.asarray(center))
    return Album(to_float(study.images[records]), jnp.asarray(study.index.landmarks[records]), identities)


def fit_all(restorer: Restorer, study: Study, count: int, parts: Path, progress: Progress) -> dict[str, Any]:
    """What was fitted of every person, on the first `count` photographs: an identity, or a `people.Person`."""
    if restorer.config.model.recognisers:
        return _fit_one_by_one(restorer, study, count, parts, progress)
    people = study.protocol.people
    fitted: dict[str, Float[np.ndarray, " d"]] = {}
    task = progress.add_task(f"fitting, {count}", total=len(people))
    waiting: list[PersonPlan] = []
    longest = max(len(person.photographs[: max(study.protocol.counts)]) for person in people)
    paths = {person.name: _fit_path(restorer, person, count, parts) for person in people}
    # On two cores nothing is gained by fitting many at once (measured); on an accelerator much is.
    together = restorer.mesh.size * (1 if jax.default_backend() == "cpu" else 16)
    for person in people:
        part = read_part(paths[person.name])
        if part is None:
            waiting.append(person)
        else:
            fitted[person.name] = part["identity"]
            progress.advance(task)
    for group in [waiting[i : i + together] for i in range(0, len(waiting), together)]:
        photos = [person.photographs[:count] for person in group]
        starts = np.stack([start_identity(study, names, restorer.model.center) for names in photos])
        albums = [album_of(study, names, restorer.model.center) for names in photos]
        identities, losses, _ = fit_people(starts, albums, restorer, restorer.config, length=longest)
        for person, identity, loss in zip(group, identities, losses.T, strict=True):
            write_part(paths[person.name], {"identity": identity, "losses": loss})
            fitted[person.name] = identity
            progress.advance(task)
    progress.remove_task(task)
    return fitted


def _fit_one_by_one(restorer: Restorer, study: Study, count: int, parts: Path, progress: Progress) -> dict[str, Person]:
    """As the product fits."""
    fitted: dict[str, Person] = {}
    task = progress.add_task(f"fitting, {count}", total=len(study.protocol.people))
    for person in study.protocol.people:
        path = _fit_path(restorer, person, count, parts)
        part = read_part(path)
        if part is None:
            identity, offsets, losses = fit_one(study, person.photographs[:count], restorer)
            part = {"identity": identity, "offsets": offsets, "losses": losses}
            write_part(path, part)
        fitted[person.name] = part["identity"], part["offsets"], part["losses"]
        progress.advance(task)
    progress.remove_task(task)
    return fitted


def fit_people(
    starts: Float[np.ndarray, "p d"],
    albums: Sequence[Album],
    restorer: Restorer,
    config: Config,
    progress: Callable[[int], None] = lambda step: None,
    keep: Sequence[int] = (),
    length: int = 1,
) -> tuple[Float[np.ndarray, "p d"], Float[np.ndarray, "steps p"], dict[int, Float[np.ndarray, "p d"]]]:
    """Fits several people, a share of them on each device; each gets what `fit_identity` would give him alone.

    Args:
      starts: `mean_identity` of each album.
      albums: of each person.
      restorer: its networks are used on its devices, and not changed.
      config: the model's; `config.fit` says how to fit.
      progress: called with the number of steps done.
      keep: steps after which the identities are kept.
      length: albums are padded to so many photographs at the least, which spares compiling for each length.

    Returns:
      The fitted identities, the loss of every step, and the identities after each step of `keep`.
    """
    counts = [album.images.shape[0] for album in albums]
    (denoiser, _), mesh = used(restorer.networks, restorer.mesh, len(albums))
    shared = denoiser, everywhere(restorer.frozen, mesh)
    optimizer = make_fit_optimizer(config.fit)
    opt_state = jax.vmap(lambda e: optimizer.init({"identity": e, "denoiser": denoiser}))(jnp.asarray(starts))
    moving, fixed = placed_rows(((starts, opt_state), (starts, _stacked(albums, length))), mesh)
    losses, kept = [], {0: starts} if 0 in keep else {}
    for index in range(config.fit.steps):
        # The same generator for everyone, as it is for each alone.
        pairs = [choose_pairs(np.random.default_rng((config.fit.seed, index)), n, config.fit.batch) for n in counts]
        rows = moving, fixed, placed_rows(np.stack(pairs), mesh)
        moving, loss = _step((*shared, np.int32(index)), rows, config, mesh)
        losses.append(cut_rows(loss, len(albums)))
        if index + 1 in keep:
            kept[index + 1] = cut_rows(moving[0], len(albums))
        progress(index + 1)
    return cut_rows(moving[0], len(albums)), np.asarray(losses), kept


@partial(jax.jit, static_argnames=("config", "mesh"))
def _step(shared: Any, rows: Any, config: Config, mesh: Mesh) -> Any:
    """A step of everyone: the moving part of the rows, and the losses."""

    def share(shared: Any, rows: Any) -> Any:
        denoiser, frozen, index = shared

        def one(row: Any) -> Any:
            (identity, opt_state), (start, album), pairs = row
            *moved, loss = fit_step(identity, opt_state, index, start, Album(*album), pairs, denoiser, frozen, config)
            return tuple(moved), loss

        return jax.vmap(one)(rows)

    return by_shares(share, mesh)(shared, rows)


def _stacked(albums: Sequence[Album], length: int) -> tuple[jax.Array, ...]:
    """Albums of one length: the short ones repeat their first photograph, which `choose_pairs` never draws."""
    length = max(length, *(album.images.shape[0] for album in albums))

    def padded(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x, jnp.repeat(x[:1], length - x.shape[0], axis=0)])

    fields = [(album.images, album.landmarks, album.identities) for album in albums]
    return tuple(jnp.stack([padded(x) for x in each]) for each in zip(*fields, strict=True))


def _fit_path(restorer: Restorer, person: PersonPlan, count: int, parts: Path) -> Path:
    fit: FitConfig = restorer.config.fit
    photos = list(person.photographs[:count])
    facts = {"version": VERSION, "model": restorer.model.digest, "fit": dataclasses.asdict(fit), "photos": photos}
    facts["sample"] = dataclasses.asdict(restorer.config.sample)  # Fits go along the sampler's course.
    return part_path(parts / "fits", f"{person.name} {len(photos)}", facts)
