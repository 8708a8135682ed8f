"""The course of fitting: over-fitting shows as identity to the photographs rising while identity to the truth falls."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from idfsr_jax.evaluation.fits import album_of, fit_people
from idfsr_jax.evaluation.measure import RealVectors, album_cosines
from idfsr_jax.evaluation.methods import Method, restore, start_identity
from idfsr_jax.evaluation.parts import part_path, read_part, write_part
from idfsr_jax.evaluation.statistics import summary
from idfsr_jax.evaluation.study import Study, cases_of
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.restorer import Restorer

COURSE_STEPS = (0, 5, 10, 25, 50, 100)
"""Steps of fitting at which the identities are looked at; the schedule is that of a fit of the last of them."""
COURSE_PEOPLE = 10


def fitting_course(
    restorer: Restorer,
    study: Study,
    count: int,
    real: RealVectors,
    parts: Path,
    progress: Callable[[], None] = lambda: None,
    steps: tuple[int, ...] = COURSE_STEPS,
) -> list[dict[str, Any]]:
    """Identity of the results to the truth and to the fitting photographs, after more and more steps.

    Args:
      restorer: of the evaluated model.
      study: the photographs; the first ten people of its protocol take part.
      count: photographs to fit on.
      real: the judge.
      parts: folder of parts; each person is one.
      progress: called after each person.
      steps: of fitting, ascending, from 0.

    Returns:
      An entry for each number of steps, its summaries under "truth" and "album".
    """
    config = replace(restorer.config, fit=replace(restorer.config.fit, steps=steps[-1]))
    protocol = replace(study.protocol, people=study.protocol.people[:COURSE_PEOPLE])
    scale = protocol.scales[len(protocol.scales) // 2]
    method = Method("course", photographs=count)
    to_truth: dict[int, list[float | None]] = {step: [] for step in steps}
    to_album: dict[int, list[float | None]] = {step: [] for step in steps}
    owners: list[str] = []
    for person in protocol.people:
        photos = person.photographs[:count]
        facts = {
            "model": restorer.model.digest,
            "fit": dataclasses.asdict(config.fit),
            "sample": dataclasses.asdict(config.sample),
            "photos": [photos, person.restored],
            "at": [scale, steps, protocol.degradations[0], protocol.seeds],
            "judge": real.judge.name,
        }
        path = part_path(parts / "course", person.name, facts)
        part = read_part(path)
        if part is None:
            start = start_identity(study, photos, restorer.model.center)
            album = album_of(study, photos, restorer.model.center)
            _, _, kept = fit_people(start[None], [album], restorer, config, keep=steps, length=count)
            cases = cases_of(replace(protocol, people=(person,)), scale, protocol.degradations[0])
            records = study.records([case.photo for case in cases])
            rows = []
            for step in steps:
                # One by one, so that a single compiled shape serves everybody.
                fitted = {person.name: kept[step][0]}
                images = [restore(method, [case], study, restorer, fitted) for case in cases]
                exact = np.asarray(to_float(to_uint8(np.concatenate(images))))
                vectors = np.concatenate([
                    real.judge.embed(exact[i : i + 1], study.index.landmarks[[r]]) for i, r in enumerate(records)
                ])  # fmt: skip
                truth = np.sum(vectors * real.vectors[records], axis=1)
                rows.append(np.stack([truth, album_cosines(vectors, cases, study, real, count)]))
            part = {"cosines": np.stack(rows)}
            write_part(path, part)
        owners += [person.name] * part["cosines"].shape[2]
        for step, (truth, album_values) in zip(steps, part["cosines"], strict=True):
            to_truth[step] += [float(value) for value in truth]
            to_album[step] += [float(value) for value in album_values]
        progress()
    return [
        {"step": step, "scale": scale}
        | {"truth": summary(to_truth[step], owners), "album": summary(to_album[step], owners)}
        for step in steps
    ]
