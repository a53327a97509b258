"""Sudoku: its sides and boxes, and which digits of a board contradict each other.

Apart from the builder, so that scoring and figures start without its compiled loops (numba).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import isqrt

import numpy as np

from trm.errors import TrmError
from trm.puzzles.board_look import cell_name
from trm.puzzles.characters import Charset

SIDES = (4, 6, 8, 9)  # of boards that are built, generated and solved: a cell is one digit


def box_of(side: int) -> tuple[int, int]:
    """Rows and columns of a box: as near to square as the side allows, wider than high.

    TrmError where the side is a prime number, which leaves no boxes but rows.
    """
    rows = max(r for r in range(1, isqrt(side) + 1) if side % r == 0)
    if rows == 1:
        raise TrmError(f"a board of {side}x{side} cells has no boxes: it is not a sudoku")
    return rows, side // rows


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


def digit_charset(side: int) -> Charset:
    """Digits 1..side, with `.` and `0` for a blank (0)."""
    digits = "".join(map(str, range(1, side + 1)))
    values = np.full(256, -1, dtype=np.int16)
    values[ord(".")] = 0
    values[ord("0") : ord("0") + side + 1] = np.arange(side + 1)
    return Charset(questions=".0" + digits, answers=digits, values=values, open=".")
