"""Maze: the builder of the maze datasets."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from trm.data.boards import (
    Boards,
    BoardTable,
    Fault,
    choose,
    paint_examples,
    refuse_known_questions,
    side_of,
    write_blank_identifiers,
    write_board_split,
)
from trm.data.legacy_random import legacy_stream
from trm.data.specs import MazeSpec
from trm.data.write import new_dataset
from trm.puzzles.augmentation import DIHEDRALS, dihedral_transform
from trm.puzzles.maze_kernels import CHARACTERS, GOAL, START, first_without_path, maze_charset

SIDES = range(3, 101)  # Maze-Hard is 30x30


def _missing_path(answers: np.ndarray, side: int) -> Fault | None:
    """The first of the answers [n, side·side] that marks no path from start to goal, and why."""
    for name, token in (("start (S)", START), ("goal (G)", GOAL)):
        counts = (answers == token).sum(axis=1)
        if (counts != 1).any():
            row = int(np.argmax(counts != 1))
            return row, f"has {counts[row]} cells that are its {name}, not 1"
    row = first_without_path(answers, side)
    return None if row < 0 else (row, "marks no path (o) that leads from its start to its goal")


class _Images:
    """A maze and, where asked for, its other seven images, in the order of their ids."""

    dtype = np.dtype(np.uint8)

    def __init__(self, side: int, aug: bool) -> None:
        self.side = side
        self.count = DIHEDRALS if aug else 1

    def make(self, questions: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._images(questions), self._images(answers)

    def write(self, split_folder: Path, boards: Boards, groups: int, cells: int) -> None:
        paint_examples(split_folder, boards, groups, cells, self)

    def _images(self, boards: np.ndarray) -> np.ndarray:
        images = [
            dihedral_transform(board.reshape(self.side, self.side), dihedral).ravel()
            for board in boards
            for dihedral in range(self.count)
        ]
        return np.stack(images)


def build_maze(spec: MazeSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv.

    Byte-identical to the published builder with its stream seeded before the train split. Raises
    TrmError, naming the row, for anything that is not a square maze and a path through it.
    """
    side = side_of(table_dir / "train.csv", SIDES)
    state = legacy_stream(spec.seed)
    keys = {}
    with new_dataset(output_dir) as folder:
        for split, aug in (("train", spec.aug), ("test", False)):
            table = BoardTable(
                table_dir / f"{split}.csv",
                maze_charset(),
                side**2,
                find_fault=partial(_missing_path, side=side),
            )
            wanted = None
            if split == "train":
                wanted = choose(state, table.count(), spec.subsample_size)
            images = _Images(side, aug)
            keys[split] = write_board_split(
                folder, split, table, wanted, len(CHARACTERS) + 1, images
            )
        write_blank_identifiers(folder)
        refuse_known_questions(keys, spec.allow_test_in_train)
