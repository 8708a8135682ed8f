"""Cases restored and people fitted by the product's own functions: what a report says is what a user gets.

Only the descriptors of photographs are not computed anew: they are those that the data set holds. All photographs count
alike, where `idfsr fit` counts soft ones less; and results of pictures without colours are left as they are sampled,
where `idfsr restore` gives them the input's tint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.outputs import read_outputs
from idfsr_jax.evaluation.study import Case, LowResolution, Study, low_resolution
from idfsr_jax.io.images import to_float
from idfsr_jax.method.condition import Condition
from idfsr_jax.method.id_embedding import unit_parts
from idfsr_jax.method.landmarks import person_shape
from idfsr_jax.method.references import likest
from idfsr_jax.restore.conditions import Known, agreement_of, conditions_of, enlarged
from idfsr_jax.restore.fitting import fit_person
from idfsr_jax.restore.restorer import Restorer
from idfsr_jax.restore.sampling import sample_many


def fit(photos: Sequence[str], study: Study, restorer: Restorer, config: Config) -> Float[np.ndarray, " d"]:
    """The ID embedding fitted one person to photographs, as `idfsr fit` does; `config.fit` says how."""
    units = _units(photos, study, restorer)
    _, fitted, _ = fit_person(restorer.model, restorer.recognisers, study.crops(photos), units, config)
    return np.asarray(fitted)


def restore(
    method: Method,
    cases: Sequence[Case],
    study: Study,
    restorer: Restorer,
    fitted: Mapping[str, Float[np.ndarray, " d"]],
) -> Float[np.ndarray, "b s s 3"]:
    """The pictures that a method makes of cases of one scale and degradation, [-1, 1].

    No picture depends on the others.

    Args:
      method: which.
      cases: what; the batch, which is spread over the restorer's devices.
      study: the photographs.
      restorer: of the method's model.
      fitted: of each person, by name; read by methods that need it only.
    """
    if method.kind == "outputs":
        return np.asarray(to_float(read_outputs(method, cases, study.size)))
    given = low_resolution(study, cases)
    y_up = given.y_up
    if method.kind == "bicubic":
        return np.asarray(y_up)
    if method.kind == "lanczos":
        larger = [Image.fromarray(each).resize((study.size,) * 2, Image.Resampling.LANCZOS) for each in given.y]
        return np.asarray(to_float(np.stack([np.asarray(each) for each in larger])))
    condition, _ = conditions(method, cases, study, restorer, fitted, given)
    if method.kind == "toned":
        return np.asarray(condition.guess)
    if method.kind in ("pasted", "mixed"):
        reference = _mixed(condition) if method.kind == "mixed" else condition.references[:, 0]
        return np.asarray(y_up + condition.mask * condition.valid[:, 0] * (reference - y_up))
    config = restorer.config
    if method.steps is not None:
        config = replace(config, sample=replace(config.sample, steps=method.steps))
    agreement = agreement_of(given.y, given.cleaned, None, config)
    keys = jnp.stack([jax.random.key(case.seed) for case in cases])
    networks, sizes, mesh = restorer.networks, restorer.sizes, restorer.mesh
    return sample_many(networks, condition, keys, config, sizes, mesh, agreement)


def conditions(
    method: Method,
    cases: Sequence[Case],
    study: Study,
    restorer: Restorer,
    fitted: Mapping[str, Float[np.ndarray, " d"]],
    given: LowResolution,
) -> tuple[Condition, list[list[int]]]:
    """What a model may know of cases, and for each case the records of its references, the nearest first.

    Args:
      method: which.
      cases: of one scale and degradation.
      study: the photographs.
      restorer: of the method's model.
      fitted: of each person, by name.
      given: their LR pictures.
    """
    people = [_known(method, case, study, restorer, fitted) for case in cases]
    config, n = restorer.config, jnp.asarray(given.n)
    y_up = jnp.concatenate([enlarged(y, study.size)[0] for y, _ in given.cleaned])
    condition, chosen = conditions_of(restorer.model.landmark_net, y_up, n, people, config.sample.reveal, config)
    if method.identity == "none":
        condition = condition.replace(identity_present=jnp.zeros(len(cases)))  # type: ignore[attr-defined]
    shown = [study.records(_shown(method, case, study, restorer)) for case in cases]
    return condition, [[own[place] for place in places] for own, places in zip(shown, chosen, strict=True)]


def _mixed(condition: Condition) -> Float[Array, "b s s 3"]:
    """Two thirds of the nearest reference and one third of the mean of the others that show something there."""
    nearest, others, valid = condition.references[:, 0], condition.references[:, 1:], condition.valid[:, 1:]
    total = valid.sum(axis=1)
    mean = (others * valid).sum(axis=1) / jnp.maximum(total, 1e-6)
    return nearest + jnp.clip(total, 0.0, 1.0) / 3.0 * (mean - nearest)


def _shown(method: Method, case: Case, study: Study, restorer: Restorer) -> Sequence[str]:
    """Which photographs of a case's person can be references: as in the product, those that show the person best."""
    photos = case.person.photographs[: method.photographs]
    units = _units(photos, study, restorer)
    best = likest(unit_parts(units.mean(axis=0), restorer.sizes), units)
    return [photos[place] for place in best][: method.references]


def _known(
    method: Method, case: Case, study: Study, restorer: Restorer, fitted: Mapping[str, Float[np.ndarray, " d"]]
) -> Known:
    """What a method knows of the person of a case; with another's identity the face's proportions stay their own."""
    photos = case.person.photographs[: method.photographs]
    source: Sequence[str] = photos
    if method.identity == "truth":
        source = (case.photo,)
    elif method.identity == "swapped":
        source = study.partners[case.person.name].photographs[: method.photographs]
    units = _units(source, study, restorer)
    identity = unit_parts(units.mean(axis=0), restorer.sizes)
    start = identity
    if method.identity == "fitted":
        identity = fitted[case.person.name]
    shown = _shown(method, case, study, restorer)
    records = study.records(shown)
    return Known(
        identity=identity,
        start=start,
        shape=person_shape(study.index.landmarks[study.records(photos)]),
        images=study.images[records],
        landmarks=study.index.landmarks[records],
        frames=study.index.frames[records],
        units=_units(shown, study, restorer),
    )


def _units(photos: Sequence[str], study: Study, restorer: Restorer) -> Float[np.ndarray, "k d"]:
    """Unit vectors of photographs by all recognisers, one after the other."""
    descriptors = study.index.embeddings[np.asarray(study.records(photos), int)]
    return unit_parts(descriptors - restorer.model.center, restorer.sizes)
