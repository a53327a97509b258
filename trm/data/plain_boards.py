"""Boards: the builder for any puzzle whose question and answer are equally long texts."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

import numpy as np

from trm.data.boards import (
    Boards,
    BoardTable,
    choose,
    first_question,
    paint_examples,
    refuse_known_questions,
    write_blank_identifiers,
    write_board_split,
)
from trm.data.legacy_random import legacy_stream
from trm.data.specs import BoardsSpec
from trm.data.write import new_dataset
from trm.errors import TrmError
from trm.puzzles.board_look import BOARDS, BoardsLook
from trm.puzzles.characters import Charset


class _AsItIs:
    """A board without images of it."""

    count = 1
    dtype = np.dtype(np.uint8)

    def make(self, questions: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return questions, answers

    def write(self, split_folder: Path, boards: Boards, groups: int, cells: int) -> None:
        paint_examples(split_folder, boards, groups, cells, self)


def build_boards(spec: BoardsSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv.

    Raises TrmError, naming the row, where a text has another length than the first question or a
    character that spec.characters lacks, and where the boards have no such shape.
    """
    columns, cells = _shape(spec, table_dir / "train.csv")
    look = BoardsLook(characters=spec.characters, columns=columns)
    state = legacy_stream(spec.seed)
    keys = {}
    with new_dataset(output_dir, spec.extra_files) as folder:
        for split in ("train", "test"):
            table = BoardTable(table_dir / f"{split}.csv", Charset.of(spec.characters), cells)
            wanted = None
            if split == "train":
                wanted = choose(state, table.count(), spec.subsample_size)
            vocab_size = len(spec.characters) + 1
            keys[split] = write_board_split(folder, split, table, wanted, vocab_size, _AsItIs())
        write_blank_identifiers(folder)
        (folder / BOARDS).write_text(look.model_dump_json())
        refuse_known_questions(keys, spec.allow_test_in_train)


def _shape(spec: BoardsSpec, path: Path) -> tuple[int, int]:
    """Columns and cells of a board, from the first row."""
    row, cells = first_question(path)
    columns = isqrt(cells) if spec.columns is None else spec.columns
    if cells % columns or (spec.columns is None and columns**2 != cells):
        shape = "no square" if spec.columns is None else f"no rows of {columns}"
        raise TrmError(
            f"{path}, row {row}: a question of {cells} characters is {shape}: set "
            "`columns` of the dataset to the length of a row"
        )
    return columns, cells
