"""Maze score: any shortest path counts, where the exact metric knows only the one in the answer."""

from __future__ import annotations

import math

import numpy as np

from trm.errors import TrmError
from trm.puzzles.maze_kernels import (
    FLOOR,
    GOAL,
    PATH,
    START,
    WALL,
    leads_to_goal,
    steps_to,
)
from trm.runtime.jit import compiled


def maze_metrics(inputs: np.ndarray, preds: np.ndarray) -> dict[str, float]:
    """{"valid_path": share 0..1 of the rows with a valid shortest path}; arguments and errors as
    of `valid_shortest_path`, at least one row."""
    return {"valid_path": float(valid_shortest_path(inputs, preds).mean())}


def valid_shortest_path(inputs: np.ndarray, preds: np.ndarray) -> np.ndarray:
    """Which predictions solve their maze, by whatever shortest path.

    True where the prediction keeps every cell of the question, except that some floor is PATH, and
    these cells are exactly those of a shortest path from S to G.

    Args:
        inputs: tokens [N, S] of a test split, S = side·side, row by row (`trm.data.maze`).
        preds: tokens [N, S].

    Returns:
        bool [N].

    Raises:
        TrmError: the shapes differ, the boards are no squares, or a question has not one S and
            one G.
    """
    if inputs.ndim != 2 or inputs.shape != preds.shape:
        raise TrmError(f"predictions {preds.shape} do not fit the test split's {inputs.shape}")
    side = math.isqrt(inputs.shape[1])
    if side**2 != inputs.shape[1]:
        raise TrmError(f"a board of {inputs.shape[1]} cells is no square maze")
    for name, token in (("start", START), ("goal", GOAL)):
        counts = (inputs == token).sum(axis=1)
        if (counts != 1).any():
            row = int(np.argmax(counts != 1))
            raise TrmError(f"test row {row} is no maze: its {name}s are {counts[row]}, not 1")
    return _valid(np.ascontiguousarray(inputs), np.ascontiguousarray(preds), side)


@compiled
def _valid(inputs: np.ndarray, preds: np.ndarray, side: int) -> np.ndarray:
    valid = np.zeros(len(inputs), dtype=np.bool_)
    for row in range(len(inputs)):
        valid[row] = _keeps_question(inputs[row], preds[row]) and _is_shortest(
            inputs[row], preds[row], side
        )
    return valid


@compiled
def _keeps_question(question: np.ndarray, answer: np.ndarray) -> bool:
    for cell in range(len(question)):
        marked = question[cell] == FLOOR and answer[cell] == PATH
        if answer[cell] != question[cell] and not marked:
            return False
    return True


@compiled
def _is_shortest(question: np.ndarray, answer: np.ndarray, side: int) -> bool:
    """Whether as many cells are marked as a shortest path has, and lead from S to G.

    Both together make them that path: through n marked cells no path is longer than n + 1 steps.
    """
    start, goal = np.argmax(question == START), np.argmax(question == GOAL)
    shortest = steps_to(question != WALL, side, goal)[start]  # -1, which no count fits, without one
    return np.count_nonzero(answer == PATH) == shortest - 1 and leads_to_goal(answer, side)
