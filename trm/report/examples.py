"""Pictures of some solved and some failed test puzzles of one result."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

import matplotlib as mpl
import numpy as np

from trm.data.read import load_split
from trm.data.specs import Kind
from trm.errors import TrmError
from trm.puzzles.kinds import kind_of_boards
from trm.report import figures
from trm.report.boards import draw_arc_task, draw_board
from trm.report.drawing import Drawn, Source
from trm.scoring.arc import ArcScore, ScoredInput, check_predictions
from trm.scoring.gallery import spread
from trm.scoring.predictions import Predictions, exactly_right

N_EACH = 3  # solved and failed pictures of square puzzles
N_EACH_ARC = 2  # an ARC task takes a whole row

_TITLE = {"fontsize": 8.5, "weight": "bold"}


def draw(source: Source) -> Drawn:
    """Draw test puzzles spread evenly over the solved and over the failed ones.

    Raises:
        TrmError: the answers are not of the dataset's test split.
    """
    if source.kind == "arc":
        return draw_tasks(source.score)
    return draw_boards(source.dataset, source.kind, source.predictions)


def draw_tasks(score: ArcScore) -> Drawn:
    """ARC tasks with the answers that count."""
    with mpl.rc_context(figures.STYLE):
        return _draw_tasks(score)


def draw_boards(dataset: Path, kind: Kind, predictions: Predictions) -> Drawn:
    """Boards with the model's answers; TrmError as `draw`."""
    with mpl.rc_context(figures.STYLE):
        return _draw_boards(dataset, kind, predictions)


def _draw_tasks(score: ArcScore) -> Drawn:
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
        draw_arc_task(part, task, test, [c.grid for c in test.attempts])
    what = "test inputs (two attempts each)"
    if not score.metrics:
        described = f"{len(chosen)} of {len(solved):,} {what} without known solutions."
        return Drawn(figure, described)
    return Drawn(figure, _describe(chosen, solved, what))


def _draw_boards(dataset: Path, name: Kind, predictions: Predictions) -> Drawn:
    kind, columns_of_board = kind_of_boards(dataset, name)
    split = load_split(dataset, "test")
    inputs = np.concatenate([arrays.inputs for arrays in split.sets.values()])
    labels = np.concatenate([arrays.labels for arrays in split.sets.values()])
    preds = predictions.preds
    check_predictions(preds, predictions.q_halt_logits, len(inputs), split.metadata)
    solved = exactly_right(preds, labels, split.metadata.ignore_label_id)
    chosen = _choose(solved, N_EACH)
    columns = min(N_EACH, len(chosen))
    rows = -(-len(chosen) // columns)
    width = columns_of_board or isqrt(split.metadata.seq_len)
    symbols = np.array(list(kind.symbols))
    figure = figures.new_figure(7.6, 2.85 * rows)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes[len(chosen) :]:
        axes.set_axis_off()
    for axes, index in zip(all_axes, chosen, strict=False):
        boards = [symbols[tokens[index]].reshape(-1, width) for tokens in (inputs, labels, preds)]
        draw_board(axes, kind.style, *boards, box=kind.box(width))
        n_wrong = int((preds[index] != labels[index]).sum())
        wrong = f", {n_wrong} wrong cell{'s' if n_wrong > 1 else ''}" if n_wrong else ""
        axes.set_title(f"{_verdict(solved[index])}: no. {index + 1:,}{wrong}", **_TITLE)
    figure.supxlabel(kind.figure_key, fontsize=8)
    return Drawn(figure, _describe(chosen, solved, "test puzzles"))


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
