"""Every method that is compared, behind one function: `restore(method, cases, ...)`, a batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from idfsr_jax.config import Config
from idfsr_jax.data.degrade import bicubic_upsample
from idfsr_jax.data.pairs import nearest_in_pose
from idfsr_jax.evaluation.people import restore_people, stranger
from idfsr_jax.evaluation.protocol import Protocol
from idfsr_jax.evaluation.study import Case, Study, low_resolution
from idfsr_jax.models.condition import Condition, make_condition, paste, without_identity
from idfsr_jax.networks.id_encoder import unit_identity
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.recognition import locate
from idfsr_jax.restorer import Restorer

from idfsr_jax.training.fit import mean_identity
from idfsr_jax.weights import Model

Kind = Literal["bicubic", "lanczos", "pasted", "toned", "restored"]
IdentityKind = Literal["unfitted", "fitted", "truth", "swapped", "none"]
_make_condition = jax.jit(make_condition, static_argnames="config")


@dataclass(frozen=True)
class Method:
    """A way to make a picture of a case.

    Attributes:
      name: what reports call it.
      kind: `bicubic` and `lanczos` enlarge; `pasted` puts the warped reference into the enlarged picture, `toned` with
        the light that the LR face has; `restored` runs a model.
      photographs: of the person, at the most; the one nearest in pose is the reference.
      identity: mean of the photographs' identities, that mean after fitting, the truth's own (an oracle: it cannot be
        had in use), another person's mean, or the learned null identity.
      reference: whether the model is shown a reference.
      consistency: strength of the projection onto pictures that down-sample to the input.
      steps: of the sampler; None for the model's own choice.
      model: name of the model: "" for the one that is evaluated, else that of an ablation.
      area_only: measured under clean down-sampling only.
      scales: measured at these only; all if empty.
    """

    name: str
    kind: Kind = "restored"
    photographs: int = 5
    identity: IdentityKind = "fitted"
    reference: bool = True
    consistency: float = 0.0
    steps: int | None = None
    model: str = ""
    area_only: bool = False
    scales: tuple[int, ...] = ()

    def applies(self, scale: int, degradation: str) -> bool:
        """Whether it is measured there."""
        return (not self.area_only or degradation == "area") and (not self.scales or scale in self.scales)


STEPS = (1, 2, 4, 10, 20)
"""Sampling steps of the curve."""


def methods_of(
    protocol: Protocol, group: Literal["core", "standard", "all"], ablations: Mapping[str, Config], steps: int
) -> tuple[Method, ...]:
    """The methods that are compared.

    Args:
      protocol: its counts of photographs are used, as far as anybody has so many; see `main_count`.
      group: `core`: baselines, the method with and without fitting, consistency, oracle. `standard`: also what it does
        without reference or identity or with another's, and other numbers of photographs. `all`: also other numbers of
        sampling steps.
      ablations: configs of further trained models by name.
      steps: of the model's own sampler.
    """
    counts = usable_counts(protocol)
    main = main_count(protocol)
    methods = [
        Method("bicubic", "bicubic", main),
        Method("lanczos", "lanczos", main),
        Method("pasted reference", "pasted", main),
        Method("pasted reference, toned", "toned", main),
        Method("unfitted", photographs=main, identity="unfitted"),
        Method("fitted", photographs=main),
        Method("fitted, consistent", photographs=main, consistency=1.0),
        Method("oracle identity", photographs=main, identity="truth"),
    ]
    if group in ("standard", "all"):
        methods += [
            Method("no reference", photographs=main, reference=False),
            Method("no identity", photographs=main, identity="none"),
            Method("unfitted, no reference", photographs=main, identity="unfitted", reference=False),
            Method("another's identity", photographs=main, identity="swapped"),
            Method("another's identity, no reference", photographs=main, identity="swapped", reference=False),
        ]
        for count in counts:
            if count != main:
                methods += [
                    Method(_counted("unfitted", count), photographs=count, identity="unfitted", area_only=True),
                    Method(_counted("fitted", count), photographs=count, area_only=True),
                ]
    if group == "all":
        scale = protocol.scales[len(protocol.scales) // 2]
        methods += [
            Method(f"fitted, {_plural(n, 'step')}", photographs=main, steps=n, area_only=True, scales=(scale,))
            for n in STEPS
            if n != steps
        ]
    for name, config in ablations.items():
        # A model that is given no identity has nothing to fit.
        identity: IdentityKind = "fitted" if config.model.use_identity else "none"
        methods.append(Method(name, photographs=main, identity=identity, model=name))
    return tuple(methods)


def needs_fit(method: Method) -> bool:
    """Whether the method restores with an identity that was fitted."""
    return method.kind == "restored" and method.identity == "fitted"


def usable_counts(protocol: Protocol) -> tuple[int, ...]:
    """The counts of photographs that somebody of the protocol has."""
    most = max(len(person.photographs) for person in protocol.people)
    return tuple(count for count in protocol.counts if count <= most) or (min(protocol.counts),)


def main_count(protocol: Protocol) -> int:
    """Photographs of a person that most methods are given: the largest usable count up to 5."""
    counts = usable_counts(protocol)
    return max((count for count in counts if count <= 5), default=min(counts))


def restore(
    method: Method,
    cases: Sequence[Case],
    study: Study,
    restorer: Restorer,
    fitted: Mapping[str, Any],
) -> Float[np.ndarray, "b s s 3"]:
    """The pictures that a method makes of cases of one scale and degradation, [-1, 1].

    No picture depends on the others, as each has a key.

    Args:
      method: which.
      cases: what; the batch, which is spread over the restorer's devices.
      study: the photographs.
      restorer: of the method's model.
      fitted: what was fitted of each person (`fits.fit_all`), by name; read by methods that need it only.
    """
    model, y = restorer.model, low_resolution(study, cases)
    match method.kind:
        case "bicubic":
            return np.asarray(bicubic_upsample(y, study.size))
        case "lanczos":
            enlarge = lambda small: Image.fromarray(small).resize((study.size,) * 2, Image.Resampling.LANCZOS)  # noqa: E731
            return np.stack([np.asarray(to_float(np.array(enlarge(small)))) for small in to_uint8(y)])
    if method.kind == "restored" and model.config.model.recognisers:
        return restore_people(method, cases, study, restorer, fitted)
    if method.kind in ("pasted", "toned"):
        # Whatever the model itself is shown of the face.
        kind: Literal["full", "tone"] = "full" if method.kind == "pasted" else "tone"
        pasting = replace(model, config=replace(model.config, model=replace(model.config.model, mask=kind)))
        return np.asarray(paste(condition_of(method, cases, study, pasting, fitted, y), kind))
    condition = condition_of(method, cases, study, model, fitted, y)
    config = model.config
    if method.steps is not None:
        config = replace(config, sample=replace(config.sample, steps=method.steps))
    keys = jnp.stack([case.key("sample") for case in cases])
    known = in_corner(np.asarray(y), config) if method.consistency > 0 else None
    given = {"low_resolution": known, "consistency": method.consistency}
    return restore_many(restorer.networks, condition, keys, config, restorer.mesh, **given)[:, 0]  # type: ignore[arg-type]


def condition_of(
    method: Method,
    cases: Sequence[Case],
    study: Study,
    model: Model,
    fitted: Mapping[str, Float[np.ndarray, " d"]],
    y: Float[Array, "b n n 3"],
) -> Condition:
    """What the model may know of the cases."""
    y_up = bicubic_upsample(y, study.size)
    landmarks = locate(model.landmark_net, y_up, np.float32(y.shape[1]), model.config)
    references = nearest_references(np.asarray(landmarks), method, cases, study)
    scale = jnp.full((len(cases),), float(cases[0].scale))
    condition = _make_condition(
        y_up,
        landmarks,
        to_float(study.images[references]),
        jnp.asarray(study.index.landmarks[references]),
        jnp.asarray(np.stack([_identity(method, case, study, model, fitted) for case in cases])),
        scale,
        model.config.model,
    )
    if method.identity == "none":
        condition = without_identity(condition)
    if not method.reference:
        nothing = {"reference": jnp.zeros_like(condition.reference), "valid": jnp.zeros_like(condition.valid)}
        condition = condition.replace(**nothing)  # type: ignore[attr-defined]
    return condition


def nearest_references(
    landmarks: Float[np.ndarray, "b 68 2"], method: Method, cases: Sequence[Case], study: Study
) -> list[int]:
    """For each case that of the person's first photographs whose landmarks lie closest, up to shift and scale."""
    chosen = []
    for points, case in zip(landmarks, cases, strict=True):
        records = study.records(case.person.photographs[: method.photographs])
        chosen.append(records[nearest_in_pose(points, study.index.landmarks[records])])
    return chosen


def start_identity(study: Study, photos: Sequence[str], center: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """The normalised mean of the identities of photographs: where fitting starts, and `unfitted`."""
    descriptors = jnp.asarray(study.index.embeddings[study.records(photos)])
    return np.asarray(mean_identity(unit_identity(descriptors, jnp.asarray(center))))


def _identity(
    method: Method, case: Case, study: Study, model: Model, fitted: Mapping[str, Float[np.ndarray, " d"]]
) -> Float[np.ndarray, " d"]:
    if method.identity == "fitted" and method.kind == "restored":
        return fitted[case.person.name]
    photos: Sequence[str] = case.person.photographs
    if method.identity == "swapped":
        photos = stranger(study.protocol, case.person)
    if method.identity == "truth":
        photos = (case.photo,)
    return start_identity(study, photos[: method.photographs], model.center)


def _counted(name: str, count: int) -> str:
    return f"{name}, {_plural(count, 'photograph')}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
