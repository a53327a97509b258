"""Every side of sudoku that is built is also drawn, scored and solved; others are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.runs import random_run
from trm.data.boards import COLUMNS
from trm.data.generate import generate_table
from trm.data.read import load_split
from trm.data.specs import GenerateSudoku, SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.errors import TrmError
from trm.puzzles.sudoku import SIDES, box_of
from trm.report.examples import draw_boards
from trm.scoring.gallery import gallery_of_boards, load_gallery, save_gallery
from trm.scoring.predictions import Predictions
from trm.solve.command import verdict
from trm.solve.trained import load

SPEC = SudokuSpec(builder="sudoku", table="t")


@pytest.mark.parametrize("side", SIDES)
def test_a_side_goes_from_the_generator_to_the_figures_and_the_solver(tmp_path: Path, side: int):
    table = GenerateSudoku(kind="sudoku", side=side, clues=side * side // 2, train=2, test=2)
    generate_table(table, tmp_path / "table")
    build_sudoku(SPEC, tmp_path / "table", tmp_path / "data")
    test = load_split(tmp_path / "data", "test").sets["all"]
    right = Predictions(np.array(test.labels, np.uint8), np.zeros(2, np.float32))

    assert "2 solved and 0 failed" in draw_boards(tmp_path / "data", "sudoku", right).description
    gallery = gallery_of_boards(tmp_path / "data", "sudoku", right)
    save_gallery(tmp_path / "gallery.json", gallery)
    assert load_gallery(tmp_path / "gallery.json") == gallery
    assert gallery.box == box_of(side) and gallery.box[0] * gallery.box[1] == side

    run = random_run(tmp_path / "run", tmp_path / "data", side, side + 2)
    question = gallery.puzzles[0].question
    answer = load(str(run), device="cpu").solve(question, max_steps=1)
    assert answer.kind == "sudoku" and len(answer.text.split("\n")) == side
    assert "not a valid sudoku" in verdict(answer)


def test_a_side_whose_cells_are_more_than_digits_is_refused_with_the_builder_to_take(tmp_path):
    board = "123456789ABCDEFG" * 16
    for split in ("train", "test"):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, ["s", board, board, "0"]])
    with pytest.raises(TrmError, match=r"256 characters .* side 4, 6, 8, 9.* builder `boards`"):
        build_sudoku(SPEC, tmp_path, tmp_path / "out")


def test_a_prime_side_has_no_boxes():
    assert [box_of(side) for side in SIDES] == [(2, 2), (2, 3), (2, 4), (3, 3)]
    with pytest.raises(TrmError, match="7x7 cells has no boxes"):
        box_of(7)
