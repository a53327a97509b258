"""Sudoku: the shuffles that keep a board valid, and the builder of the Sudoku datasets."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from trm.data.boards import Boards, BoardTable, paint_examples, side_of, write_boards
from trm.data.legacy_random import legacy_stream
from trm.data.painted import write_augmentations
from trm.data.specs import SudokuSpec
from trm.data.sudoku_kernels import draw_shuffles, first_invalid, shuffle_boards
from trm.puzzles.kind import Fault
from trm.puzzles.sudoku import KIND, box_of


def _contradiction(answers: np.ndarray, side: int) -> Fault | None:
    """The first of the answers [n, side·side] that breaks the rules, and where."""
    row = first_invalid(answers, *box_of(side))
    if row < 0:
        return None
    return row, KIND.mistake(answers[row].reshape(side, side) + 1)


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
        for i in range(n):
            drawn = draw_shuffles(self.state, self.count, *self.box)
            for board, out in ((questions[i], inputs[i]), (answers[i], labels[i])):
                shuffle_boards(np.broadcast_to(board, (self.count, cells)), *drawn, out)
        return inputs.reshape(-1, cells) + 1, labels.reshape(-1, cells) + 1

    def write(self, split_folder: Path, boards: Boards, groups: int, cells: int) -> None:
        paint_examples(split_folder, boards, groups, cells, self)


class _DrawnShuffles(_Shuffles):
    """The same shuffles, kept as what was drawn: they are applied when an example is read."""

    def write(self, split_folder: Path, boards: Boards, groups: int, cells: int) -> None:
        parts = list(boards)
        drawn = [draw_shuffles(self.state, self.count, *self.box) for _ in range(groups)]
        digits, transposed, rows, columns = map(np.concatenate, zip(*drawn, strict=True))
        write_augmentations(
            split_folder,
            "sudoku",
            questions=np.concatenate([questions for questions, _ in parts]),
            answers=np.concatenate([answers for _, answers in parts]),
            digits=digits,
            transposed=transposed,
            rows=rows,
            columns=columns,
        )


def build_sudoku(spec: SudokuSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv; the boards may have any side of
    KIND.sides, read off the first row.

    Byte-identical to the published builder with its stream seeded before the train split; with
    spec.augment "on_the_fly" its examples are those, kept as their shuffles. Raises TrmError,
    naming the row, for anything that is not a sudoku and its solution.
    """
    side = side_of(table_dir / "train.csv", KIND.sides)
    state, box = legacy_stream(spec.seed), box_of(side)
    tables = {
        split: BoardTable(
            table_dir / f"{split}.csv",
            KIND.charset(side),
            side**2,
            spec.min_difficulty,
            partial(_contradiction, side=side),
        )
        for split in ("train", "test")
    }
    drawn = spec.augment == "on_the_fly" and spec.num_aug > 0
    variants = {
        "train": (_DrawnShuffles if drawn else _Shuffles)(state, spec.num_aug, box),
        "test": _Shuffles(state, 0, box),
    }
    write_boards(output_dir, tables, variants, KIND.vocab_size(side), state, spec, {})
