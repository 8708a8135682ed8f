"""`idfsr evaluate`: fits the people of a protocol, restores their photographs by every method, measures, reports.

What is done is written person by person, for each method, scale and degradation; the same command skips what is there.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from idfsr_jax.config import Config, FitConfig
from idfsr_jax.data.index import load_index
from idfsr_jax.errors import BadConfig
from idfsr_jax.evaluation.course import COURSE_PEOPLE, fitting_course
from idfsr_jax.evaluation.fits import album_of, fit_people
from idfsr_jax.evaluation.judges import load_judges
from idfsr_jax.evaluation.landmarks import landmark_errors
from idfsr_jax.evaluation.measure import RealVectors, measure, real_vectors
from idfsr_jax.evaluation.methods import Method, main_count, methods_of, restore, start_identity
from idfsr_jax.evaluation.metrics import vgg_features
from idfsr_jax.evaluation.parts import Arrays, part_path, read_part, write_part
from idfsr_jax.evaluation.protocol import PersonPlan, Protocol, make_protocol, read_protocol
from idfsr_jax.evaluation.report import Results, write_report
from idfsr_jax.evaluation.statistics import real_pairs, set_distances
from idfsr_jax.evaluation.study import Case, Study, cases_of, load_study
from idfsr_jax.pictures import to_float, to_uint8
from idfsr_jax.restorer import Restorer

_VERSION = 1
"""Of what a part means; parts of another version are computed anew."""


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


def evaluate(config: Config) -> dict[str, Any]:
    """Measures a model by a protocol and writes the report.

    Args:
      config: which data, run and model; `config.evaluate` says what is measured.

    Returns:
      What `results.json` holds.

    Raises:
      InputError: data, protocol, model or judge are missing or do not fit together.
    """
    console = Console(stderr=True)
    options = config.evaluate
    if options.batch < 1 or options.people < 0:
        raise BadConfig(f"evaluate.batch={options.batch}, people={options.people}: give at least 1, and at least 0.")
    out = Path(options.out or Path(config.train.out) / "report")
    restorers = load_restorers(config)
    main = restorers[""]
    protocol = protocol_of(config)
    study = load_study(protocol, config.data.dataset, main.config.data.size, main.config.data.scales)
    for name, restorer in restorers.items():
        if restorer.config.data.size != study.size:
            raise BadConfig(f"{name}: makes {restorer.config.data.size} px and the others {study.size}; leave it out.")
    judges = [real_vectors(judge, study, options.batch) for judge in
              load_judges(options.judges, main.encoder, main.model.center)]  # fmt: skip
    ablations = {name: restorer.config for name, restorer in restorers.items() if name}
    methods = methods_of(protocol, options.methods, ablations, main.config.sample.steps)
    units = [
        Unit(method, scale, degradation)
        for degradation in protocol.degradations
        for scale in protocol.scales
        for method in methods
        if method.applies(scale, degradation)
    ]
    parts = out / "parts"
    with _progress(console) as progress:
        fitted = {
            (name, count): fit_all(restorers[name], study, count, parts, progress)
            for name, count in sorted({(m.model, m.photographs) for m in methods if _needs_fit(m)})
        }
        task = progress.add_task("restoring", total=len(units))
        results: dict[Unit, Arrays] = {}
        for unit in units:
            progress.update(task, description=unit.label)
            people = fitted.get((unit.method.model, unit.method.photographs), {})
            results[unit] = _part(unit, study, restorers[unit.method.model], people, judges, parts, options.batch)
            progress.advance(task)
        course = []
        if options.methods == "all":
            task = progress.add_task("course of fitting", total=min(COURSE_PEOPLE, len(protocol.people)))
            course = fitting_course(main, study, main_count(protocol), judges[0], parts, lambda: progress.advance(task))
    measured = Results(
        name=config.name,
        protocol=protocol,
        model=main.model.digest,
        training_steps=main.model.steps,
        sampling=dataclasses.asdict(main.config.sample),
        fitting=dataclasses.asdict(main.config.fit),
        judges=tuple((real.judge.name, real.judge.title) for real in judges),
        methods=methods,
        rows=[row for unit, arrays in results.items() for row in _rows(unit, protocol, arrays)],
        sets=_sets(results, study, options.batch),
        real_pairs={real.judge.name: real_pairs(real.vectors, study.index.person) for real in judges},
        landmark_net=landmark_errors(main, study),
        course=course,
    )
    pictures = {(unit.method.name, unit.scale, unit.degradation): part["images"] for unit, part in results.items()}
    printer = Console()
    if not printer.is_terminal:  # into a file no column shall be cut off
        printer = Console(width=200)
    return write_report(measured, out, study, main, pictures, printer)


def load_restorers(config: Config) -> dict[str, Restorer]:
    """The evaluated model under "", and the ablations under their names."""
    options, folder = config.evaluate, Path(config.train.out) / "model"
    own = Path(options.weights) if options.weights else folder if (folder / "model.json").exists() else None
    restorers = {"": Restorer.load(own)}
    for text in options.ablations:
        name, found, place = text.partition("=")
        if not (name and found and place) or name in restorers:
            raise BadConfig(f"evaluate.ablations: {text!r} is not NAME=FOLDER with a name of its own.")
        restorers[name] = Restorer.load(place)
    return restorers


def protocol_of(config: Config) -> Protocol:
    """The protocol of a config, cut down to what its options name.

    Raises:
      BadConfig: nothing is left.
    """
    options, data = config.evaluate, config.data
    if options.protocol:
        protocol = read_protocol(options.protocol)
    else:
        scales = tuple(scale for scale in data.scales if scale >= 8) or data.scales
        index = load_index(data.dataset, data.val_split)
        name = f"{Path(data.dataset).name}_{data.val_split}"
        protocol = make_protocol(index, data.val_split, name=name, scales=scales)
    protocol = replace(
        protocol,
        people=protocol.people[: options.people or None],
        scales=tuple(scale for scale in protocol.scales if not options.scales or scale in options.scales),
        degradations=tuple(
            kind for kind in protocol.degradations if not options.degradations or kind in options.degradations
        ),
    )
    if not (protocol.people and protocol.scales and protocol.degradations):
        raise BadConfig(f"{protocol.name}: has none of the scales or degradations that evaluate asks for.")
    return protocol


def fit_all(
    restorer: Restorer, study: Study, count: int, parts: Path, progress: Progress
) -> dict[str, Float[np.ndarray, " d"]]:
    """The fitted identity of every person, on the first `count` photographs."""
    people = study.protocol.people
    fitted: dict[str, Float[np.ndarray, " d"]] = {}
    task = progress.add_task(f"fitting, {count}", total=len(people))
    waiting: list[PersonPlan] = []
    longest = max(len(person.photographs[: max(study.protocol.counts)]) for person in people)
    paths = {person.name: _fit_path(restorer, person, count, parts) for person in people}
    # On two cores nothing is gained by fitting many at once (measured); on an accelerator much is.
    together = 1 if jax.default_backend() == "cpu" else 16
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
        identities, losses, _ = fit_people(
            starts, albums, restorer.model.denoiser, restorer.frozen, restorer.config, length=longest
        )
        for person, identity, loss in zip(group, identities, losses.T, strict=True):
            write_part(paths[person.name], {"identity": identity, "losses": loss})
            fitted[person.name] = identity
            progress.advance(task)
    progress.remove_task(task)
    return fitted


def _part(
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
        images = to_uint8(restore(unit.method, filled, study, restorer.model, fitted))
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
        "version": _VERSION,
        "model": restorer.model.digest,
        "sample": dataclasses.asdict(restorer.config.sample),
        "fit": dataclasses.asdict(restorer.config.fit) if _needs_fit(unit.method) else None,
        "method": dataclasses.asdict(unit.method),
        "case": [person.photographs[: unit.method.photographs], person.restored, protocol.seeds],
        "setting": [unit.scale, unit.degradation],
        "judges": [real.judge.name for real in judges],
    }
    return part_path(parts / unit.folder, person.name, facts)


def _rows(unit: Unit, protocol: Protocol, part: Arrays) -> list[dict[str, Any]]:
    """A part as rows of the report: one a picture, every metric a number or None."""
    cases: list[Case] = cases_of(protocol, unit.scale, unit.degradation)
    metrics = sorted(set(part) - {"images", "features"})
    return [
        {
            "method": unit.method.name,
            "person": case.person.name,
            "photo": case.photo,
            "scale": case.scale,
            "degradation": case.degradation,
            "seed": case.seed,
            "photographs": len(case.person.photographs[: unit.method.photographs]),
            "metrics": {name: _number(part[name][place]) for name in metrics},
        }
        for place, case in enumerate(cases)
    ]


def _sets(results: Mapping[Unit, Arrays], study: Study, batch: int) -> list[dict[str, Any]]:
    """Distances between sets of pictures: all results of a method against all the truths."""
    photos = [photo for person in study.protocol.people for photo in person.restored]
    records = study.records(photos)
    features = []
    for start in range(0, len(records), batch):
        chunk = records[start : start + batch]
        images = to_float(study.images[[*chunk, *[chunk[-1]] * (batch - len(chunk))]])
        features.append(np.asarray(vgg_features(images))[: len(chunk)])
    truth = np.concatenate(features)
    return [
        {"method": unit.method.name, "scale": unit.scale, "degradation": unit.degradation}
        | set_distances(part["features"], truth)
        for unit, part in results.items()
    ]


def _fit_path(restorer: Restorer, person: PersonPlan, count: int, parts: Path) -> Path:
    fit: FitConfig = restorer.config.fit
    photos = list(person.photographs[:count])
    facts = {"version": _VERSION, "model": restorer.model.digest, "fit": dataclasses.asdict(fit), "photos": photos}
    return part_path(parts / "fits", f"{person.name} {len(photos)}", facts)


def _needs_fit(method: Method) -> bool:
    return method.kind == "restored" and method.identity == "fitted"


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip
