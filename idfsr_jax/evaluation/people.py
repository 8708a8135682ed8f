"""Cases restored and people fitted by the product's own functions: what a report says is what a user gets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idfsr_jax.evaluation.protocol import PersonPlan, Protocol
from idfsr_jax.evaluation.study import Case, Study, low_resolution
from idfsr_jax.face import FaceCrop
from idfsr_jax.found import Found, Sampling, sample_found
from idfsr_jax.identity import Identity
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import person_shape
from idfsr_jax.picture import LowResolutionFace
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.restore.conditions import condition_of
from idfsr_jax.restore.fitting import fit_person
from idfsr_jax.restorer import Restorer

if TYPE_CHECKING:
    from idfsr_jax.evaluation.methods import Method

Person = tuple[Float[np.ndarray, " d"], Float[np.ndarray, "t w"], Float[np.ndarray, " n"]]
"""What was fitted of somebody: the ID embedding, the offsets of its tokens, the loss of every step."""


def crops_of(study: Study, photos: Sequence[str]) -> list[FaceCrop]:
    """Photographs of a study as the product knows photographs."""
    index, transform = study.index, np.eye(3)
    return [
        FaceCrop(study.images[record], index.landmarks[record], transform, frame=index.frames[record])
        for record in study.records(photos)
    ]


def start_of(study: Study, photos: Sequence[str], restorer: Restorer) -> Identity:
    """The identity of photographs before any fit, from the descriptors that the data set holds."""
    records = study.records(photos)
    start = unit_parts(_units(study, photos, restorer).mean(axis=0), restorer.sizes)
    model = restorer.config.model
    return Identity(
        embedding=start,
        start=start,
        losses=np.zeros(0, np.float32),
        photographs=len(photos),
        encoder=restorer.model.encoder,
        model=restorer.model.digest,
        token_offsets=np.zeros((model.identity_tokens, model.embedding), np.float32),
        shape=person_shape(study.index.landmarks[records]),
    )


def fit_one(study: Study, photos: Sequence[str], restorer: Restorer) -> Person:
    """Fits one person to photographs, as `idfsr fit` does."""
    units = _units(study, photos, restorer)
    _, fitted, losses = fit_person(
        restorer.model, restorer.recognisers, crops_of(study, photos), units, restorer.config
    )
    return np.asarray(fitted.identity), np.asarray(fitted.token_offsets), losses


def stranger(protocol: Protocol, person: PersonPlan) -> Sequence[str]:
    """Photographs of the person after this one in the protocol: whose identity is swapped in."""
    people = protocol.people
    return people[(people.index(person) + 1) % len(people)].photographs


def restore_people(
    method: "Method", cases: Sequence[Case], study: Study, restorer: Restorer, fitted: Mapping[str, Person]
) -> Float[np.ndarray, "b s s 3"]:
    """The pictures that a method makes of cases of one scale and degradation, [-1, 1]; see `methods.restore`."""
    config = restorer.config
    if method.steps is not None:
        config = replace(config, sample=replace(config.sample, steps=method.steps))
    pictures: dict[int, np.ndarray] = {}
    found = found_people(method, cases, study, restorer, fitted)
    for seed in sorted({case.seed for case in cases}):
        sampling = Sampling(config, seed, 1, method.consistency, restorer.sizes)
        chosen = [place for place, case in enumerate(cases) if case.seed == seed]
        drawn = sample_found(restorer.networks, [found[place] for place in chosen], restorer.mesh, sampling)
        pictures |= {place: images[0] for place, images in zip(chosen, drawn, strict=True)}
    return np.asarray(to_float(np.stack([pictures[place] for place in range(len(cases))])))


def found_people(
    method: "Method", cases: Sequence[Case], study: Study, restorer: Restorer, fitted: Mapping[str, Person]
) -> list[Found]:
    """Each case as `Restorer.find` would give it."""
    found = []
    for case, y in zip(cases, to_uint8(low_resolution(study, cases)), strict=True):
        photos = case.person.photographs[: method.photographs]
        identity = start_of(study, photos, restorer)
        if method.identity == "fitted":
            embedding, offsets, _ = fitted[case.person.name]
            identity = replace(identity, embedding=embedding, token_offsets=offsets)
        elif method.identity in ("truth", "swapped"):
            # Shape and references stay the person's: only the ID embedding is another.
            others = (
                (case.photo,)
                if method.identity == "truth"
                else stranger(study.protocol, case.person)[: method.photographs]
            )
            identity = replace(identity, embedding=start_of(study, others, restorer).start)
        crops = crops_of(study, photos) if method.reference else []
        face = LowResolutionFace(y, y)
        units, reveal = _units(study, photos if crops else (), restorer), restorer.config.sample.reveal
        condition, nearest = condition_of(restorer.model, y, identity, crops, units, reveal)
        if method.identity == "none":
            assert isinstance(condition, Condition)
            condition = condition.replace(identity_present=jnp.zeros(1))  # type: ignore[attr-defined]
        image = None if nearest is None else nearest.image
        found.append(Found(face, identity, condition, image, lambda small: math.nan, reveal))
    return found


def conditions_of_people(
    method: "Method", cases: Sequence[Case], study: Study, restorer: Restorer, fitted: Mapping[str, Person]
) -> Condition:
    """The conditions of all cases as one batch."""
    found = found_people(method, cases, study, restorer, fitted)
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), *(each.condition for each in found))  # type: ignore[no-any-return]


def _units(study: Study, photos: Sequence[str], restorer: Restorer) -> Float[np.ndarray, "k d"]:
    descriptors = study.index.embeddings[np.asarray(study.records(photos), int)]
    return unit_parts(descriptors - restorer.model.center, restorer.sizes)
