"""Pictures of some solved and some failed test puzzles of one result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trm.data.read import load_split
from trm.data.specs import Kind
from trm.errors import TrmError
from trm.puzzles.board_look import read_look
from trm.puzzles.sudoku_rules import box_of
from trm.report import figures
from trm.scoring.arc import ScoredInput, check_predictions, score_arc
from trm.scoring.gallery import spread
from trm.scoring.predictions import Predictions, exactly_right

N_EACH = 3  # solved and failed pictures of square puzzles
N_EACH_ARC = 2  # an ARC task takes a whole row

_TITLE = {"fontsize": 8.5, "weight": "bold"}
_SUDOKU_KEY = "bold on grey: given   plain: filled in   framed and struck: wrong (bold: right)"
_CHARACTERS_KEY = "black: as given   blue: filled in   framed and struck: wrong (bold: right)"
_MAZE_KEY = "● path, right   ○ path, missed   ✖ wrong cell   S start   G goal (in dashes: wrong)"


@dataclass(frozen=True)
class Examples:
    """The picture and what it shows in words."""

    figure: Figure
    description: str


@dataclass(frozen=True)
class _Board:
    """One puzzle, tokens [rows, columns]."""

    question: np.ndarray
    answer: np.ndarray
    prediction: np.ndarray


def draw_examples(dataset: Path, kind: Kind, predictions: Predictions) -> Examples:
    """Draw test puzzles spread evenly over the solved and over the failed ones.

    Raises:
        TrmError: the predictions are not of the dataset's test split.
    """
    with mpl.rc_context(figures.STYLE):
        match kind:
            case "arc":
                return _draw_arc(dataset, predictions)
            case "sudoku":
                return _draw_boards(dataset, predictions, _draw_sudoku, _SUDOKU_KEY)
            case "maze":
                return _draw_boards(dataset, predictions, _draw_maze, _MAZE_KEY)
            case "boards":
                look = read_look(dataset)
                draw = partial(figures.draw_characters, characters=look.characters)
                return _draw_boards(
                    *(dataset, predictions, lambda axes, board: draw(axes, *vars(board).values())),
                    *(_CHARACTERS_KEY, look.columns),
                )


def _draw_arc(dataset: Path, predictions: Predictions) -> Examples:
    score = score_arc(dataset, predictions.preds, predictions.q_halt_logits)
    asked = [(task, test) for task in score.tasks for test in task.tests]
    solved = np.array([test.solved() for _, test in asked])
    chosen = _choose(solved, N_EACH_ARC)
    figure = figures.new_figure(7.6, 2.75 * len(chosen))
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for part, index in zip(parts, chosen, strict=True):
        task, test = asked[index]
        verdict = _verdict(solved[index]) if score.metrics else "No solution known"
        title = f"{verdict}: task {task.name}, {_votes(test)}"
        part.suptitle(title, **_TITLE)
        figures.draw_arc_task(part, task, test, [c.grid for c in test.attempts])
    what = "test inputs (two attempts each)"
    if not score.metrics:
        described = f"{len(chosen)} of {len(solved):,} {what} without known solutions."
        return Examples(figure, described)
    return Examples(figure, _describe(chosen, solved, what))


def _draw_boards(
    dataset: Path,
    predictions: Predictions,
    draw: Callable[[Axes, _Board], None],
    key: str,
    width: int | None = None,
) -> Examples:
    """`width` is that of a board that is no square."""
    split = load_split(dataset, "test")
    inputs = np.concatenate([arrays.inputs for arrays in split.sets.values()])
    labels = np.concatenate([arrays.labels for arrays in split.sets.values()])
    preds = predictions.preds
    check_predictions(preds, predictions.q_halt_logits, len(inputs), split.metadata)
    solved = exactly_right(preds, labels, split.metadata.ignore_label_id)
    chosen = _choose(solved, N_EACH)
    columns = min(N_EACH, len(chosen))
    rows = -(-len(chosen) // columns)
    width = width or isqrt(split.metadata.seq_len)
    figure = figures.new_figure(7.6, 2.85 * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[len(chosen) :]:
        axes.set_axis_off()
    for axes, index in zip(all_axes, chosen, strict=False):
        board = _Board(*(tokens[index].reshape(-1, width) for tokens in (inputs, labels, preds)))
        draw(axes, board)
        n_wrong = int((board.prediction != board.answer).sum())
        wrong = f", {n_wrong} wrong cell{'s' if n_wrong > 1 else ''}" if n_wrong else ""
        axes.set_title(f"{_verdict(solved[index])}: no. {index + 1:,}{wrong}", **_TITLE)
    figure.supxlabel(key, fontsize=8)
    return Examples(figure, _describe(chosen, solved, "test puzzles"))


def _draw_sudoku(axes: Axes, board: _Board) -> None:
    # Token = digit + 1; a prediction of the padding token is no digit either.
    digits = [np.maximum(tokens.astype(int) - 1, 0) for tokens in vars(board).values()]
    figures.draw_sudoku(axes, *digits, box=box_of(len(board.question)))


def _draw_maze(axes: Axes, board: _Board) -> None:
    figures.draw_maze(axes, board.question, board.answer, board.prediction)


def _choose(solved: np.ndarray, n_each: int) -> list[int]:
    """Positions of up to n_each solved, then of up to n_each failed puzzles.

    Evenly spread over the split, as its beginning may be easier than its end.
    """
    if not len(solved):
        raise TrmError("the dataset's test split is empty: build it with at least one puzzle")
    chosen: list[int] = []
    for positions in (np.flatnonzero(solved), np.flatnonzero(~solved)):
        chosen += spread(positions, n_each)
    return chosen


def _verdict(solved: bool) -> str:
    return "Solved ✓" if solved else "Failed ✗"


def _votes(test: ScoredInput) -> str:
    votes = " and ".join(f"{candidate.votes:,}" for candidate in test.attempts)
    total = sum(candidate.votes for candidate in test.candidates)
    return f"{votes} of {total:,} votes"


def _describe(chosen: list[int], solved: np.ndarray, what: str) -> str:
    n_solved = int(solved[chosen].sum())
    return (
        f"{n_solved} solved and {len(chosen) - n_solved} failed {what}, "
        f"picked evenly from {int(solved.sum()):,} solved of {len(solved):,}."
    )
