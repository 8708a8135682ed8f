"""Plots of a report: numbers only, no person is in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from idfsr_jax.evaluation.protocol import CLEAN
from idfsr_jax.io.files import write_atomically

Series = Sequence[tuple[str, Sequence[tuple[float | int, Any]]]]
"""(label, (x, summary) of each point) of each line."""


def write_plots(facts: Mapping[str, Any], out: Path) -> list[Path]:
    """Draws the curves for which there are two points or more, by the first judge, under clean down-sampling.

    Args:
      facts: what `results.json` holds.
      out: folder for the SVG files.

    Returns:
      The files.
    """
    judge = facts["judges"][0]
    key, real = f"identity/{judge['name']}", facts["real_pairs"][judge["name"]]
    label = f"identity cosine to the truth,\n{judge['title']}"
    chosen = [entry for entry in facts["summary"] if entry["degradation"] == CLEAN]
    methods = {method["name"]: method for method in facts["methods"]}
    lines = {"real, same person": real["same"], "real, different people": real["different"]}
    plots = {
        "identity_scale": (by_scale(chosen, key), "down-sampling factor", label, lines),
        "lpips_scale": (by_scale(chosen, "lpips_vgg"), "down-sampling factor", "LPIPS, VGG16 (lower is better)", {}),
        "identity_photographs": (
            by_photographs(facts["claims"]["photographs"]),
            "photographs of the person, the same people",
            label,
            lines,
        ),
        "identity_steps": (by_steps(chosen, methods, key, facts["sampling"]["steps"]), "sampling steps", label, lines),
        "lpips_steps": (
            by_steps(chosen, methods, "lpips_vgg", facts["sampling"]["steps"]),
            "sampling steps",
            "LPIPS, VGG16 (lower is better)",
            {},
        ),
        "fitting_course": (course(facts["fitting_course"]), "fitting steps", label.replace(" to the truth", ""), {}),
    }
    paths = []
    for name, (series, x_label, y_label, levels) in plots.items():
        if any(len(points) > 1 for _, points in series):
            path = out / f"{name}.svg"
            _draw(path, series, x_label, y_label, levels)
            paths.append(path)
    return paths


def by_scale(entries: Sequence[Mapping[str, Any]], key: str) -> Series:
    """A metric of each method against the down-sampling factor."""
    names = list(dict.fromkeys(entry["method"] for entry in entries))
    lines = [(n, [(e["scale"], e["metrics"][key]) for e in entries if e["method"] == n]) for n in names]
    # Methods that are measured at one scale, or vary a number that has a curve of its own, would clutter this one.
    lines = [(name, points) for name, points in lines if len(points) > 1 and ", " not in name]
    return [(name, sorted(points, key=lambda p: p[0])) for name, points in lines]


def by_photographs(entries: Sequence[Mapping[str, Any]]) -> Series:
    """Identity of fitted and unfitted against the number of photographs, two lines for each scale.

    Args:
      entries: `claims.photographs`.
    """
    lines: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for entry in entries:
        for kind in ("fitted", "unfitted"):
            lines.setdefault(f"{kind}, {entry['scale']:g}x", []).append((entry["photographs"], entry[kind]))
    return list(lines.items())


def by_steps(entries: Sequence[Mapping[str, Any]], methods: Mapping[str, Any], key: str, default: int) -> Series:
    """A metric of the fitted method against the number of sampling steps."""
    lines: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    main = methods["fitted"]["photographs"]
    for entry in entries:
        method = methods[entry["method"]]
        fitted = entry["method"].split(",")[0] == "fitted" and _plain(method) and method["photographs"] == main
        if fitted:
            point = (method["steps"] or default, entry["metrics"][key])
            lines.setdefault(f"fitted, {entry['scale']:g}x", []).append(point)
    # Other scales have the model's own number of steps only.
    return [(name, sorted(points, key=lambda p: p[0])) for name, points in lines.items() if len(points) > 1]


def course(entries: Sequence[Mapping[str, Any]]) -> Series:
    """Identity to the truth and to the fitting photographs over the steps of fitting."""
    names = (("truth", "to the truth"), ("album", "to the fitting photographs"))
    return [(label, [(entry["step"], entry[key]) for entry in entries]) for key, label in names]


def _plain(method: Mapping[str, Any]) -> bool:
    """Whether a method differs from the main ones in its number of photographs or sampling steps at the most."""
    own = (method["kind"], method["references"], method["fit_steps"], method["model"])
    return own == ("restored", None, None, "")


def _draw(path: Path, series: Series, x_label: str, y_label: str, levels: Mapping[str, float | None]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.hashsalt": "idfsr", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(6.5, 4.0), layout="constrained")
        for name, points in series:
            known = [(x, entry) for x, entry in points if "mean" in entry]
            xs, means = [x for x, _ in known], [entry["mean"] for _, entry in known]
            below = [entry["mean"] - entry["interval"][0] for _, entry in known]
            above = [entry["interval"][1] - entry["mean"] for _, entry in known]
            axes.errorbar(xs, means, [below, above], marker="o", markersize=3, capsize=2, linewidth=1, label=name)
        for (name, level), style in zip(levels.items(), ("--", ":"), strict=False):
            if level is not None:
                axes.axhline(level, color="grey", linestyle=style, linewidth=1, label=name)
        ticks = sorted({x for _, points in series for x, _ in points})
        if min(ticks) > 0:
            axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
        write_atomically(path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))
        pyplot.close(figure)
