"""`idfsr evaluate`: fits the people of a protocol, restores their photographs by every method, measures, reports.

What is done is written person by person, for each method, scale and degradation; the same command skips what is there.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from idfsr_jax.config import Config
from idfsr_jax.config.checks import check_use
from idfsr_jax.data.index import load_index
from idfsr_jax.evaluation.judges import load_judges
from idfsr_jax.evaluation.landmarks import landmark_errors
from idfsr_jax.evaluation.measure import real_vectors, truth_features
from idfsr_jax.evaluation.methods import methods_of
from idfsr_jax.evaluation.metrics import kernel_distance
from idfsr_jax.evaluation.outputs import output_method, write_inputs
from idfsr_jax.evaluation.parts import Arrays, Unit, fitted_people, measured_unit
from idfsr_jax.evaluation.protocol import Protocol, make_protocol, read_protocol, require_sound, usable_scales
from idfsr_jax.evaluation.report import Results, write_report
from idfsr_jax.evaluation.statistics import real_pairs
from idfsr_jax.evaluation.study import Case, cases_of, load_study
from idfsr_jax.io.errors import BadConfig
from idfsr_jax.networks.id_encoder import require_encoder
from idfsr_jax.restore.restorer import Restorer


def evaluate(config: Config, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Measures a model by a protocol and writes the report.

    Args:
      config: which data, run and model; `config.evaluate` says what is measured.
      changes: fields of `sample` and `fit`, by their dotted names, that are to differ from what the models' own
        configurations say.

    Returns:
      What `results.json` holds; nothing where only the inputs were asked for (`evaluate.inputs`).

    Raises:
      InputError: data, protocol, model or judge are missing or do not fit together.
    """
    console = Console(stderr=True)
    options = config.evaluate
    out = Path(options.out or Path(config.train.out) / "report")
    restorers = {name: changed(each, changes or {}) for name, each in load_restorers(config).items()}
    main = restorers[""]
    if _own_model(config) is None:
        console.print(f"{config.train.out}: holds no model; the one that ships with the package is measured.")
    protocol = protocol_of(config, main.config.data.size)
    study = load_study(protocol, config.data.dataset, main.config.data.size)
    if options.inputs and options.outputs:
        raise BadConfig("evaluate.inputs writes pictures and measures none; give evaluate.outputs in a run of its own.")
    if options.inputs:
        write_inputs(study, Path(options.inputs), options.batch)
        console.print(f"Inputs for other systems: {options.inputs}")
        return {}
    remedy = "prepare it with the model's recognisers (`idfsr prepare --encoder`)"
    require_encoder(study.index.encoder, main.model.encoder, config.data.dataset, remedy)
    for name, restorer in restorers.items():
        if restorer.config.data.size != study.size:
            raise BadConfig(f"{name}: makes {restorer.config.data.size} px and the others {study.size}; leave it out.")
        if restorer.model.encoder != main.model.encoder:
            raise BadConfig(f"{name}: has other recognisers than the evaluated model; leave it out.")
    methods = methods_of(protocol, options.methods, [name for name in restorers if name], main.config)
    named = _named_folders("evaluate.outputs", options.outputs).items()
    outputs = [output_method(name, folder, study) for name, folder in named]
    methods += tuple(method for method, _ in outputs)
    notes = tuple(note for _, said in outputs for note in said)
    for name, count in Counter(method.name for method in methods).items():
        if count > 1:
            raise BadConfig(f"{name}: two methods have this name; give another NAME=FOLDER.")
    for note in notes:
        console.print(note)
    judges = load_judges(options.judges, main)
    # Findings, claims and curves are by the first, who should not be a network that the model is conditioned on.
    real = [real_vectors(judge, study, options.batch) for judge in sorted(judges, key=lambda j: j.same_as_condition)]
    units = [Unit(method, *setting) for setting in protocol.settings for method in methods if method.applies(*setting)]
    parts = out / "parts"
    with Progress(console=console) as progress:
        fits = {unit.method.fit: unit.method for unit in units if unit.method.fit}
        studies = {method: replace(study, protocol=method.people(protocol)) for method in methods}
        task = progress.add_task("fitting", total=sum(len(studies[each].protocol.people) for each in fits.values()))
        one_more = partial(progress.advance, task)
        fitted = {
            key: fitted_people(method, studies[method], restorers[method.model], parts, one_more)
            for key, method in fits.items()
        }
        task = progress.add_task("restoring", total=len(units))
        results: dict[Unit, Arrays] = {}
        for unit in units:
            progress.update(task, description=unit.label)
            people = fitted[unit.method.fit] if unit.method.fit else {}
            results[unit] = measured_unit(
                unit, studies[unit.method], restorers[unit.method.model], people, real, parts, options.batch
            )
            progress.advance(task)
    truth = truth_features(study, options.batch)
    measured = Results(
        name=config.name,
        protocol=protocol,
        model=main.model.digest,
        training_steps=main.model.steps,
        sampling=dataclasses.asdict(main.config.sample),
        fitting=dataclasses.asdict(main.config.fit),
        judges=tuple((each.judge.name, each.judge.title) for each in real),
        methods=methods,
        notes=notes,
        rows=[row for unit, arrays in results.items() for row in _rows(unit, studies[unit.method].protocol, arrays)],
        kid={
            (unit.setting, unit.method.name): 1000.0 * kernel_distance(part["features"], truth)
            for unit, part in results.items()
            if len(truth) > 1 and not unit.method.least
        },
        real_pairs={each.judge.name: real_pairs(each.vectors, study.index.person) for each in real},
        landmark_net=landmark_errors(main, study),
    )
    pictures = {(unit.method.name, unit.setting): part["images"] for unit, part in results.items()}
    printer = Console()
    if not printer.is_terminal:  # into a file no column shall be cut off
        printer = Console(width=200)
    return write_report(measured, out, study, main, pictures, printer)


def load_restorers(config: Config) -> dict[str, Restorer]:
    """The evaluated model under "", and further ones (`evaluate.ablations`) under their names."""
    devices = config.devices.data * config.devices.fsdp
    restorers = {"": Restorer.load(_own_model(config), devices=devices)}
    for name, place in _named_folders("evaluate.ablations", config.evaluate.ablations).items():
        restorers[name] = Restorer.load(place, devices=devices)
    return restorers


def _own_model(config: Config) -> Path | None:
    """The folder of the evaluated model; None where the run has none and the shipped one takes its place."""
    folder = Path(config.train.out) / "model"
    if config.evaluate.weights:
        return Path(config.evaluate.weights)
    return folder if (folder / "model.json").exists() else None


def changed(restorer: Restorer, changes: Mapping[str, Any]) -> Restorer:
    """A restorer that samples and fits otherwise than its model's configuration says.

    Args:
      restorer: keeps its weights, and so its digest.
      changes: values of fields such as "sample.steps".

    Raises:
      BadConfig: the configuration then makes no sense.
    """
    config = restorer.config
    for name, value in changes.items():
        section, field = name.split(".")
        config = replace(config, **{section: replace(getattr(config, section), **{field: value})})
    if changes:
        check_use(config)
    return replace(restorer, model=replace(restorer.model, config=config))


def protocol_of(config: Config, size: int) -> Protocol:
    """The protocol of a config, changed as its options say; without one it is drawn for crops of `size` px.

    Raises:
      BadConfig: there is no such protocol, or what the options say makes no sense.
    """
    options, data = config.evaluate, config.data
    if options.protocol:
        protocol = read_protocol(options.protocol)
    else:
        index = load_index(data.dataset, data.val_split)
        name = f"{Path(data.dataset).name}_{data.val_split}"
        protocol = make_protocol(index, data.val_split, name=name, scales=usable_scales((8, 16, 32), size))
    protocol = replace(
        protocol,
        people=protocol.people[: options.people or None],
        scales=options.scales or protocol.scales,
        degradations=options.degradations or protocol.degradations,
    )
    require_sound(protocol, options.protocol or protocol.name)
    return protocol


def _named_folders(option: str, texts: Sequence[str]) -> dict[str, str]:
    folders: dict[str, str] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not (name and folder) or name in folders:
            raise BadConfig(f"{option}: {text!r} is not NAME=FOLDER with a name of its own.")
        folders[name] = folder
    return folders


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


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
