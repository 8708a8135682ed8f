"""The report for readers: one page, which shows no person, but tables and plots."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idfsr_jax.evaluation.claims import sentences
from idfsr_jax.evaluation.columns import Column
from idfsr_jax.evaluation.protocol import Setting, setting_name
from idfsr_jax.io.files import write_atomically


@dataclass(frozen=True)
class TableBlock:
    """A table: its header and its rows, as text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = str | TableBlock | Path
"""A paragraph ("# " and "## " start headings, "- " a list item), a table, or a plot."""


def write_page(facts: Mapping[str, Any], columns: Sequence[Column], plots: Sequence[Path], out: Path) -> None:
    """Writes `report.html`.

    Args:
      facts: what `results.json` holds.
      columns: of the tables.
      plots: SVG files.
      out: folder.
    """
    text = to_html(account(facts, columns, plots), facts["name"])
    write_atomically(out / "report.html", lambda file: file.write(text.encode()))


def account(facts: Mapping[str, Any], columns: Sequence[Column], plots: Sequence[Path]) -> list[Block]:
    """The report's content, in order: what was measured, what came out, how to read it."""
    protocol, people = facts["protocol"], len(facts["protocol"]["people"])
    restored = sum(len(person["restored"]) for person in protocol["people"])
    blocks: list[Block] = [
        f"# {facts['name']}: evaluation by {protocol['name']}",
        f"{people} people of the split {protocol['split']}, {restored} photographs restored, seeds "
        f"{', '.join(map(str, protocol['seeds']))}. Model {facts['model']['sha256'][:16]}, "
        f"{facts['model']['training_steps']} training steps; {facts['sampling']['sampler']} with "
        f"{facts['sampling']['steps']} steps at temperature {facts['sampling']['temperature']:g}; "
        f"{facts['fitting']['steps']} fitting steps. "
        f"Protocol {protocol['sha256'][:16]}.",
        "Every number is a mean over pictures, with its 95% interval (bootstrap over people). Nothing is dropped: "
        "where a detector found no face, that is counted and said. What is given other numbers of photographs than "
        "most methods is measured on those people only who have enough of them.",
    ]
    blocks += [f"- {sentence}" for sentence in (*facts["notes"], *findings(facts), *sentences(facts["claims"]))]
    judged = ("identity", "accepted", "copy_paste")
    identity = [column for column in columns if column.key.split("/")[0].startswith(judged)]
    pixels = [column for column in columns if column not in identity]
    paired = by_setting(facts["differences"])
    for setting, entries in by_setting(facts["summary"]).items():
        blocks += [f"## {setting_name(setting)}", table_of(entries, identity), table_of(entries, pixels, sets=True)]
        if setting in paired:
            shown = [c for c in columns if c.key.startswith("identity/") or c.key in ("psnr_face", "lpips_vgg")]
            blocks += ["Paired differences, fitted minus the method of the row, on the same pictures:"]
            blocks += [table_of(paired[setting], shown, signed=True)]
    if plots:
        blocks += ["## Curves", *plots]
    blocks += ["## The judges on real photographs", _real_table(facts)]
    blocks += ["## LandmarkNet against dlib", _landmark_table(facts), "## Columns"]
    blocks += [f"- {column.short}: {column.title}" for column in columns]
    blocks += [
        "- KID: polynomial-kernel distance x 1000 between all results and all truths on VGG16 features; with so few "
        "pictures it orders methods and compares with no published number; lower is better",
    ]
    return blocks


def findings(facts: Mapping[str, Any]) -> list[str]:
    """What the paired differences say, a sentence for each setting: where fitted is better, worse, or neither."""
    sentences = []
    judge = facts["judges"][0]["name"]
    watched = (
        (f"identity/{judge}", f"identity by {judge}", 1),
        ("lpips_vgg", "LPIPS VGG", -1),
        ("psnr_face", "PSNR of the face", 1),
    )
    for setting, entries in by_setting(facts["differences"]).items():
        for key, name, sign in watched:
            verdicts: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
            for entry in entries:
                numbers = entry["metrics"][key]
                if "mean" in numbers:
                    low, high = sorted(sign * end for end in numbers["interval"])
                    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
                    verdicts[verdict].append(entry["method"])
            # A name may have a comma in it.
            quoted = {verdict: ", ".join(f'"{name}"' for name in names) for verdict, names in verdicts.items()}
            said = "; ".join(f"{verdict} {names}" for verdict, names in quoted.items() if names)
            sentences.append(f"{setting_name(setting)}, {name}: fitted is {said}.")
    return sentences


def by_setting(entries: Sequence[Mapping[str, Any]]) -> dict[Setting, list[Mapping[str, Any]]]:
    """The entries of each scale and degradation, in the order of both."""
    grouped: dict[Setting, list[Mapping[str, Any]]] = {}
    for entry in entries:
        grouped.setdefault((entry["scale"], entry["degradation"]), []).append(entry)
    return grouped


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}"
    "td,th{border-bottom:1px solid #ddd;padding:.25em .7em;text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
)


def to_html(blocks: Sequence[Block], title: str) -> str:
    """The account as one page that needs no other file: the plots are inside."""
    parts = []
    for block in blocks:
        if isinstance(block, TableBlock):
            cells = lambda row, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)  # noqa: E731
            rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in block.rows)
            parts.append(f"<table><thead><tr>{cells(block.header, 'th')}</tr></thead><tbody>{rows}</tbody></table>")
        elif isinstance(block, Path):
            svg = block.read_text(encoding="utf-8")
            parts.append(f"<figure>{svg[svg.index('<svg') :]}</figure>")
        elif block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            parts.append(f"<h{level}>{html.escape(block.lstrip('# '))}</h{level}>")
        elif block.startswith("- "):
            parts.append(f"<li>{html.escape(block[2:])}</li>")
        else:
            parts.append(f"<p>{html.escape(block)}</p>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def table_of(
    entries: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, sets: bool = False, signed: bool = False
) -> TableBlock:
    """A row for each entry's method: mean and interval of each column.

    Args:
      entries: of one setting, with `method` and `metrics`.
      columns: which of these.
      sets: whether KID stands beside them.
      signed: whether numbers are differences.
    """
    arrows = {"higher": "↑", "lower": "↓"}
    header = ["method", *(f"{column.short} {arrows[column.direction]}" for column in columns), *(["KID ↓"] * sets)]
    rows = []
    for entry in entries:
        cells = [_cell(entry["metrics"][column.key], column.digits, signed) for column in columns]
        kid = ["" if entry["kid"] is None else f"{entry['kid']:.1f}"] if sets else []
        rows.append([entry["method"], *cells, *kid])
    return TableBlock(header, rows)


def _cell(numbers: Mapping[str, Any], digits: int, signed: bool) -> str:
    if "mean" not in numbers:
        return f"none of {numbers['missing']}"
    sign = "+" if signed else ""
    low, high = numbers["interval"]
    failed = f", {numbers['missing']} without" if numbers["missing"] else ""
    return f"{numbers['mean']:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]{failed}"


def _real_table(facts: Mapping[str, Any]) -> TableBlock:
    rows = []
    for judge in facts["judges"]:
        real = facts["real_pairs"][judge["name"]]
        accepted = [f"{entry['same']:.1%} (cosine {entry['threshold']:.3f})" for entry in real["acceptance"].values()]
        means = [f"{real[name]:.3f}" if real[name] is not None else "none" for name in ("same", "different")]
        rows.append([judge["title"], *means, *accepted])
    rates = facts["real_pairs"][facts["judges"][0]["name"]]["acceptance"]
    header = ["judge", "cosine, same person", "different people", *(f"same person accepted at FAR {r}" for r in rates)]
    return TableBlock(header, rows)


def _landmark_table(facts: Mapping[str, Any]) -> TableBlock:
    errors = facts["landmark_net"]
    numbers = [f"{e['mean']:.3f} [{e['interval'][0]:.3f}, {e['interval'][1]:.3f}]" for e in errors.values()]
    header = ["scale", *(f"{scale}x" for scale in errors)]
    return TableBlock(header, [["mean error, eye distances", *numbers]])
