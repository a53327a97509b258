"""The inner loops of the Sudoku builder: drawing shuffles and applying them."""

from __future__ import annotations

import numpy as np

from trm.data.legacy_random import shuffle, uniform
from trm.runtime.jit import compiled


@compiled
def _line_order(state: np.ndarray, box_lines: int, boxes: int) -> np.ndarray:
    """A permutation of lines that keeps boxes whole: of the bands, then inside each."""
    bands = np.arange(boxes)
    shuffle(state, bands)
    order = np.empty(boxes * box_lines, dtype=np.int64)
    for i, band in enumerate(bands):
        inside = np.arange(box_lines)
        shuffle(state, inside)
        order[i * box_lines : (i + 1) * box_lines] = band * box_lines + inside
    return order


@compiled
def draw_shuffle(
    state: np.ndarray, box_rows: int, box_columns: int
) -> tuple[np.ndarray, bool, np.ndarray, np.ndarray]:
    """Digits [side + 1] (0 stays), transpose, row order [side], column order [side].

    A board is transposed before its lines are exchanged; with oblong boxes it never is, and
    nothing is drawn for it.
    """
    side = box_rows * box_columns
    digits = np.arange(side + 1)
    shuffle(state, digits[1:])
    transpose = box_rows == box_columns and uniform(state) < 0.5
    rows = _line_order(state, box_rows, side // box_rows)
    columns = _line_order(state, box_columns, side // box_columns)
    return digits, transpose, rows, columns


@compiled
def apply_shuffle(
    board: np.ndarray,
    digits: np.ndarray,
    transpose: bool,
    rows: np.ndarray,
    columns: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out [side·side] with the image of board [side·side]."""
    side = len(rows)
    for i in range(side):
        for j in range(side):
            source = columns[j] * side + rows[i] if transpose else rows[i] * side + columns[j]
            out[i * side + j] = digits[board[source]]


@compiled
def first_invalid(boards: np.ndarray, box_rows: int, box_columns: int) -> int:
    """The first of the boards [n, side·side], all digits 1 to side, with two equal digits in a row,
    column or box; -1 where there is none."""
    side = box_rows * box_columns
    seen = np.empty((3, side), dtype=np.uint32)  # digits as bits, by row, column and box
    for n in range(len(boards)):
        seen[:] = 0
        for i in range(side):
            for j in range(side):
                bit = np.uint32(1) << np.uint32(boards[n, i * side + j])
                box = i // box_rows * box_rows + j // box_columns
                if (seen[0, i] | seen[1, j] | seen[2, box]) & bit:
                    return n
                seen[0, i] |= bit
                seen[1, j] |= bit
                seen[2, box] |= bit
    return -1


@compiled
def draw_shuffles(
    state: np.ndarray, count: int, box_rows: int, box_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw `count` images of one board, the plain one first: digits [count, side + 1], transposed
    [count], rows [count, side] and columns [count, side], all uint8."""
    side = box_rows * box_columns
    digits = np.empty((count, side + 1), dtype=np.uint8)
    transposed = np.zeros(count, dtype=np.uint8)
    rows = np.empty((count, side), dtype=np.uint8)
    columns = np.empty((count, side), dtype=np.uint8)
    digits[0] = np.arange(side + 1)
    rows[0] = columns[0] = np.arange(side)
    for a in range(1, count):
        digits[a], transposed[a], rows[a], columns[a] = draw_shuffle(state, box_rows, box_columns)
    return digits, transposed, rows, columns


@compiled
def shuffle_boards(
    boards: np.ndarray,
    digits: np.ndarray,
    transposed: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out [k, cells] with the images of boards [k, cells], each under its own shuffle."""
    for i in range(len(boards)):
        apply_shuffle(boards[i], digits[i], transposed[i], rows[i], columns[i], out[i])
