"""Sudoku: the shuffles that keep a board valid, and the builder of the Sudoku datasets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numba import njit

from trm.data.boards import (
    BoardTable,
    Charset,
    choose,
    side_of,
    write_blank_identifiers,
    write_board_split,
)
from trm.data.format import new_dataset
from trm.data.legacy_random import legacy_stream, shuffle, uniform
from trm.data.specs import SudokuSpec

SIDES = (4, 6, 8, 9)


def box_of(side: int) -> tuple[int, int]:
    """Rows and columns of a box: as near to square as the side allows, wider than high."""
    rows = max(r for r in range(1, math.isqrt(side) + 1) if side % r == 0)
    return rows, side // rows


def digit_charset(side: int) -> Charset:
    """Digits 1..side, with `.` and `0` for a blank (0)."""
    digits = "".join(map(str, range(1, side + 1)))
    values = np.full(256, -1, dtype=np.int16)
    values[ord(".")] = 0
    values[ord("0") : ord("0") + side + 1] = np.arange(side + 1)
    return Charset(questions=".0" + digits, answers=digits, values=values)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _shuffled(
    state: np.ndarray,
    questions: np.ndarray,
    answers: np.ndarray,
    box_rows: int,
    box_columns: int,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> None:
    """questions, answers [n, cells] -> inputs, labels [n, count, cells], the plain one first."""
    for b in range(len(questions)):
        inputs[b, 0], labels[b, 0] = questions[b], answers[b]
        for a in range(1, inputs.shape[1]):
            digits, transpose, rows, columns = draw_shuffle(state, box_rows, box_columns)
            apply_shuffle(questions[b], digits, transpose, rows, columns, inputs[b, a])
            apply_shuffle(answers[b], digits, transpose, rows, columns, labels[b, a])


class _Shuffles:
    """A board and its shuffles, drawn from the legacy stream."""

    def __init__(self, state: np.ndarray, num_aug: int, box: tuple[int, int]) -> None:
        self.state, self.count, self.box = state, num_aug + 1, box
        # The published files hold bytes, unless one board was shuffled: then all became int64.
        self.dtype = np.dtype(np.int64 if num_aug else np.uint8)

    def make(self, questions: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, cells = questions.shape
        inputs = np.empty((n, self.count, cells), dtype=self.dtype)
        labels = np.empty_like(inputs)
        _shuffled(self.state, questions, answers, *self.box, inputs, labels)
        return inputs.reshape(-1, cells) + 1, labels.reshape(-1, cells) + 1


def build_sudoku(spec: SudokuSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv; the boards may have any side of
    SIDES, told from the first row.

    Byte-identical to the published builder with its stream seeded before the train split. Raises
    TrmError, naming the row, for anything that is no board.
    """
    side = side_of(table_dir / "train.csv", SIDES)
    charset = digit_charset(side)
    state = legacy_stream(spec.seed)
    with new_dataset(output_dir) as folder:
        for split, num_aug in (("train", spec.num_aug), ("test", 0)):
            table = BoardTable(table_dir / f"{split}.csv", charset, side**2, spec.min_difficulty)
            wanted = None
            if split == "train":
                wanted = choose(state, table.count(), spec.subsample_size)
            shuffles = _Shuffles(state, num_aug, box_of(side))
            write_board_split(folder, split, table, wanted, side + 2, shuffles)
        write_blank_identifiers(folder)
