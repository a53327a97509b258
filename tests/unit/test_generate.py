"""Generated sudokus: one solution each, none an image of another, the same for the same seed."""

import csv

import numpy as np
import pytest

from trm.data.generate import (
    canonical_form,
    count_solutions,
    generate_sudoku,
    guesses,
    line_orders,
    random_board,
)
from trm.data.legacy_random import legacy_stream
from trm.data.specs import Generate
from trm.data.sudoku import apply_shuffle, box_of, draw_shuffle
from trm.errors import TrmError

SPEC = Generate(side=6, clues=12, train=60, test=30, seed=3)


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sudoku")
    generate_sudoku(SPEC, folder)
    return {name: read(folder / f"{name}.csv") for name in ("train", "test")}


def read(path):
    header, *rows = csv.reader(path.open())
    assert header == ["source", "question", "answer", "rating"]
    return [
        (np.array(list(q.replace(".", "0")), np.uint8), np.array(list(a), np.uint8), int(rating))
        for _, q, a, rating in rows
    ]


def solve(board, box):
    """All solutions, by trying everything: slow, and nothing like the generator's solver."""
    side = box[0] * box[1]
    if board.all():
        return [board]
    cell = int(np.argmin(board))
    row, column = divmod(cell, side)
    grid = board.reshape(side, side)
    top, left = row // box[0] * box[0], column // box[1] * box[1]
    used = {
        *grid[row].tolist(),
        *grid[:, column].tolist(),
        *grid[top : top + box[0], left : left + box[1]].ravel().tolist(),
    }
    found = []
    for digit in set(range(1, side + 1)) - used:
        trial = board.copy()
        trial[cell] = digit
        found += solve(trial, box)
    return found


def test_each_board_has_exactly_its_answer(boards):
    assert (len(boards["train"]), len(boards["test"])) == (60, 30)
    for question, answer, _ in boards["train"][:10] + boards["test"][:10]:
        solutions = solve(question, (2, 3))
        assert len(solutions) == 1
        np.testing.assert_array_equal(solutions[0], answer)
    for question, answer, _ in boards["train"] + boards["test"]:
        assert 12 <= np.count_nonzero(question) <= 13
        assert count_solutions(question, 2, 3, 2) == 1
        np.testing.assert_array_equal(question[question > 0], answer[question > 0])


def test_no_board_is_an_image_of_another(boards):
    orders = line_orders(2, 6), line_orders(3, 6)
    forms = {canonical_form(q, *orders).tobytes() for q, _, _ in boards["train"] + boards["test"]}
    assert len(forms) == 90


@pytest.mark.parametrize("side", [4, 6])
def test_the_canonical_form_is_that_of_every_image(side):
    box = box_of(side)
    orders = line_orders(box[0], side), line_orders(box[1], side)
    state, rng = legacy_stream(0), np.random.default_rng(0)
    for _ in range(20):
        question, _ = random_board(rng, *box, clues=4 if side == 4 else 12)
        image = np.empty_like(question)
        apply_shuffle(question, *draw_shuffle(state, *box), image)
        form = canonical_form(question, *orders)
        np.testing.assert_array_equal(canonical_form(image, *orders), form)
        other = question.copy()
        other[np.flatnonzero(other)[0]] = 0
        assert canonical_form(other, *orders).tobytes() != form.tobytes()


def test_the_number_of_line_orders():
    assert [len(line_orders(*case)) for case in ((2, 6), (3, 6), (3, 9))] == [48, 72, 1296]


def test_solutions_are_counted_up_to_the_limit():
    empty = np.zeros(16, dtype=np.uint8)
    assert count_solutions(empty, 2, 2, 1000) == 288  # known number of 4x4 sudokus
    assert count_solutions(empty, 2, 2, 5) == 5
    impossible = np.array([1, 1] + [0] * 14, dtype=np.uint8)
    assert count_solutions(impossible, 2, 2, 5) == 0


def test_the_rating_counts_guesses(boards):
    answer = boards["train"][0][1]
    blank_one = answer.copy()
    blank_one[0] = 0
    assert guesses(blank_one, 2, 3) == 0
    assert guesses(np.zeros(36, dtype=np.uint8), 2, 3) > 0
    assert [guesses(q, 2, 3) for q, _, _ in boards["train"]] == [r for _, _, r in boards["train"]]


def test_the_same_seed_gives_the_same_files(tmp_path, boards):
    for name, seed in (("a", SPEC.seed), ("b", SPEC.seed), ("c", SPEC.seed + 1)):
        generate_sudoku(SPEC.model_copy(update={"seed": seed}), tmp_path / name)
    contents = [(tmp_path / name / "train.csv").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_nine_by_nine_too(tmp_path):
    generate_sudoku(Generate(side=9, clues=30, train=2, test=1, seed=0), tmp_path)
    (question, answer, _), _ = read(tmp_path / "train.csv")
    assert len(answer) == 81
    assert count_solutions(question, 3, 3, 2) == 1


def test_more_boards_than_there_are_is_refused(tmp_path):
    with pytest.raises(TrmError, match="different boards of side 4"):
        generate_sudoku(Generate(side=4, clues=4, train=1000, test=1), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_side_without_boxes_is_refused(tmp_path):
    with pytest.raises(TrmError, match="no sudoku of side 7"):
        generate_sudoku(Generate(side=7, clues=12, train=1, test=1), tmp_path)
