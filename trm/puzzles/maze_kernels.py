"""The compiled loops of mazes: shortest paths, and which answers are one."""

from __future__ import annotations

import math

import numpy as np

from trm.errors import TrmError
from trm.puzzles.maze import FLOOR, GOAL, PATH, START, WALL
from trm.runtime.jit import compiled


@compiled
def neighbour(cell: int, direction: int, side: int) -> int:
    """The cell above (0), left (1), right (2) or below (3); negative beyond the edge."""
    if direction == 0:
        return cell - side
    if direction == 1:
        return cell - 1 if cell % side else -1
    if direction == 2:
        return cell + 1 if (cell + 1) % side else -1
    return cell + side if cell + side < side * side else -1


@compiled
def steps_to(free: np.ndarray, side: int, goal: int) -> np.ndarray:
    """Steps int64 [side·side] from each cell to `goal` through free cells (bool [side·side]);
    -1 where no path leads there."""
    steps = np.full(side * side, -1, dtype=np.int64)
    queue = np.empty(side * side, dtype=np.int64)
    steps[goal], queue[0] = 0, goal
    head, tail = 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        for direction in range(4):
            other = neighbour(cell, direction, side)
            if other >= 0 and free[other] and steps[other] < 0:
                steps[other] = steps[cell] + 1
                queue[tail] = other
                tail += 1
    return steps


@compiled
def shortest_path(free: np.ndarray, side: int, start: int, goal: int) -> np.ndarray:
    """Cells [steps + 1] of a shortest path, both ends included; of several, the one that at each
    cell takes the first of up, left, right, down. Empty where there is none."""
    steps = steps_to(free, side, goal)
    path = np.empty(steps[start] + 1, dtype=np.int64)
    cell = start
    for k in range(len(path)):
        path[k] = cell
        for direction in range(4):
            other = neighbour(cell, direction, side)
            if other >= 0 and steps[other] >= 0 and steps[other] < steps[cell]:
                cell = other
                break
    return path


@compiled
def leads_to_goal(answer: np.ndarray, side: int) -> bool:
    """Whether the cells of `answer` [side·side] that are path lead from its start to its goal."""
    start, goal = np.argmax(answer == START), np.argmax(answer == GOAL)
    marked = (answer == PATH) | (answer == START) | (answer == GOAL)
    return steps_to(marked, side, goal)[start] >= 0


@compiled
def first_without_path(answers: np.ndarray, side: int) -> int:
    """The first of the answers [n, side·side] whose path does not lead from start to goal; -1."""
    for row in range(len(answers)):
        if not leads_to_goal(answers[row], side):
            return row
    return -1


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
