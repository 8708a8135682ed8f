"""A unit of an evaluation: one method on all cases of one scale and degradation, restored and measured.

Its results are written person by person, so that an evaluation that was stopped goes on where it was.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idfsr_jax.evaluation.measure import RealVectors, measure
from idfsr_jax.evaluation.methods import Method, needs_fit, restore
from idfsr_jax.evaluation.parts import VERSION, Arrays, part_path, read_part, write_part
from idfsr_jax.evaluation.people import stranger
from idfsr_jax.evaluation.protocol import PersonPlan, Protocol
from idfsr_jax.evaluation.study import Study, cases_of
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.restorer import Restorer


@dataclass(frozen=True)
class Unit:
    """A method on all cases of one scale and degradation."""

    method: Method
    scale: int
    degradation: str

    @property
    def label(self) -> str:
        """For progress."""
        return f"{self.method.name} {self.scale}x {self.degradation}"

    @property
    def folder(self) -> str:
        """For file names."""
        return "-".join(self.label.replace(",", "").split())


def measured_unit(
    unit: Unit,
    study: Study,
    restorer: Restorer,
    fitted: Mapping[str, Float[np.ndarray, " d"]],
    judges: Sequence[RealVectors],
    parts: Path,
    batch: int,
) -> Arrays:
    """Restores and measures the cases of a unit; what an earlier run has of them, person by person, is read."""
    protocol = study.protocol
    paths = {person.name: _part_path(unit, person, protocol, restorer, judges, parts) for person in protocol.people}
    done = {name: read_part(path) for name, path in paths.items()}
    missing = [person for person in protocol.people if done[person.name] is None]
    batch = max([batch, *(len(person.restored) * len(protocol.seeds) for person in missing)])
    for group in in_batches(missing, batch, len(protocol.seeds)):
        cases = cases_of(replace(protocol, people=tuple(group)), unit.scale, unit.degradation)
        # Filled up to one length, so that one compiled program serves all.
        filled = [*cases, *[cases[-1]] * (batch - len(cases))]
        images = to_uint8(restore(unit.method, filled, study, restorer, fitted))
        scores, features = measure(np.asarray(to_float(images)), filled, study, judges, unit.method.photographs)
        arrays = {"images": images, "features": features} | scores
        for person in group:
            own = [place for place, case in enumerate(cases) if case.person == person]
            part = {name: array[own] for name, array in arrays.items()}
            write_part(paths[person.name], part)
            done[person.name] = part
    found = [part for part in done.values() if part is not None]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def in_batches(people: Sequence[PersonPlan], batch: int, seeds: int) -> list[list[PersonPlan]]:
    """People in groups of at most `batch` cases; whoever has more stands alone."""
    groups: list[list[PersonPlan]] = []
    room = 0
    for person in people:
        cases = len(person.restored) * seeds
        if cases > room:
            groups.append([])
            room = batch
        groups[-1].append(person)
        room -= cases
    return groups


def _part_path(
    unit: Unit, person: PersonPlan, protocol: Protocol, restorer: Restorer, judges: Sequence[RealVectors], parts: Path
) -> Path:
    facts = {
        "version": VERSION,
        "model": restorer.model.digest,
        "sample": dataclasses.asdict(restorer.config.sample),
        "fit": dataclasses.asdict(restorer.config.fit) if needs_fit(unit.method) else None,
        "method": dataclasses.asdict(unit.method),
        "case": [person.photographs[: unit.method.photographs], person.restored, protocol.seeds],
        "stranger": stranger(protocol, person),
        "setting": [unit.scale, unit.degradation],
        "judges": sorted(real.judge.name for real in judges),
    }
    return part_path(parts / unit.folder, person.name, facts)
