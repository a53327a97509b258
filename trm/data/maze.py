"""Maze: the builder of the maze datasets."""

from __future__ import annotations

from pathlib import Path

from trm.data.boards import (
    BoardTable,
    Images,
    choose,
    refuse_known_questions,
    side_of,
    write_blank_identifiers,
    write_board_split,
)
from trm.data.legacy_random import legacy_stream
from trm.data.specs import MazeSpec
from trm.data.write import new_dataset
from trm.puzzles.maze import KIND


def build_maze(spec: MazeSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv.

    Byte-identical to the published builder with its stream seeded before the train split. Raises
    TrmError, naming the row, for anything that is not a square maze and a path through it.
    """
    side = side_of(table_dir / "train.csv", KIND.sides)
    state = legacy_stream(spec.seed)
    keys = {}
    with new_dataset(output_dir) as folder:
        for split, images in (
            ("train", KIND.images if spec.aug else KIND.images[:1]),
            ("test", KIND.images[:1]),
        ):
            table = BoardTable(
                table_dir / f"{split}.csv",
                KIND.charset(side),
                side**2,
                find_fault=lambda answers: KIND.first_fault(answers.reshape(-1, side, side)),
            )
            wanted = None
            if split == "train":
                wanted = choose(state, table.count(), spec.subsample_size)
            keys[split] = write_board_split(
                folder, split, table, wanted, KIND.vocab_size(side), Images(images, side)
            )
        write_blank_identifiers(folder)
        refuse_known_questions(keys, spec.allow_test_in_train)
