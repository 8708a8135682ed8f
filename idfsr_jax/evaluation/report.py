"""The report: `results.json` with every number, and what readers want of it as a page and as a table."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from idfsr_jax.evaluation.claims import difference, expression, fitting_course, photographs, sentences, swap
from idfsr_jax.evaluation.columns import Column, columns_of
from idfsr_jax.evaluation.figures import write_figures
from idfsr_jax.evaluation.methods import Method
from idfsr_jax.evaluation.page import by_setting, table_of, write_page
from idfsr_jax.evaluation.plots import write_plots
from idfsr_jax.evaluation.protocol import Protocol, Setting, setting_name
from idfsr_jax.evaluation.statistics import summary
from idfsr_jax.evaluation.study import Study
from idfsr_jax.io.files import write_atomically
from idfsr_jax.restore.restorer import Restorer


@dataclass(frozen=True)
class Results:
    """All that was measured.

    Attributes:
      name: of the config.
      protocol: what was measured.
      model: digest of the model.
      training_steps: how long it was trained.
      sampling: the model's `SampleConfig`.
      fitting: its `FitConfig`.
      judges: (name, title) of each; findings, curves and pictures are by the first.
      methods: what was compared.
      notes: what is to be said of other systems' pictures, a sentence each.
      rows: a picture each.
      kid: KID x 1000 between all truths and a method's results, by setting and method; none of fewer people.
      real_pairs: by judge, its verdict on real photographs.
      landmark_net: error of LandmarkNet by scale.
    """

    name: str
    protocol: Protocol
    model: str
    training_steps: int
    sampling: dict[str, Any]
    fitting: dict[str, Any]
    judges: tuple[tuple[str, str], ...]
    methods: tuple[Method, ...]
    notes: tuple[str, ...]
    rows: Sequence[dict[str, Any]]
    kid: Mapping[tuple[Setting, str], float]
    real_pairs: dict[str, Any]
    landmark_net: dict[str, Any]

    @property
    def columns(self) -> list[Column]:
        """Of the tables."""
        return columns_of(self.judges, self.real_pairs)

    @property
    def settings(self) -> list[Setting]:
        """Those that were measured, in order."""
        return list(dict.fromkeys((row["scale"], row["degradation"]) for row in self.rows))


def write_report(
    results: Results,
    out: Path,
    study: Study,
    restorer: Restorer,
    pictures: Mapping[tuple[str, Setting], np.ndarray],
    console: Console,
) -> dict[str, Any]:
    """Writes everything into a folder and prints the short version.

    `results.json`, `report.html` and `plots/` show no person and may be published; `figures/` and `parts/`
    hold pictures of people.

    Args:
      results: what was measured.
      out: the folder.
      study: the photographs.
      restorer: of the evaluated model.
      pictures: results by method, scale and degradation, in the order of the cases.
      console: for the table.

    Returns:
      What `results.json` holds.
    """
    rows, judge = with_acceptance(results), results.judges[0][0]
    results = dataclasses.replace(results, rows=rows)
    facts: dict[str, Any] = {
        "name": results.name,
        "protocol": dataclasses.asdict(results.protocol) | {"sha256": results.protocol.digest},
        "model": {"sha256": results.model, "training_steps": results.training_steps},
        "sampling": results.sampling,
        "fitting": results.fitting,
        "judges": [{"name": name, "title": title} for name, title in results.judges],
        "metrics": {column.key: dataclasses.asdict(column) for column in results.columns},
        "methods": [dataclasses.asdict(dataclasses.replace(method, folder="")) for method in results.methods],
        "notes": list(results.notes),
        "landmark_net": results.landmark_net,
        "real_pairs": results.real_pairs,
        "summary": summaries(results),
        "differences": differences(results),
        "claims": claims(results),
        "fitting_course": fitting_course(groups_of(results), results.methods, judge, results.fitting["steps"]),
        "pictures": list(rows),
    }
    text = json.dumps(facts, indent=1, allow_nan=False)
    write_atomically(out / "results.json", lambda file: file.write(text.encode()))
    plots = write_plots(facts, out / "plots")
    write_page(facts, results.columns, plots, out)
    write_figures(results, study, restorer, pictures, out / "figures")
    print_short(facts, results.columns, console)
    console.print(f"Report: {out / 'report.html'}")
    return facts


def with_acceptance(results: Results) -> list[dict[str, Any]]:
    """The rows, with 1 or 0 for each judge and false acceptance rate: whether it takes the result for the person."""
    rows = []
    for row in results.rows:
        accepted = {
            f"accepted/{name}/{far}": float(row["metrics"][f"identity/{name}"] >= entry["threshold"])
            for name, _ in results.judges
            for far, entry in results.real_pairs[name]["acceptance"].items()
        }
        rows.append(row | {"metrics": row["metrics"] | accepted})
    return rows


def summaries(results: Results) -> list[dict[str, Any]]:
    """Mean and interval of every metric by degradation, scale and method, and KID where it is known."""
    entries = []
    for (setting, name), rows in groups_of(results).items():
        people = [row["person"] for row in rows]
        numbers = {
            column.key: summary([row["metrics"][column.key] for row in rows], people) for column in results.columns
        }
        entry = {"scale": setting[0], "degradation": setting[1], "method": name, "metrics": numbers}
        entries.append(entry | {"kid": results.kid.get((setting, name))})
    return entries


def differences(results: Results, base: str = "fitted") -> list[dict[str, Any]]:
    """Paired differences, `base` minus each other method on the same pictures, with intervals over people."""
    groups = groups_of(results)
    entries = []
    for (setting, name), rows in groups.items():
        own = groups.get((setting, base))
        if own is None or name == base:
            continue
        numbers = {column.key: difference(own, rows, column.key) for column in results.columns}
        place = {"scale": setting[0], "degradation": setting[1]}
        entries.append(place | {"base": base, "method": name, "metrics": numbers})
    return entries


def claims(results: Results) -> dict[str, list[dict[str, Any]]]:
    """The measures of what the method claims, by the first judge."""
    groups, judge = groups_of(results), results.judges[0][0]
    return {
        "swap": swap(groups, results.protocol, judge),
        "expression": expression(groups),
        "photographs": photographs(groups, results.methods, results.protocol, judge),
    }


def groups_of(results: Results) -> dict[tuple[Setting, str], list[dict[str, Any]]]:
    """The pictures of each setting and method, in the order of both."""
    grouped: dict[tuple[Setting, str], list[dict[str, Any]]] = {}
    for row in results.rows:
        grouped.setdefault(((row["scale"], row["degradation"]), row["method"]), []).append(row)
    keys = [(setting, method.name) for setting in results.settings for method in results.methods]
    return {key: grouped[key] for key in keys if key in grouped}


def print_short(facts: Mapping[str, Any], columns: Sequence[Column], console: Console) -> None:
    """The measures that matter most, a table for each scale and degradation, and the claims."""
    chosen = [column for column in columns if column.key.split("/")[0] in ("identity", "psnr_face", "lpips_alex")]
    people = len(facts["protocol"]["people"])
    for setting, entries in by_setting(facts["summary"]).items():
        made, count = table_of(entries, chosen), entries[0]["metrics"]["psnr"]["count"]
        title = f"{setting_name(setting)}: {count} pictures of {people} people"
        table = Table(*made.header, title=title, box=None, padding=(0, 1, 0, 0))
        for row in made.rows:
            table.add_row(*row)
        console.print(table)
    for sentence in sentences(facts["claims"]):
        console.print(sentence)
