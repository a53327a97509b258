"""Sudoku: which digits of a board contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from trm.data.boards import cell_name
from trm.data.sudoku import box_of


@dataclass(frozen=True)
class Conflict:
    """Two equal digits where only one may stand; places as `row 1, column 4`."""

    digit: int
    first: str
    second: str
    where: str  # row, column or box


def conflicts(board: np.ndarray, side: int) -> list[Conflict]:
    """Every pair of equal digits in a row, column or box of a board [side·side], 0 for a blank; a
    pair that stands in two of them is named once."""
    found: dict[tuple[int, int], Conflict] = {}
    for where, cells in _units(side):
        for a, b in combinations(cells, 2):
            if board[a] and board[a] == board[b] and (a, b) not in found:
                found[a, b] = Conflict(int(board[a]), cell_name(a, side), cell_name(b, side), where)
    return list(found.values())


def _units(side: int) -> list[tuple[str, list[int]]]:
    """Rows, columns and boxes, each with its cells in order."""
    height, width = box_of(side)
    cells = np.arange(side**2).reshape(side, side)
    boxes = [
        cells[r : r + height, c : c + width]
        for r in range(0, side, height)
        for c in range(0, side, width)
    ]
    return [
        *(("row", row.tolist()) for row in cells),
        *(("column", column.tolist()) for column in cells.T),
        *(("box", box.ravel().tolist()) for box in boxes),
    ]
