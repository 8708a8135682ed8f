"""What an evaluation does, in parts that are kept: fits, and methods' pictures with what was measured of them.

Each part is of one person, and its name carries a digest of all that decides its content. So an evaluation that was
stopped goes on where it was, and another model or protocol gives other names.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from idfsr_jax.evaluation.measure import RealVectors, measure
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.outputs import sums_of_outputs
from idfsr_jax.evaluation.protocol import PersonPlan, Setting, setting_name
from idfsr_jax.evaluation.restoring import fit, restore
from idfsr_jax.evaluation.study import Study, cases_of
from idfsr_jax.io.files import write_atomically
from idfsr_jax.io.images import to_float, to_uint8
from idfsr_jax.restore.restorer import Restorer

Arrays = dict[str, np.ndarray]

VERSION = 10
"""Of what a part means; parts of another version are computed anew."""


@dataclass(frozen=True)
class Unit:
    """A method on all cases of one scale and degradation."""

    method: Method
    scale: int | float | None
    degradation: str

    @property
    def setting(self) -> Setting:
        """Scale and degradation."""
        return self.scale, self.degradation

    @property
    def label(self) -> str:
        """For progress."""
        return f"{self.method.name} {setting_name(self.setting)}"

    @property
    def folder(self) -> str:
        """For file names."""
        return "-".join(self.label.replace(",", "").split())


def fitted_people(
    method: Method, study: Study, restorer: Restorer, parts: Path, progress: Callable[[], None] = lambda: None
) -> dict[str, Float[np.ndarray, " d"]]:
    """What a method needs fitted of every person; what an earlier run has of them is read.

    Args:
      method: says of how many photographs and with how many steps.
      study: the photographs.
      restorer: of the method's model.
      parts: folder of all parts.
      progress: called after each person.
    """
    config = restorer.config
    if method.fit_steps is not None:
        config = replace(config, fit=replace(config.fit, steps=method.fit_steps))
    fitted = {}
    for person in study.protocol.people:
        photos = person.photographs[: method.photographs]
        # Fits go along the sampler's course.
        facts = _facts(restorer) | {"fit": dataclasses.asdict(config.fit), "photos": study.digests(photos)}
        path = part_path(parts / "fits", f"{person.name} {len(photos)}", facts)
        part = read_part(path)
        if part is None:
            part = {"identity": fit(photos, study, restorer, config)}
            write_part(path, part)
        fitted[person.name] = part["identity"]
        progress()
    return fitted


def measured_unit(
    unit: Unit,
    study: Study,
    restorer: Restorer,
    fitted: Mapping[str, Float[np.ndarray, " d"]],
    judges: Sequence[RealVectors],
    parts: Path,
    batch: int,
) -> Arrays:
    """Restores and measures the cases of a unit; what an earlier run has of them, person by person, is read.

    Returns:
      In the order of the cases: every metric by its name, and `images` and their `features`.
    """
    protocol = study.protocol
    paths = {person.name: _unit_path(unit, person, study, restorer, judges, parts) for person in protocol.people}
    done = {name: read_part(path) for name, path in paths.items()}
    missing = [person for person in protocol.people if done[person.name] is None]
    batch = max([batch, *(len(person.restored) * len(protocol.seeds) for person in missing)])
    for group in in_batches(missing, batch, len(protocol.seeds)):
        cases = cases_of(replace(protocol, people=tuple(group)), unit.scale, unit.degradation)
        images = to_uint8(restore(unit.method, cases, study, restorer, fitted))
        # Filled up to one length, so that one compiled program measures all.
        missing_rows = batch - len(cases)
        filled = [*cases, *[cases[-1]] * missing_rows]
        images = np.concatenate([images, *[images[-1:]] * missing_rows])
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


def part_path(folder: Path, label: str, facts: Mapping[str, Any]) -> Path:
    """Where the part of these facts lies.

    Args:
      folder: of all parts.
      label: for human readers.
      facts: all that decides the content, as JSON would hold it.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    readable = "".join(letter if letter.isalnum() else "-" for letter in label)
    return folder / f"{readable}-{digest}.npz"


def write_part(path: Path, arrays: Arrays) -> None:
    """Writes a part whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_part(path: Path) -> Arrays | None:
    """The part, or None where it is missing or damaged (zip files carry sums), so that it is computed again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _facts(restorer: Restorer) -> dict[str, Any]:
    """What decides all that a model makes."""
    sample = dataclasses.asdict(restorer.config.sample)
    return {"version": VERSION, "model": restorer.model.digest, "sample": sample}


def _unit_path(
    unit: Unit, person: PersonPlan, study: Study, restorer: Restorer, judges: Sequence[RealVectors], parts: Path
) -> Path:
    protocol, photos = study.protocol, person.photographs[: unit.method.photographs]
    cases = cases_of(replace(protocol, people=(person,)), unit.scale, unit.degradation)
    facts = _facts(restorer) | {
        "outputs": sums_of_outputs(unit.method, cases) if unit.method.kind == "outputs" else None,
        "fit": dataclasses.asdict(restorer.config.fit) if unit.method.fit else None,
        "method": dataclasses.asdict(replace(unit.method, folder="")),
        "case": [study.digests(photos), study.digests(person.restored), protocol.seeds],
        "swapped in": study.digests(study.partners[person.name].photographs),
        "setting": [unit.scale, unit.degradation],
        "judges": sorted([real.judge.name, real.judge.digest] for real in judges),
    }
    return part_path(parts / unit.folder, person.name, facts)
