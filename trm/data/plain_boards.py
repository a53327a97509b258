"""Boards: the builder for any puzzle whose question and answer are equally long texts."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

from trm.data.boards import (
    BoardTable,
    Images,
    choose,
    first_question,
    refuse_known_questions,
    side_of,
    write_blank_identifiers,
    write_board_split,
)
from trm.data.legacy_random import legacy_stream
from trm.data.specs import BoardsSpec
from trm.data.write import new_dataset
from trm.errors import TrmError
from trm.puzzles.board_look import BOARDS, BoardsLook
from trm.puzzles.kind import BoardKind
from trm.puzzles.kinds import board_kind


def build_boards(spec: BoardsSpec, table_dir: Path, output_dir: Path) -> None:
    """Build `output_dir` from `table_dir`/train.csv and test.csv.

    Raises TrmError, naming the row, where a text has another length than the first question or a
    character that the kind lacks, where an answer breaks its rules, and where the boards have no
    such shape.
    """
    kind = board_kind(spec.kind, spec.characters or "")
    rows, columns = _shape(spec, kind, table_dir / "train.csv")
    look = BoardsLook(characters=kind.characters, columns=columns, kind=kind.name)
    state = legacy_stream(spec.seed)
    keys = {}
    with new_dataset(output_dir, spec.extra_files) as folder:
        for split, images in (
            ("train", kind.images if spec.aug else kind.images[:1]),
            ("test", kind.images[:1]),
        ):
            table = BoardTable(
                table_dir / f"{split}.csv",
                kind.charset(columns),
                rows * columns,
                find_fault=lambda answers: kind.first_fault(answers.reshape(-1, rows, columns)),
            )
            wanted = None
            if split == "train":
                wanted = choose(state, table.count(), spec.subsample_size)
            vocab_size, variants = kind.vocab_size(columns), Images(images, columns)
            keys[split] = write_board_split(folder, split, table, wanted, vocab_size, variants)
        write_blank_identifiers(folder)
        (folder / BOARDS).write_text(look.model_dump_json())
        refuse_known_questions(keys, spec.allow_test_in_train)


def _shape(spec: BoardsSpec, kind: BoardKind, path: Path) -> tuple[int, int]:
    """Rows and columns of a board, from the first row."""
    if kind.sides is not None:
        side = side_of(path, kind.sides)
        return side, side
    row, cells = first_question(path)
    columns = isqrt(cells) if spec.columns is None else spec.columns
    if cells % columns or (spec.columns is None and columns**2 != cells):
        shape = "no square" if spec.columns is None else f"no rows of {columns}"
        raise TrmError(
            f"{path}, row {row}: a question of {cells} characters is {shape}: set "
            "`columns` of the dataset to the length of a row"
        )
    return cells // columns, columns
