"""What is measured, as a file that others can repeat: names, counts, scales and seeds, nothing else.

A protocol belongs to a prepared data set. For each person it names the photographs that may be fitted on, in an order
of which k photographs are the first k (so that the sets for 1, 3, 5 and 10 are nested), and those that are restored.
"""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from idfsr_jax.data.index import Index
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.io.files import write_atomically

CLEAN = "area"
DEGRADATIONS = (CLEAN, "classical", "camera", "messenger", "surveillance", "moderate", "severe")
"""What may be done to a picture; docs/evaluation.md says what each is."""
OWN_SCALES = ("moderate", "severe")
"""Those that draw a scale for each picture, so that the protocol's scales are not theirs."""
SWAP_PAIRS = 40
"""So many people, each with another's identity swapped in, make the measure of the swap."""

Setting = tuple[int | float | None, str]
"""A scale, None where each picture has its own, and a degradation."""


@dataclass(frozen=True)
class PersonPlan:
    """One person's part.

    Attributes:
      name: of the person, as in the data set.
      photographs: those that may be fitted on and serve as references; k photographs are the first k.
      restored: those that are degraded and restored; none of them is in `photographs`.
    """

    name: str
    photographs: tuple[str, ...]
    restored: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """What is measured.

    Attributes:
      name: what reports call it.
      split: of the prepared data set.
      counts: numbers of photographs to fit on. A person who has fewer is fitted on all there are.
      scales: down-sampling factors s, whole or not: an LR picture has S / s pixels, rounded.
      degradations: some of `DEGRADATIONS`.
      seeds: of the degradation's and the sampler's noise.
      people: whom.
    """

    name: str
    split: str
    counts: tuple[int, ...]
    scales: tuple[int | float, ...]
    degradations: tuple[str, ...]
    seeds: tuple[int, ...]
    people: tuple[PersonPlan, ...]

    @property
    def settings(self) -> tuple[Setting, ...]:
        """What is measured: each degradation at each scale, or once where it has its own."""
        return tuple(
            (scale, degradation)
            for degradation in self.degradations
            for scale in ((None,) if degradation in OWN_SCALES else self.scales)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of all it says."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


def make_protocol(
    index: Index,
    split: str,
    *,
    name: str,
    counts: tuple[int, ...] = (1, 3, 5, 10),
    scales: tuple[int | float, ...] = (8, 16, 32),
    degradations: tuple[str, ...] = (CLEAN, "classical"),
    seeds: tuple[int, ...] = (0,),
    reserve: int = 5,
    most_restored: int = 3,
    seed: int = 0,
) -> Protocol:
    """Draws a protocol; a function of its arguments.

    Each person's photographs are shuffled. What lies beyond the first `reserve` is restored: one photograph at the
    least, `most_restored` at the most; the others, up to the largest count, are for fitting. So a person with few
    photographs takes part with what there is. Whoever has one photograph only is left out.

    Args:
      index: of the split.
      split: its name.
      name: what reports call the protocol.
      counts: numbers of photographs to fit on.
      scales: down-sampling factors.
      degradations: kinds.
      seeds: of the measurement's noise.
      reserve: photographs that are kept for fitting before a second one is restored.
      most_restored: of one person.
      seed: of the shuffle.

    Raises:
      BadConfig: nobody has two photographs.
    """
    people = []
    for person, members in zip(index.people, index.members, strict=True):
        if len(members) < 2:
            continue
        names = sorted(index.photos[record] for record in members)
        # Seeded by the name too, so that adding a person changes nobody else's part.
        order = np.random.default_rng((seed, zlib.crc32(person.encode()))).permutation(len(names))
        restored = int(np.clip(len(names) - reserve, 1, most_restored))
        chosen = [names[place] for place in order]
        fitting = chosen[restored:][: max(counts)]
        people.append(PersonPlan(person, tuple(fitting), tuple(sorted(chosen[:restored]))))
    if not people:
        raise BadConfig(f"{split}: nobody has two photographs, so nobody can be fitted and restored; add photographs.")
    people.sort(key=lambda plan: plan.name)
    return Protocol(name, split, counts, scales, degradations, seeds, tuple(people))


def write_protocol(path: Path, protocol: Protocol) -> None:
    """Writes a protocol as JSON, a person a line."""
    facts = dataclasses.asdict(protocol)
    lists = {plan.pop("name"): plan for plan in facts.pop("people")}
    lines = [f"    {json.dumps(name)}: {json.dumps(plan)}" for name, plan in lists.items()]
    head = ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in facts.items())
    text = "{\n" + head + ',\n  "people": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_protocol(path: str | Path) -> Protocol:
    """Reads a protocol.

    Raises:
      BadConfig: the file is missing, is not JSON, or does not say what a protocol must; the sentence says which.
    """
    path = Path(path)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(
            f"{path}: the protocol cannot be read ({error.strerror}); give one of configs/protocols/."
        ) from None
    except ValueError as error:
        raise BadConfig(f"{path}: is not JSON ({error}); write it anew with evaluation.make_protocol.") from None
    protocol = _from_json(facts, path)
    require_sound(protocol, path)
    return protocol


def swap_partners(protocol: Protocol) -> dict[str, PersonPlan]:
    """For each person's name the other person whose identity is swapped in; the first `SWAP_PAIRS` are measured.

    The partners are a ring through all people in an order that is drawn, a function of how many there are.
    """
    people = protocol.people
    order = np.random.default_rng(0).permutation(len(people))
    return {people[own].name: people[other] for own, other in zip(order, np.roll(order, -1), strict=True)}


def check_protocol(protocol: Protocol, index: Index, size: int) -> None:
    """Makes sure that a data set and a model can serve a protocol.

    Args:
      protocol: to be checked.
      index: of the protocol's split.
      size: side S of the model's crops.

    Raises:
      BadConfig: a person or photograph is not there, or a scale makes no picture that the model takes.
    """
    owner = dict(zip(index.photos, (index.people[position] for position in index.person), strict=True))
    for plan in protocol.people:
        if plan.name not in index.people:
            raise BadConfig(
                f"{protocol.name}: {plan.name} is not in the split {protocol.split}; prepare the data set that the "
                "protocol was made for."
            )
        for photo in (*plan.photographs, *plan.restored):
            if owner.get(photo) != plan.name:
                raise BadConfig(
                    f"{protocol.name}: the photograph {photo} of {plan.name} is not in the split {protocol.split}; "
                    "prepare the data set that the protocol was made for."
                )
    for scale in protocol.scales:
        if scale not in usable_scales((scale,), size):
            raise BadConfig(
                f"{protocol.name}: scale {scale} does not leave 4 to {size // 2} of the model's {size} px; take it out."
            )


def usable_scales(scales: Sequence[int | float], size: int) -> tuple[int | float, ...]:
    """Those of some scales that reduce crops of `size` px to what a model takes: 4 px to half of its side."""
    return tuple(scale for scale in scales if 4 <= round(size / scale) <= size // 2)


def setting_name(setting: Setting) -> str:
    """What reports call a setting: "16x, area", or "severe"."""
    scale, degradation = setting
    return degradation if scale is None else f"{scale:g}x, {degradation}"


def _from_json(facts: Any, path: Path) -> Protocol:
    wanted = {field.name for field in dataclasses.fields(Protocol)}
    if not isinstance(facts, Mapping) or set(facts) != wanted or not isinstance(facts["people"], Mapping):
        raise BadConfig(f"{path}: a protocol holds {', '.join(sorted(wanted))}, and people by their names.")
    people = []
    for name, plan in facts["people"].items():
        if not isinstance(plan, Mapping) or set(plan) != {"photographs", "restored"}:
            raise BadConfig(f"{path}: {name} must hold photographs and restored, two lists of names.")
        people.append(PersonPlan(name, _names(plan["photographs"]), _names(plan["restored"])))
    lists = {key: tuple(facts[key]) for key in ("counts", "scales", "degradations", "seeds")}
    return Protocol(name=str(facts["name"]), split=str(facts["split"]), people=tuple(people), **lists)


def _names(values: Any) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, list) else ()


def require_sound(protocol: Protocol, path: str | Path) -> None:
    """Makes sure that a protocol is one.

    Raises:
      BadConfig: it says what makes no sense; the sentence names the file and what.
    """
    for field, kind, least in (("counts", int, 1), ("scales", int | float, 1), ("seeds", int, 0)):
        values = getattr(protocol, field)
        if not values or not all(isinstance(value, kind) and value >= least for value in values):
            numbers = "whole numbers" if kind is int else "numbers"
            raise BadConfig(f"{path}: {field} must be a list of {numbers} of at least {least}.")
    if not protocol.degradations or not set(protocol.degradations) <= set(DEGRADATIONS):
        raise BadConfig(f"{path}: degradations must be some of {', '.join(DEGRADATIONS)}.")
    if not protocol.people:
        raise BadConfig(f"{path}: names nobody; add people.")
    for plan in protocol.people:
        if not plan.photographs or not plan.restored:
            raise BadConfig(f"{path}: {plan.name} needs a photograph to fit on and one to restore at the least.")
        both = sorted(set(plan.photographs) & set(plan.restored))
        if both:
            raise BadConfig(f"{path}: {both[0]} is fitted on and restored; take it out of one of the lists.")
