"""The methods that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from idfsr_jax.config import Config
from idfsr_jax.evaluation.protocol import CLEAN, Protocol

Kind = Literal["bicubic", "lanczos", "pasted", "mixed", "toned", "restored", "outputs"]
IdentityKind = Literal["unfitted", "fitted", "truth", "swapped", "none"]


@dataclass(frozen=True)
class Method:
    """A way to make a picture of a case.

    Attributes:
      name: what reports call it.
      kind: `bicubic` and `lanczos` enlarge; `pasted` puts the nearest reference, moved onto the face, into the enlarged
        picture, `mixed` two thirds of it and one third of the mean of the others, `toned` it with the light that is
        revealed of the LR face; `restored` runs a model; `outputs` are pictures that another system made.
      photographs: of the person, at the most.
      least: people who have fewer photographs take no part.
      identity: the photographs' ID embedding, the same after fitting, the truth's own (an oracle: it cannot be had in
        use), another person's, or the learned null identity.
      references: how many of the photographs may be shown to the model; all if None.
      steps: of the sampler; None for the model's own choice.
      fit_steps: of fitting; None for the model's own choice.
      model: name of the model: "" for the one that is evaluated, else that of a further one.
      folder: of `outputs`, where they lie.
      area_only: measured under clean down-sampling only.
      scales: measured at these only; all if empty.
    """

    name: str
    kind: Kind = "restored"
    photographs: int = 5
    identity: IdentityKind = "fitted"
    references: int | None = None
    steps: int | None = None
    fit_steps: int | None = None
    model: str = ""
    folder: str = ""
    area_only: bool = False
    scales: tuple[int | float, ...] = ()
    least: int = 0

    def applies(self, scale: int | float | None, degradation: str) -> bool:
        """Whether it is measured there."""
        return (not self.area_only or degradation == CLEAN) and (not self.scales or scale in self.scales)

    def people(self, protocol: Protocol) -> Protocol:
        """A protocol of those people only who take part."""
        taking_part = tuple(person for person in protocol.people if len(person.photographs) >= self.least)
        return replace(protocol, people=taking_part)

    @property
    def fit(self) -> tuple[str, int, int | None] | None:
        """Of which fit it needs the result: model, photographs and steps; None where it needs none."""
        fitted = self.kind == "restored" and self.identity == "fitted"
        return (self.model, self.photographs, self.fit_steps) if fitted else None


STEPS = (1, 2, 4, 10, 20)
"""Sampling steps of the curve."""
FIT_STEPS = (5, 25, 50)
"""Fitting steps of the curve, beside none and the model's own number."""


def methods_of(
    protocol: Protocol, group: Literal["core", "standard", "all"], further: Sequence[str], config: Config
) -> tuple[Method, ...]:
    """The methods that are compared.

    Args:
      protocol: its counts of photographs are used, as far as anybody has so many; see `main_count`. Other counts than
        that are measured on people who have that many photographs and more, so that the same people are compared.
      group: `core`: baselines, the method with and without fitting, oracle; what is not clean is restored by the fitted
        method and measured against enlarging and pasting only. `standard`: also what it does without references or
        identity or with another's, and, at the middle one of the scales, other numbers of photographs. `all`: also
        other numbers of sampling and of fitting steps.
      further: names of further models.
      config: of the model that is evaluated.
    """
    main, half = main_count(protocol), len(protocol.scales) // 2
    middle = protocol.scales[half : half + 1]
    methods = [
        Method("bicubic", "bicubic", main),
        Method("lanczos", "lanczos", main, area_only=True),
        Method("pasted reference", "pasted", main, "unfitted"),
        Method("pasted mean", "mixed", main, "unfitted", area_only=True),
        Method("pasted reference, toned", "toned", main, "unfitted", area_only=True),
        Method("unfitted", photographs=main, identity="unfitted", area_only=True),
        Method("fitted", photographs=main),
        Method("oracle identity", photographs=main, identity="truth", area_only=True),
    ]
    if group in ("standard", "all"):
        methods += [
            Method("no reference", photographs=main, references=0, area_only=True),
            Method("no identity", photographs=main, identity="none", area_only=True),
            Method("unfitted, no reference", photographs=main, identity="unfitted", references=0, area_only=True),
        ]
        if len(protocol.people) > 1:
            swapped, bare = "another's identity", "another's identity, no reference"
            methods += [
                Method(swapped, photographs=main, identity="swapped", area_only=True),
                Method(bare, photographs=main, identity="swapped", references=0, area_only=True),
            ]
        for count in usable_counts(protocol):
            if count != main:
                given, least = _plural(count, "photograph"), max(count, main)
                kinds: tuple[IdentityKind, ...] = ("unfitted", "fitted")
                methods += [
                    Method(f"{kind}, {given}", "restored", count, kind, area_only=True, scales=middle, least=least)
                    for kind in kinds
                ]
    if group == "all":
        methods += [
            Method(f"fitted, {_plural(n, 'step')}", photographs=main, steps=n, area_only=True, scales=middle)
            for n in STEPS
            if n != config.sample.steps
        ]
        methods += [
            Method(f"fitted, {n} fitting steps", photographs=main, fit_steps=n, area_only=True, scales=middle)
            for n in FIT_STEPS
            if n != config.fit.steps
        ]
    methods += [Method(name, photographs=main, model=name) for name in further]
    return tuple(methods)


def usable_counts(protocol: Protocol) -> tuple[int, ...]:
    """The counts of photographs that somebody of the protocol has."""
    most = max(len(person.photographs) for person in protocol.people)
    return tuple(count for count in protocol.counts if count <= most) or (min(protocol.counts),)


def main_count(protocol: Protocol) -> int:
    """Photographs of a person that most methods are given: the largest usable count up to 5."""
    counts = usable_counts(protocol)
    return max((count for count in counts if count <= 5), default=min(counts))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
