"""How the figure of the method is laid out: panels in three rows, arrows between them, words under them."""

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from idfsr_jax.io.images import to_uint8

if TYPE_CHECKING:
    from tools.method_figure import Stages

_WIDTH, _DOTS = 8.3, 144
_PANEL, _GAP, _MARGIN = 1.14, 0.252, 0.1
_HEADING, _WORDS, _BETWEEN = 0.27, 0.36, 0.1
_ROW = _HEADING + _PANEL + _WORDS + _BETWEEN
_HEIGHT = 3 * _ROW + _MARGIN
_INK, _FAINT, _POINTS = "#1a1a1a", "#555555", "#ffd400"
_ARROW = {"arrowstyle": "-|>", "color": _INK, "lw": 1.0, "shrinkA": 0, "shrinkB": 0}


def draw(stages: "Stages") -> UInt8[np.ndarray, "h w 3"]:
    """The figure, 1195 px wide; its letters are meant for a width of 830 px."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(_WIDTH, _HEIGHT), dpi=_DOTS, facecolor="white")
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
    page.axis("off")
    _mask_row(figure, page, stages)
    _warp_row(figure, page, stages)
    _identity_block(figure, page, stages)
    _sampling_row(figure, page, stages)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    pyplot.close(figure)
    return image


def _mask_row(figure: Any, page: Any, stages: "Stages") -> None:
    side = stages.restoration.face.y.shape[0]
    _heading(page, 0, 0, "1  Mask", "the small face says little, and says it wrongly: it is hidden")
    _picture(figure, page, 0, 0, stages.restoration.face.y, f"the small face,\n{side} × {side} pixels")
    axes = _picture(figure, page, 0, 1, stages.enlarged, "enlarged; landmarks by it\nand the person's shape")
    _dots(axes, stages.landmarks)
    mask = np.repeat(np.asarray(stages.condition.mask[0]), 3, axis=-1)
    _picture(figure, page, 0, 2, to_uint8(2.0 * mask - 1.0), "the mask of\nthe face")
    _picture(figure, page, 0, 3, to_uint8(stages.condition.hidden[0]), "what is left: light,\nno features")
    for column in range(3):
        _across(page, 0, column)


def _warp_row(figure: Any, page: Any, stages: "Stages") -> None:
    _heading(page, 1, 0, "2  Warp", "photographs of the person stand beside it, in the same pose")
    reference = stages.photographs[stages.reference]
    axes = _picture(figure, page, 1, 0, reference.image, "the one nearest in\npose; its landmarks")
    _dots(axes, reference.landmarks)
    moved = to_uint8(stages.condition.references[0, 0])
    axes = _picture(figure, page, 1, 1, moved, "moved onto the\nestimated landmarks")
    _dots(axes, stages.landmarks)
    guess = np.asarray(stages.condition.guess[0])
    detail = guess - np.asarray(stages.condition.hidden[0])
    _picture(figure, page, 1, 2, to_uint8(detail), "the detail that it\ngives to the face")
    _picture(figure, page, 1, 3, to_uint8(guess), "the guess: both\ntogether")
    for column in range(3):
        _across(page, 1, column)
    _around(page, 3)


def _identity_block(figure: Any, page: Any, stages: "Stages") -> None:
    _heading(page, 0, 4, "3  Identity", "who it is")
    count = len(stages.photographs)
    for place, crop in enumerate(stages.photographs[:2]):
        words = f"photograph {place + 1} of {count}\nof the person"
        _picture(figure, page, 0, 4 + place, crop.image, words)
    _heading(page, 1, 4, "4  Fit", "to this person")
    start, fitted = stages.identity.start, stages.identity.embedding
    bound = float(np.abs(np.stack([start, fitted])).max())
    _stripes(figure, page, 1, 4, start, bound, f"{start.size} numbers by two face\nrecognisers, the mean")
    steps = stages.identity.losses.size
    _stripes(figure, page, 1, 5, fitted, bound, f"after {steps} fitting steps;\nall weights frozen")
    _across(page, 1, 4)


def _sampling_row(figure: Any, page: Any, stages: "Stages") -> None:
    seen = "x, what is left, mask, photograph, guess and identity"
    _heading(page, 2, 0, "5  Sample", f"from noise to a picture; at every step the denoiser sees {seen}")
    shown = np.linspace(0, len(stages.noisy) - 1, min(4, len(stages.noisy))).round().astype(int)
    for column, step in enumerate(shown):
        level = f"{float(stages.levels[step]):+.1f}".replace("-", "\N{MINUS SIGN}")
        words = f"x before step {step + 1} of {len(stages.noisy)},\nlog-SNR {level}"
        _picture(figure, page, 2, column, to_uint8(stages.noisy[step]), words)
        _across(page, 2, column)
    _picture(figure, page, 2, 4, stages.restoration.images[0], "restored:\na synthesised face")
    _picture(figure, page, 2, 5, stages.truth, "the truth, never seen\nby the model")


def _corner(row: int, column: int) -> tuple[float, float]:
    """Lower left corner of a panel, inches."""
    return _MARGIN + column * (_PANEL + _GAP), _HEIGHT - row * _ROW - _HEADING - _PANEL


def _heading(page: Any, row: int, column: int, title: str, words: str) -> None:
    x, y = _corner(row, column)
    bold = page.text(x, y + _PANEL + 0.07, title, fontsize=9, fontweight="bold", color=_INK, va="baseline")
    end = page.transData.inverted().transform(bold.get_window_extent())[1][0]
    page.text(end + 0.08, y + _PANEL + 0.07, words, fontsize=7.5, color=_FAINT, va="baseline")


def _axes(figure: Any, page: Any, row: int, column: int, words: str) -> Any:
    x, y = _corner(row, column)
    axes = figure.add_axes((x / _WIDTH, y / _HEIGHT, _PANEL / _WIDTH, _PANEL / _HEIGHT))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=_FAINT)
    # Line by line: aligned by its top, a text without tall letters would stand higher than its neighbours.
    for number, line in enumerate(words.split("\n"), 1):
        page.text(x, y - 0.02 - 0.13 * number, line, fontsize=7.5, color=_INK, va="baseline")
    return axes


def _picture(figure: Any, page: Any, row: int, column: int, image: UInt8[np.ndarray, "h w 3"], words: str) -> Any:
    axes = _axes(figure, page, row, column, words)
    smooth = "antialiased" if image.shape[0] > 64 else "nearest"
    axes.imshow(image, extent=(0, 1, 1, 0), interpolation=smooth)
    axes.set(xlim=(0, 1), ylim=(1, 0))
    return axes


def _dots(axes: Any, points: Float[np.ndarray, "68 2"]) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=2.5, color=_POINTS, edgecolors="black", linewidths=0.25)


def _stripes(figure: Any, page: Any, row: int, column: int, vector: Any, bound: float, words: str) -> None:
    """A vector as coloured squares, row by row."""
    axes = _axes(figure, page, row, column, words)
    width = next(n for n in range(int(np.sqrt(vector.size)), 0, -1) if vector.size % n == 0)
    axes.imshow(vector.reshape(-1, width), cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")


def _across(page: Any, row: int, column: int) -> None:
    """An arrow from a panel to the next one."""
    x, y = _corner(row, column)
    x, y = x + _PANEL, y + _PANEL / 2
    page.annotate("", (x + _GAP - 0.035, y), (x + 0.035, y), arrowprops=_ARROW)


def _around(page: Any, column: int) -> None:
    """An arrow from a panel of the first row to the one below, around the words between them."""
    (x, upper), (_, lower) = _corner(0, column), _corner(1, column)
    x, half = x + _PANEL, _PANEL / 2
    turn = x + _GAP / 2
    page.plot([x + 0.035, turn, turn], [upper + half, upper + half, lower + half], color=_INK, lw=1.0)
    page.annotate("", (x + 0.035, lower + half), (turn, lower + half), arrowprops=_ARROW)
