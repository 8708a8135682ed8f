"""Pictures of the results, for the eyes of whoever may see the data: they show people and are not to be published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from idfsr_jax.evaluation.landmarks import estimated_landmarks
from idfsr_jax.evaluation.methods import Method, main_count
from idfsr_jax.evaluation.protocol import CLEAN, Setting, setting_name
from idfsr_jax.evaluation.restoring import conditions
from idfsr_jax.evaluation.study import Case, Study, cases_of, low_resolution
from idfsr_jax.face import write_image
from idfsr_jax.io.images import to_uint8
from idfsr_jax.restore.restorer import Restorer

if TYPE_CHECKING:
    from idfsr_jax.evaluation.report import Results

_SIDE = 128
_LABEL = 18
_SHOWN = 10
_GRID_METHODS = ("bicubic", "pasted reference", "unfitted", "fitted")
Panel = UInt8[np.ndarray, "_ _ 3"]


def write_figures(
    results: "Results",
    study: Study,
    restorer: Restorer,
    pictures: Mapping[tuple[str, Setting], UInt8[np.ndarray, "n s s 3"]],
    out: Path,
) -> list[Path]:
    """Writes grids of the best, median and worst results, LandmarkNet's points, and warped references.

    Args:
      results: what was measured; says who is best and worst.
      study: the photographs.
      restorer: of the evaluated model.
      pictures: results by method, scale and degradation.
      out: folder.
    """
    figures = {"landmarks": landmark_sheet(restorer, study), "warps": warp_sheet(restorer, study)}
    for setting in results.settings:
        if setting[1] == results.settings[0][1] and ("fitted", setting) in pictures:
            name = setting_name(setting).replace(", ", "_")
            figures[f"grid_{name}"] = result_sheet(results, study, pictures, setting)
    paths = [out / f"{name}.png" for name in figures]
    for path, image in zip(paths, figures.values(), strict=True):
        write_image(path, image, {})
    return paths


def result_sheet(
    results: "Results",
    study: Study,
    pictures: Mapping[tuple[str, Setting], UInt8[np.ndarray, "n s s 3"]],
    setting: Setting,
    each: int = 4,
) -> Panel:
    """Rows of the best, median and worst pictures by the first judge's identity cosine of the fitted method."""
    cases = cases_of(results.protocol, *setting)
    key = f"identity/{results.judges[0][0]}"
    chosen = [r for r in results.rows if (r["method"], r["scale"], r["degradation"]) == ("fitted", *setting)]
    order = np.argsort([-row["metrics"][key] for row in chosen])
    middle = max(0, len(order) // 2 - each // 2)
    places = [*order[:each], *order[middle : middle + each], *order[-each:]] if len(order) > 3 * each else list(order)
    lows = low_resolution(study, cases).y
    methods = [name for name in _GRID_METHODS if (name, setting) in pictures]
    rows = []
    for place in places:
        case = cases[place]
        reference = study.images[study.record[case.person.photographs[0]]]
        results_here = [pictures[name, setting][place] for name in methods]
        rows.append([lows[place], *results_here, study.images[study.record[case.photo]], reference])
    labels = ["input", *methods, "truth", "a photograph"]
    notes = [f"{chosen[place]['metrics'][key]:.2f}" for place in places]
    return sheet(labels, rows, notes)


def landmark_sheet(restorer: Restorer, study: Study) -> Panel:
    """LandmarkNet's points (red) and dlib's (green) on ten faces: a row each, a column for each scale."""
    columns: list[list[Panel]] = []
    labels = []
    for scale in study.protocol.scales:
        cases = _first_cases(study, scale)
        records = study.records([case.photo for case in cases])
        truth, points = study.index.landmarks[records], estimated_landmarks(restorer, study, cases)
        if not columns:
            columns.append([draw_points(study.images[r], [(t, "lime")]) for r, t in zip(records, truth, strict=True)])
            labels.append("dlib")
        small = zip(low_resolution(study, cases).y, truth, points, strict=True)
        columns.append([draw_points(image, [(t, "lime"), (p, "red")]) for image, t, p in small])
        labels.append(f"{scale:g}x")
    return sheet(labels, list(zip(*columns, strict=True)))


def warp_sheet(restorer: Restorer, study: Study) -> Panel:
    """Nearest reference, enlarged input, the reference moved onto it, the guess and the truth of ten faces."""
    cases = _first_cases(study, 16 if 16 in study.protocol.scales else study.protocol.scales[0])
    method = Method("warp", photographs=main_count(study.protocol), identity="unfitted")
    given = low_resolution(study, cases)
    condition, references = conditions(method, cases, study, restorer, {}, given)
    nearest = [records[0] for records in references]
    points = estimated_landmarks(restorer, study, cases)
    columns = [
        [draw_points(study.images[r], [(study.index.landmarks[r], "cyan")]) for r in nearest],
        [draw_points(image, [(p, "red")]) for image, p in zip(to_uint8(given.y_up), points, strict=True)],
        list(to_uint8(condition.references[:, 0])),
        list(to_uint8(condition.guess)),
        [study.images[study.record[case.photo]] for case in cases],
    ]
    labels = ["reference", f"input, {cases[0].scale:g}x", "warped", "guess", "truth"]
    return sheet(labels, list(zip(*columns, strict=True)))


def _first_cases(study: Study, scale: int | float) -> list[Case]:
    """The first picture of each of the first ten people, clean."""
    cases = cases_of(study.protocol, scale, CLEAN)
    firsts = {case.person.name: case for case in reversed(cases)}
    return [firsts[person.name] for person in study.protocol.people[:_SHOWN]]


def draw_points(image: Panel, layers: Sequence[tuple[Float[np.ndarray, "68 2"], str]]) -> Panel:
    """A crop, enlarged, with points in unit coordinates drawn on it."""
    large = _enlarged(image, 2 * _SIDE)
    draw = ImageDraw.Draw(large)
    for points, colour in layers:
        for x, y in points * (2 * _SIDE):
            draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    return np.array(large)


def sheet(labels: Sequence[str], rows: Sequence[Sequence[Panel]], notes: Sequence[str] = ()) -> Panel:
    """Panels in rows under the labels of their columns; a note is written into the first panel of its row."""
    side = max((panel.shape[0] for row in rows for panel in row), default=_SIDE)
    side = max(side, _SIDE)
    canvas = Image.new("RGB", (len(labels) * side, len(rows) * side + _LABEL), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for column, label in enumerate(labels):
        draw.text((column * side + 3, 2), label, "black", font)
    for line, row in enumerate(rows):
        for column, panel in enumerate(row):
            canvas.paste(_enlarged(panel, side), (column * side, _LABEL + line * side))
    for line, note in enumerate(notes):
        draw.text((3, _LABEL + line * side + 2), note, "yellow", font, stroke_width=1, stroke_fill="black")
    return np.array(canvas)


def _enlarged(image: Panel, side: int) -> Image.Image:
    kind = Image.Resampling.NEAREST if image.shape[0] <= 16 else Image.Resampling.BICUBIC
    return Image.fromarray(image).resize((side, side), kind)
