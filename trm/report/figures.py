"""Figures, drawn without pyplot: nothing global, same input, same bytes.

Outside ARC's own ten colours the palette is Okabe and Ito's (safe for colour-blind readers), and
no meaning rests on colour alone: wrong cells carry a mark, train lines are dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from trm.errors import TrmError
from trm.files import atomic_write
from trm.scoring.arc import ScoredInput, ScoredTask
from trm.scoring.metrics import entry_of

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, GREY, CLUE_BACKGROUND, WALL = "#222222", "#777777", "#E4E4E4", "#4A4A4A"

# The colours of the ARC website, 0..9.
ARC_COLOURS = (
    *("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00"),
    *("#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25"),
)

MAZE_WALL, MAZE_FREE, MAZE_START, MAZE_GOAL, MAZE_PATH = 1, 2, 3, 4, 5  # tokens of "# SGo"

MAX_DEMONSTRATIONS = 4
MAX_CURVE_POINTS = 400  # a curve of 65,000 logged steps must not become a 10 MB picture

STYLE = {
    "svg.hashsalt": "trm",  # element ids from content, not from a random seed
    "svg.fonttype": "path",  # readable on machines without the font
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 9.0,
}


@dataclass(frozen=True)
class _Curve:
    column: str
    colour: str
    marker: str

    @property
    def label(self) -> str:
        return entry_of(self.column).in_figures


_EXACT = _Curve("exact_accuracy", BLUE, "o")
_CELLS = _Curve("accuracy", ORANGE, "s")
_VOTES = _Curve("ARC/pass@2", GREEN, "^")
_LOSS = _Curve("loss", INK, "o")

# Rows of history.csv and their lines: `test` is of the averaged weights where there are any.
_SPLITS = {"train": "--", "test": "-", "test-raw": ":"}
_NAMES = {"test-raw": "raw weights"}  # on the test set too


# --- the files ----------------------------------------------------------------------------------


def new_figure(width: float, height: float) -> Figure:
    """A white figure of width x height inches that keeps its labels apart by itself."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: Path, description: str) -> None:
    """Write SVG or PNG by `path`'s suffix; `description` travels inside as the picture's text.

    The report reads it back as the alternative text. No date and no version is written, so that
    the same figure gives the same bytes.

    Raises:
        TrmError: another suffix.
    """
    path = Path(path)
    metadata = {"Title": path.stem, "Description": description}
    match path.suffix:
        case ".svg":
            metadata |= {"Date": None, "Creator": None}
        case ".png":
            metadata |= {"Software": None}
        case suffix:
            raise TrmError(f"cannot draw {path}: {suffix!r} is neither .svg nor .png")
    with mpl.rc_context(STYLE), atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:], metadata=metadata, dpi=160)


# --- learning curve -----------------------------------------------------------------------------


def read_history(history_csv: Path) -> pd.DataFrame:
    """history.csv: one row per logged step and split, columns `step`, `split`, metrics.

    Raises:
        TrmError: the file is missing, empty or lacks `step`, `split` or `loss`.
    """
    try:
        history = pd.read_csv(history_csv)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        raise TrmError(f"{history_csv} is missing or empty: train the run first") from None
    except pd.errors.ParserError as error:
        raise TrmError(f"{history_csv} is no CSV ({error}): train the run again") from None
    lacking = {"step", "split", "loss"} - set(history.columns)
    if lacking or history.empty:
        what = f"no column {sorted(lacking)[0]!r}" if lacking else "no rows"
        raise TrmError(f"{history_csv} has {what}: train the run again")
    return history


def draw_learning_curve(history_csv: Path) -> Figure:
    """Accuracies of train and test against the step, and the loss below on its own axis.

    Raises:
        TrmError: as `read_history`.
    """
    history = read_history(history_csv)
    with mpl.rc_context(STYLE):
        figure = new_figure(5.6, 4.6)
        shares, loss = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        for curve in (_EXACT, _CELLS, _VOTES):
            _draw_curve(shares, history, curve)
        _draw_curve(loss, history, _LOSS)
        shares.set_ylim(-0.02, 1.02)
        shares.yaxis.set_major_formatter(PercentFormatter(1.0))
        shares.set_ylabel("right answers")
        loss.set_ylim(bottom=0)
        loss.set_ylabel("loss per example")
        loss.set_xlabel("optimiser step")
        loss.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        loss.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        for axes in (shares, loss):
            axes.grid(color="#DDDDDD", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            _legend_above(axes)
    return figure


def describe_learning_curve(history_csv: Path) -> str:
    """The curve in one sentence, for readers who cannot see it."""
    history = read_history(history_csv)
    steps = f"Learning curve over {history['step'].max():,.0f} steps"
    test = history[history["split"] == "test"].sort_values("step")
    for curve in (_VOTES, _EXACT, _CELLS):  # the most telling that there is
        if curve.column in test and test[curve.column].notna().any():
            values = test[curve.column].dropna()
            return (
                f"{steps}: test {curve.label} {values.iloc[0]:.1%} at the first evaluation, "
                f"{values.iloc[-1]:.1%} at the last, {values.max():.1%} at best."
            )
    return f"{steps}, without an evaluation."


def _draw_curve(axes: Axes, history: pd.DataFrame, curve: _Curve) -> None:
    if curve.column not in history:
        return
    for split, style in _SPLITS.items():
        rows = history[history["split"] == split].dropna(subset=[curve.column])
        if rows.empty:
            continue
        points = thin(rows.sort_values("step")[["step", curve.column]].to_numpy(float))
        few = len(points) <= 40
        axes.plot(
            *points.T,
            linestyle=style,
            linewidth=1.8 if split == "test" else 1.0,
            color=curve.colour,
            marker=curve.marker if few and split != "train" else None,
            markerfacecolor="none" if split == "test-raw" else None,
            markersize=4,
            label=f"{curve.label}, {_NAMES.get(split, split)}",
        )


def thin(points: np.ndarray) -> np.ndarray:
    """Average neighbours so that at most MAX_CURVE_POINTS points [n, 2] remain."""
    if len(points) <= MAX_CURVE_POINTS:
        return points
    return np.array([part.mean(axis=0) for part in np.array_split(points, MAX_CURVE_POINTS)])


def _legend_above(axes: Axes) -> None:
    # Filled column by column: the splits of one curve below each other, where that is not too wide.
    lines = axes.get_lines()
    splits = len({line.get_linestyle() for line in lines})
    columns = 2 if splits > 2 else max(2, -(-len(lines) // 2))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=8)


# --- puzzles ------------------------------------------------------------------------------------


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


def draw_sudoku(
    axes: Axes,
    question: np.ndarray,
    answer: np.ndarray,
    prediction: np.ndarray,
    box: tuple[int, int],
) -> None:
    """Clues bold on grey, filled cells plain; wrong cells framed, struck, the right digit beside.

    Args:
        axes: where to draw.
        question: digits [n, n], 0 where a cell is to be filled.
        answer: digits [n, n].
        prediction: digits [n, n]; 0 where the model gave no digit.
        box: rows and columns of a box, (3, 3) for the usual 9x9.
    """
    n = len(question)
    cell = _cell_points(axes, n)
    for (row, column), digit in np.ndenumerate(prediction):
        truth, is_clue = answer[row, column], question[row, column] != 0
        wrong = digit != truth
        if is_clue:
            _add(axes, Rectangle((column, row), 1, 1, color=CLUE_BACKGROUND, lw=0))
        if wrong:
            answered = str(digit) if digit else ""
            _draw_wrong_cell(axes, row, column, answered, str(truth), cell)
            continue
        look = {"weight": "bold", "color": INK} if is_clue else {"color": BLUE}
        _write(axes, row, column, str(digit), cell * 0.55, **look)
    for line in range(n + 1):
        axes.axhline(line, color=INK, lw=1.8 if line % box[0] == 0 else 0.4)
        axes.axvline(line, color=INK, lw=1.8 if line % box[1] == 0 else 0.4)
    _bare(axes, n, n)


def draw_characters(
    axes: Axes, question: np.ndarray, answer: np.ndarray, prediction: np.ndarray, characters: str
) -> None:
    """Any board of characters: what changed is blue; wrong cells framed, struck, the right one
    beside.

    Args:
        axes: where to draw.
        question, answer, prediction: tokens [rows, columns]; 0 stands for no character.
        characters: what tokens 1, 2, … stand for.
    """
    rows, columns = question.shape
    cell = _cell_points(axes, max(rows, columns))
    letters = " " + characters
    for (row, column), token in np.ndenumerate(prediction):
        wrong = token != answer[row, column]
        if wrong:
            right = letters[answer[row, column]]
            _draw_wrong_cell(axes, row, column, letters[token], right, cell)
            continue
        colour = INK if token == question[row, column] else BLUE
        _write(axes, row, column, letters[token], cell * 0.55, color=colour)
    axes.hlines(range(rows + 1), 0, columns, color=INK, lw=0.4)
    axes.vlines(range(columns + 1), 0, rows, color=INK, lw=0.4)
    _bare(axes, rows, columns)


_LARGE_MAZE = 15  # cells a side
_WRONG_END = {"facecolor": "white", "edgecolor": VERMILLION, "linestyle": (0, (2, 1)), "lw": 1.2}


def draw_maze(axes: Axes, grid: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
    """The maze with the predicted path: right cells dots, wrong ones crosses, missed ones rings.

    Start and goal are letters on green, or on white within dashes where they are wrong.

    Args:
        axes: where to draw.
        grid: tokens [n, n] of the question (1 wall, 2 free, 3 start, 4 goal).
        truth: tokens [n, n] with the shortest path (5).
        prediction: tokens [n, n].
    """
    n = len(grid)
    axes.imshow(
        np.where(grid == MAZE_WALL, 1, 0),
        cmap=ListedColormap(["#FFFFFF", WALL]),
        vmin=0,
        vmax=1,
        interpolation="none",
        extent=(0, n, n, 0),
    )
    on_path, predicted = truth == MAZE_PATH, prediction == MAZE_PATH
    missed = on_path & (prediction == MAZE_FREE)
    wrong = (prediction != truth) & ~missed & (grid != MAZE_START) & (grid != MAZE_GOAL)
    cell = _cell_points(axes, n)
    _scatter(axes, on_path & predicted, "o", cell * 0.4, color=BLUE)
    _scatter(axes, missed, "o", cell * 0.6, facecolor="none", edgecolor=ORANGE)
    _scatter(axes, wrong, "X", cell, facecolor=VERMILLION, edgecolor="none")
    for token, letter in ((MAZE_START, "S"), (MAZE_GOAL, "G")):
        for row, column in np.argwhere(grid == token):
            # In a large maze larger than its cell, or the letter could not be read.
            edge = 0.4 if n > _LARGE_MAZE else 0.0
            corner, size = (column - edge, row - edge), 1 + 2 * edge
            right = prediction[row, column] == token
            ground = {"color": GREEN, "lw": 0} if right else _WRONG_END  # a cross hides the letter
            box = Rectangle(corner, size, size, zorder=3, clip_on=False, **ground)
            axes.add_patch(box)
            colour = "white" if right else INK
            _write(axes, row, column, letter, cell * size * 0.72, color=colour, weight="bold")
    _bare(axes, n, n)


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
    """Add what lies inside the board. `_bare` sets the board's limits, so that nobody needs to ask
    each of hundreds of artists for its extent, which takes longer than to draw it."""
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
