"""Boards: the builder for any puzzle whose question and answer are equally long texts."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

from trm.data.boards import build_kind, first_question, side_of
from trm.data.specs import BoardsSpec
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
    shape = _shape(spec, kind, table_dir / "train.csv")
    look = BoardsLook(characters=kind.characters, columns=shape[1], kind=kind.name)
    build_kind(kind, shape, spec, table_dir, output_dir, {BOARDS: look.model_dump_json()})


def _shape(spec: BoardsSpec, kind: BoardKind, path: Path) -> tuple[int, int]:
    """Rows and columns of a board, from the first row."""
    if kind.sides is not None:
        side = side_of(path, kind.sides)
        return side, side
    row, cells = first_question(path)
    columns = isqrt(cells) if spec.columns is None else spec.columns
    if cells % columns or (spec.columns is None and columns**2 != cells):
        shape = "not a square" if spec.columns is None else f"not rows of {columns}"
        raise TrmError(
            f"{path}, row {row}: a question of {cells} characters is {shape}: set "
            "`columns` of the dataset to the length of a row"
        )
    return cells // columns, columns
