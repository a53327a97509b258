"""Mazes made here: long shortest paths at the wall densities where random walls have short ones.

A maze [side·side] holds the tokens of `trm.data.maze.CHARACTERS`, row by row; in the answer the
floor on the marked path is PATH, and S and G stay. Its length is counted in steps from cell to
neighbouring cell, so that n steps have n - 1 marked cells, as in Maze-Hard's rating.

First a spanning tree over every other cell gives a maze whose only path is long; then walls are
opened at random, except those whose loss would make the shortest path too short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trm.data.specs import GenerateMaze
from trm.errors import TrmError
from trm.puzzles.augmentation import DIHEDRALS, dihedral_transform
from trm.puzzles.maze import CHARACTERS, FLOOR, GOAL, PATH, START, WALL
from trm.puzzles.maze_kernels import neighbour, shortest_path, steps_to
from trm.runtime.jit import compiled


@dataclass(frozen=True)
class Maze:
    """Tokens uint8 [side·side] of question and answer, and the steps from S to G."""

    question: np.ndarray
    answer: np.ndarray
    steps: int


def maze_text(board: np.ndarray) -> str:
    """The characters of tokens [side·side]."""
    return "".join(CHARACTERS[token - 1] for token in board.tolist())


def maze_form(board: np.ndarray) -> bytes:
    """The lowest of the board's eight images: equal for mazes that are images of each other."""
    grid = board.reshape(math.isqrt(len(board)), -1)
    return min(dihedral_transform(grid, d).tobytes() for d in range(DIHEDRALS))


def check_possible(spec: GenerateMaze) -> None:
    """Raise TrmError for a path or a density that no maze of `random_maze` has."""
    cells = spec.side**2
    low, high = spec.wall_density
    if spec.min_path > (longest := 2 * (_lattice(spec.side) ** 2 - 1)):
        raise TrmError(
            f"no maze of side {spec.side} made here has a path of {spec.min_path} steps: "
            f"min_path may be {longest} at most"
        )
    if low * cells > (most := _tree_walls(spec.side)):
        raise TrmError(
            f"no maze of side {spec.side} made here has {low:.0%} walls: "
            f"wall_density may begin at {most / cells:.3f} at most"
        )
    if math.ceil(low * cells) > math.floor(high * cells):
        raise TrmError(
            f"no whole number of walls is {low} to {high} of the {cells} cells of a maze of side "
            f"{spec.side}: widen wall_density"
        )


def random_maze(spec: GenerateMaze, rng: np.random.Generator) -> Maze | None:
    """A random maze; None where its path is too short or its walls are too many.

    The number of walls is drawn within the density's limits, and the length to keep up to half as
    much again as spec.min_path, so that lengths do not pile up at the minimum.

    The path marked is the shortest one found by breadth-first search from G; of several, the one
    that from S on always takes the first of up, left, right, down that is a step nearer to G.
    """
    side, cells = spec.side, spec.side**2
    low, high = spec.wall_density
    fewest, most = math.ceil(low * cells), math.floor(high * cells)
    # Drawn here: numba's cache does not survive a Generator among the arguments.
    directions = rng.permuted(np.tile(np.arange(4), (_lattice(side) ** 2, 1)), axis=1)
    # With an even side the lattice leaves a row and a column over, at either end.
    top, left = rng.integers(2 - side % 2, size=2)
    order = rng.permutation(cells)
    walls = rng.integers(fewest, min(most, _tree_walls(side)) + 1)
    kept_steps = rng.integers(spec.min_path, spec.min_path * 3 // 2 + 1)

    free = _carve_tree(directions, side, top * side + left)
    start, goal = _far_ends(free, side, top * side + left)
    walls = _open_walls(free, order, side, start, goal, kept_steps, walls)
    path = shortest_path(free, side, start, goal)
    if walls > most or len(path) - 1 < spec.min_path:
        return None
    question = np.where(free, FLOOR, WALL).astype(np.uint8)
    answer = question.copy()
    answer[path] = PATH
    for board in (question, answer):
        board[start], board[goal] = START, GOAL
    return Maze(question, answer, len(path) - 1)


def _lattice(side: int) -> int:
    """Rows, and columns, of the spanning tree's nodes: every other cell."""
    return (side + 1) // 2


def _tree_walls(side: int) -> int:
    """Walls of a spanning tree: a tree of n nodes frees those and n - 1 cells between."""
    return side**2 - (2 * _lattice(side) ** 2 - 1)


# --- making ---------------------------------------------------------------------------------------


@compiled
def _carve_tree(directions: np.ndarray, side: int, origin: int) -> np.ndarray:
    """Free cells bool [side·side] of a tree grown depth first, which winds more than others.

    directions [nodes, 4]: the order in which each node tries its neighbours; origin: the cell of
    the first node.
    """
    lattice = (side + 1) // 2
    free = np.zeros(side * side, dtype=np.bool_)
    tried = np.zeros(len(directions), dtype=np.int64)
    stack = np.empty(len(directions), dtype=np.int64)
    stack[0], depth = 0, 1
    free[origin] = True
    while depth:
        node = stack[depth - 1]
        if tried[node] == 4:
            depth -= 1
            continue
        other = neighbour(node, directions[node, tried[node]], lattice)
        tried[node] += 1
        if other < 0:
            continue
        here = origin + node // lattice * 2 * side + node % lattice * 2
        there = origin + other // lattice * 2 * side + other % lattice * 2
        if not free[there]:
            free[there] = free[(here + there) // 2] = True
            stack[depth] = other
            depth += 1
    return free


@compiled
def _far_ends(free: np.ndarray, side: int, cell: int) -> tuple[int, int]:
    """The two ends of a longest path of the tree with that cell."""
    start = np.argmax(steps_to(free, side, cell))
    return start, np.argmax(steps_to(free, side, start))


@compiled
def _open_walls(
    free: np.ndarray,
    order: np.ndarray,
    side: int,
    start: int,
    goal: int,
    kept_steps: int,
    walls: int,
) -> int:
    """Open walls in order until `walls` are left, none that leaves fewer than `kept_steps` steps
    (or than there were). Returns how many walls are left.

    Once is enough: a wall that had to stay has to stay for good, as openings only shorten paths.
    """
    kept_steps = min(kept_steps, steps_to(free, side, goal)[start])
    left = np.count_nonzero(~free)
    for cell in order:
        if left == walls:
            break
        if not free[cell]:
            free[cell] = True
            if steps_to(free, side, goal)[start] < kept_steps:
                free[cell] = False
            else:
                left -= 1
    return left
