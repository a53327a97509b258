"""The tokens of a maze, and the loops that find its shortest paths."""

from __future__ import annotations

import numpy as np

from trm.puzzles.characters import Charset
from trm.runtime.jit import compiled

CHARACTERS = "# SGo"  # wall, floor, start, goal, path: tokens 1..5
WALL, FLOOR, START, GOAL, PATH = range(1, len(CHARACTERS) + 1)


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


def maze_charset() -> Charset:
    """The five characters as tokens."""
    return Charset.of(CHARACTERS, open=" ")
