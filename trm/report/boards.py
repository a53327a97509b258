"""Puzzles, drawn: boards as their kinds want it, and ARC tasks.

As in figures.py no meaning rests on colour alone: wrong cells carry a mark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from trm.puzzles.kind import BoardStyle
from trm.report.figures import (
    BLUE,
    CLUE_BACKGROUND,
    GREEN,
    GREY,
    INK,
    ORANGE,
    VERMILLION,
    WALL,
)
from trm.scoring.arc import ScoredInput, ScoredTask

# The colours of the ARC website, 0..9.
ARC_COLOURS = (
    "#000000",
    "#0074D9",
    "#FF4136",
    "#2ECC40",
    "#FFDC00",
    "#AAAAAA",
    "#F012BE",
    "#FF851B",
    "#7FDBFF",
    "#870C25",
)

MAX_DEMONSTRATIONS = 4


def draw_arc_task(
    figure: FigureBase, task: ScoredTask, test: ScoredInput, attempts: Sequence[np.ndarray]
) -> None:
    """Demonstrations, the test input, the truth and the attempts, each attempt checked.

    Args:
        figure: the (sub)figure to fill.
        task: whose demonstrations are shown, the first MAX_DEMONSTRATIONS of them.
        test: the test input of the task.
        attempts: one or two guesses, uint8 [H, W], colours 0..9.
    """
    demonstrations = task.train[:MAX_DEMONSTRATIONS]
    columns = len(demonstrations) + 2
    # The narrow column in between sets what was given apart from what was asked.
    widths = [1.0] * len(demonstrations) + [0.15, 1.0, 1.0]
    grid = figure.add_gridspec(2, columns + 1, width_ratios=widths)
    for column, (question, answer) in enumerate(demonstrations):
        _draw_grid(figure.add_subplot(grid[0, column]), question, f"example {column + 1}")
        _draw_grid(figure.add_subplot(grid[1, column]), answer, "→ output")
    _draw_grid(figure.add_subplot(grid[0, -2]), test.input, "test input")
    if test.truth is None:
        for row, attempt in enumerate(attempts):
            _draw_grid(figure.add_subplot(grid[row, -1]), attempt, f"attempt {row + 1}")
        return
    truth = np.array(test.truth)
    _draw_grid(figure.add_subplot(grid[1, -2]), truth, "→ truth")
    for row, attempt in enumerate(attempts):
        axes = figure.add_subplot(grid[row, -1])
        right = np.array_equal(attempt, truth)
        _draw_grid(axes, attempt, f"attempt {row + 1}: {'right ✓' if right else 'wrong ✗'}")
        if not right:
            wrong = _differs(attempt, truth)
            if wrong.any():
                _mark_wrong(axes, wrong)
            note = f"{wrong.sum()} wrong cell{'s' if wrong.sum() != 1 else ''}"
            if attempt.shape != truth.shape:
                note = f"{_size(attempt)} cells, not {_size(truth)}"
            axes.set_xlabel(note, fontsize=7, labelpad=2)


def draw_arc_answer(
    figure: FigureBase,
    question: np.ndarray,
    answer: np.ndarray,
    truth: np.ndarray | None,
    cells: int,
) -> None:
    """Input, answer and truth beside each other with cells of one size, wrong cells struck.

    Args:
        figure: the (sub)figure to fill.
        question, answer: uint8 [H, W], colours 0..9.
        truth: the same; None where nobody has it.
        cells: across each of the three places; no grid may be larger.
    """
    all_axes = figure.subplots(1, 3)
    grids = {"input": question, "answer": answer, "truth": truth}
    for axes, (title, grid) in zip(all_axes, grids.items(), strict=True):
        if grid is not None:
            axes.set_title(title, fontsize=7.5, pad=3, loc="left")
            if grid.size:
                _draw_grid(axes, grid, "")
            else:
                axes.text(0, 0, "no grid", va="top", color=GREY)
        axes.set(xlim=(-0.1, cells + 0.1), ylim=(cells + 0.1, -0.1), anchor="N")
        axes.set_axis_off()
    if truth is not None and (wrong := _differs(answer, truth)).any():
        _mark_wrong(all_axes[1], wrong, cells)


def draw_board(
    axes: Axes,
    style: BoardStyle,
    question: np.ndarray,
    answer: np.ndarray,
    prediction: np.ndarray,
    box: tuple[int, int] | None = None,
) -> None:
    """A board and its answer, as the kind of puzzle wants it drawn.

    Args:
        axes: where to draw.
        style: the kind's.
        question, answer, prediction: symbols [rows, columns], as in a gallery.
        box: rows and columns of a box, (3, 3) for the usual sudoku.
    """
    drawings[style.drawing](axes, style, question, answer, prediction, box)


def draw_written(
    axes: Axes,
    style: BoardStyle,
    question: np.ndarray,
    answer: np.ndarray,
    prediction: np.ndarray,
    box: tuple[int, int] | None,
) -> None:
    """A symbol in each cell; wrong cells framed, struck, the right symbol beside."""
    rows, columns = question.shape
    cell = _cell_points(axes, max(rows, columns))
    given = question == answer
    for (row, column), symbol in np.ndenumerate(prediction):
        truth, answered = answer[row, column], "" if symbol == style.blank else symbol
        is_given = given[row, column]
        if style.shaded and is_given:
            _add(axes, Rectangle((column, row), 1, 1, color=CLUE_BACKGROUND, lw=0))
        if symbol != truth:
            _draw_wrong_cell(axes, row, column, answered, truth, cell)
            continue
        look = {"color": INK if is_given else BLUE}
        if style.shaded and is_given:
            look["weight"] = "bold"
        _write(axes, row, column, answered, cell * 0.55, **look)
    if box is None:
        axes.hlines(range(rows + 1), 0, columns, color=INK, lw=0.4)
        axes.vlines(range(columns + 1), 0, rows, color=INK, lw=0.4)
    else:
        for line in range(rows + 1):
            axes.axhline(line, color=INK, lw=1.8 if line % box[0] == 0 else 0.4)
            axes.axvline(line, color=INK, lw=1.8 if line % box[1] == 0 else 0.4)
    _bare(axes, rows, columns)


_LARGE_BOARD = 15  # cells a side
_WRONG_END = {"facecolor": "white", "edgecolor": VERMILLION, "linestyle": (0, (2, 1)), "lw": 1.2}


def draw_path(
    axes: Axes,
    style: BoardStyle,
    question: np.ndarray,
    answer: np.ndarray,
    prediction: np.ndarray,
    box: tuple[int, int] | None,
) -> None:
    """A maze (`#` wall, `.` floor, `S`, `G`, `o` path) with the predicted path: right cells dots,
    wrong ones crosses, missed ones rings.

    Start and goal are letters on green, or on white within dashes where they are wrong.
    """
    n = len(question)
    axes.imshow(
        np.where(question == "#", 1, 0),
        cmap=ListedColormap(["#FFFFFF", WALL]),
        vmin=0,
        vmax=1,
        interpolation="none",
        extent=(0, n, n, 0),
    )
    on_path, predicted = answer == "o", prediction == "o"
    missed = on_path & (prediction == ".")
    wrong = (prediction != answer) & ~missed & (question != "S") & (question != "G")
    cell = _cell_points(axes, n)
    _scatter(axes, on_path & predicted, "o", cell * 0.4, color=BLUE)
    _scatter(axes, missed, "o", cell * 0.6, facecolor="none", edgecolor=ORANGE)
    _scatter(axes, wrong, "X", cell, facecolor=VERMILLION, edgecolor="none")
    for letter in "SG":
        for row, column in np.argwhere(question == letter):
            # In a large maze larger than its cell, or the letter could not be read.
            edge = 0.4 if n > _LARGE_BOARD else 0.0
            corner, size = (column - edge, row - edge), 1 + 2 * edge
            right = prediction[row, column] == letter
            ground = {"color": GREEN, "lw": 0} if right else _WRONG_END  # a cross hides the letter
            box_of_end = Rectangle(corner, size, size, zorder=3, clip_on=False, **ground)
            axes.add_patch(box_of_end)
            colour = "white" if right else INK
            _write(axes, row, column, letter, cell * size * 0.72, color=colour, weight="bold")
    _bare(axes, n, n)


drawings: dict[str, Callable[..., None]] = {"written": draw_written, "path": draw_path}
"""Drawing by its name in a kind's style; page.js has the same ones."""


def _draw_grid(axes: Axes, grid: np.ndarray | list[list[int]], title: str) -> None:
    """An ARC grid; rows and columns are separated by thin lines."""
    axes.set_title(title, fontsize=7.5, pad=3)
    grid = np.array(grid, dtype=np.uint8)
    if grid.size == 0:
        axes.text(0.5, 0.5, "no grid", ha="center", va="center", color=GREY)
        _bare(axes, 1, 1)
        return
    rows, columns = grid.shape
    axes.imshow(
        grid,
        cmap=ListedColormap(ARC_COLOURS),
        vmin=0,
        vmax=9,
        interpolation="none",
        extent=(0, columns, rows, 0),
    )
    lines = [((0, y), (columns, y)) for y in range(1, rows)]
    lines += [((x, 0), (x, rows)) for x in range(1, columns)]
    axes.add_collection(LineCollection(lines, colors="#777777", linewidths=0.3))
    _bare(axes, rows, columns)


def _mark_wrong(axes: Axes, wrong: np.ndarray, cells: int | None = None) -> None:
    """A cross on each wrong cell, white on black so that it shows on all ten colours.

    `cells` are those across the axes, where the grid does not fill them.
    """
    strokes = [
        stroke
        for y, x in np.argwhere(wrong)
        for stroke in (
            ((x + 0.2, y + 0.2), (x + 0.8, y + 0.8)),
            ((x + 0.2, y + 0.8), (x + 0.8, y + 0.2)),
        )
    ]
    width = min(1.2, max(0.6, 0.1 * _cell_points(axes, cells or max(wrong.shape))))
    axes.add_collection(LineCollection(strokes, colors="black", linewidths=width * 2.4))
    axes.add_collection(LineCollection(strokes, colors="white", linewidths=width))


def _differs(attempt: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where the attempt is wrong; cells outside the truth are."""
    wrong = np.ones(attempt.shape, dtype=bool)
    rows, columns = np.minimum(attempt.shape, truth.shape)
    wrong[:rows, :columns] = attempt[:rows, :columns] != truth[:rows, :columns]
    return wrong


def _write(axes: Axes, row: float, column: float, text: str, size: float, **style: str) -> None:
    """Text centred on a cell; the baseline correction centres digits, not their line box."""
    axes.text(
        column + 0.5,
        row + 0.5,
        text,
        fontsize=size,
        ha="center",
        va="center_baseline",
        in_layout=False,  # as in _add
        **style,
    )


def _add(axes: Axes, artist: Artist) -> None:
    """Add what is inside the board. `_bare` sets the board's limits, so that nothing computes the
    extent of each of hundreds of artists, which takes longer than to draw it."""
    axes.add_artist(artist).set_in_layout(False)


def _draw_wrong_cell(
    axes: Axes, row: int, column: int, answered: str, truth: str, cell: float
) -> None:
    """Frame a cell, strike what was answered and put the right character beside it, as large."""
    corner = (column + 0.06, row + 0.06)
    _add(axes, Rectangle(corner, 0.88, 0.88, fill=False, color=VERMILLION, lw=1.5))
    ends = [column + 0.12, column + 0.52], [row + 0.5, row + 0.12]
    _add(axes, Line2D(*ends, color=VERMILLION, lw=0.9))
    _write(axes, row - 0.19, column - 0.19, answered, cell * 0.42, color=INK)
    _write(axes, row + 0.2, column + 0.19, truth, cell * 0.42, color=INK, weight="bold")


def _scatter(axes: Axes, cells: np.ndarray, marker: str, size: float, **style: str) -> None:
    """One marker of `size` points on each cell that is set."""
    y, x = np.nonzero(cells)
    axes.scatter(x + 0.5, y + 0.5, s=size**2, marker=marker, linewidths=0.8, **style)


def _cell_points(axes: Axes, cells: int) -> float:
    """Edge of one of `cells` cells across, in points, before the layout has shrunk the axes."""
    return 72 / axes.get_figure(root=True).dpi * min(axes.bbox.width, axes.bbox.height) / cells


def _size(grid: np.ndarray) -> str:
    return f"{grid.shape[0]}×{grid.shape[1]}"


def _bare(axes: Axes, rows: int, columns: int) -> None:
    """Rows downwards, square cells, no ticks."""
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", xticks=[], yticks=[])
