"""What the report shows of a result's answers: which puzzles, how they are written, and halting."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.test_figures import ANSWER_6, sudoku_predictions, write_sudoku
from trm.data.plain_boards import build_boards
from trm.data.specs import BoardsSpec
from trm.errors import TrmError
from trm.report.halting import Halting, describe_halting, draw_halting
from trm.report.thinking import save_animation
from trm.scoring.arc import ArcScore, score_arc
from trm.scoring.gallery import (
    Gallery,
    choose,
    gallery_of_boards,
    gallery_of_tasks,
    load_gallery,
    save_gallery,
    thinking_of,
    thinking_rows,
)
from trm.scoring.predictions import Predictions

QUESTION, TRUTH, WRONG = [[1, 2], [3, 4]], [[7, 7, 8]], [[7, 7], [8, 8]]
MAZE_QUESTION, MAZE_ANSWER = "S.#.G....", "S.#oGo..."  # of 3x3, no shortest path, only a board


@pytest.fixture
def sudokus(tmp_path) -> Path:
    """Nine times the same sudoku, its odd digits given."""
    answers = np.repeat(ANSWER_6.reshape(1, 36), 9, axis=0)
    write_sudoku(tmp_path / "sudoku", answers * (answers % 2), answers)
    return tmp_path / "sudoku"


def canvas(grid) -> np.ndarray:
    """Tokens of a grid in the corner of a 4x4 canvas."""
    tokens = np.zeros((4, 4), np.uint8)
    rows, columns = np.shape(grid)
    tokens[: rows + 1, : columns + 1] = 1
    tokens[:rows, :columns] = np.array(grid) + 2
    return tokens.ravel()


@pytest.fixture
def tasks(tmp_path) -> Path:
    """One ARC task of two test inputs and one with a name from outside; no augmentations."""
    folder = tmp_path / "arc"
    questions = [QUESTION, [[5]], [[6]]]
    write_sudoku(folder, np.zeros((3, 16), int), np.zeros((3, 16), int))
    split = folder / "test"
    np.save(split / "all__inputs.npy", np.array([canvas(q) for q in questions]))
    np.save(split / "all__labels.npy", np.array([canvas(TRUTH)] * 3))
    np.save(split / "all__puzzle_identifiers.npy", np.array([1, 2], np.int32))
    np.save(split / "all__puzzle_indices.npy", np.array([0, 2, 3], np.int32))
    np.save(split / "all__group_indices.npy", np.array([0, 1, 2], np.int32))
    metadata = json.loads((split / "dataset.json").read_text())
    metadata |= {"vocab_size": 12, "num_puzzle_identifiers": 3, "total_groups": 2}
    (split / "dataset.json").write_text(json.dumps(metadata))
    (folder / "identifiers.json").write_text(json.dumps(["<blank>", "two", "</script>"]))
    pair = {"input": [[1]], "output": [[2], [3]]}
    tests = [{"input": question, "output": TRUTH} for question in questions]
    puzzles = {
        "two": {"train": [pair], "test": tests[:2]},
        "</script>": {"train": [], "test": tests[2:]},
    }
    (folder / "test_puzzles.json").write_text(json.dumps(puzzles))
    return folder


def arc_predictions() -> Predictions:
    return Predictions(np.array([canvas(g) for g in (TRUTH, WRONG, TRUTH)]), np.zeros(3, "f4"))


def arc_score(tasks: Path) -> ArcScore:
    return score_arc(tasks, arc_predictions().preds, arc_predictions().q_halt_logits)


# --- the gallery --------------------------------------------------------------------------------


def test_sudokus_are_written_by_their_digits(sudokus):
    gallery = gallery_of_boards(sudokus, "sudoku", sudoku_predictions(9, [4]))
    assert (gallery.total, gallery.total_solved, gallery.side, gallery.box) == (9, 8, 6, (2, 3))
    failed = gallery.puzzles[4]
    assert (failed.name, failed.solved) == ("5", False)
    assert failed.question[:6] == "103050"
    assert failed.answer[:6] == "123456"
    assert failed.answers[0][:6] == "023456"  # a token that is no digit
    assert failed.q == [0.5]


def test_mazes_are_written_by_their_characters(tmp_path):
    tokens = {
        name: np.array([["?#.SGo".index(c) for c in text]])
        for name, text in (("q", MAZE_QUESTION), ("a", MAZE_ANSWER))
    }
    write_sudoku(tmp_path / "maze", tokens["q"] - 1, tokens["a"] - 1)
    predictions = Predictions(tokens["q"].astype(np.uint8), np.zeros(1, "f4"))
    (puzzle,) = gallery_of_boards(tmp_path / "maze", "maze", predictions).puzzles
    assert (puzzle.question, puzzle.answer) == (MAZE_QUESTION, MAZE_ANSWER)
    assert (puzzle.answers, puzzle.solved) == ([MAZE_QUESTION], False)


def test_arc_has_a_card_for_each_test_input_with_its_votes(tasks):
    gallery = gallery_of_tasks(arc_score(tasks))
    first, second, third = gallery.puzzles
    assert first.name == "two, test 1 of 2"
    assert third.name == "</script>"
    assert (first.question, first.answer, first.answers) == ("12/34", "778", ["778"])
    assert (first.votes, first.all_votes, first.solved) == ([1], 1, True)
    assert (second.answers, second.solved) == (["77/88"], False)
    assert first.demonstrations == [("1", "2/3")]
    assert (gallery.total, gallery.total_solved) == (3, 2)


def test_no_more_are_shown_than_wanted(sudokus):
    gallery = gallery_of_boards(sudokus, "sudoku", sudoku_predictions(9, [4, 6, 7]), max_shown=4)
    assert [puzzle.name for puzzle in gallery.puzzles] == ["1", "5", "8", "9"]
    assert (gallery.total, gallery.total_solved) == (9, 6)


@pytest.mark.parametrize(
    ("n_solved", "n_failed", "expected"),
    [(500, 500, (200, 200)), (497, 3, (397, 3)), (0, 900, (0, 400)), (10, 20, (10, 20))],
)
def test_the_choice_takes_half_of_each_or_what_there_is(n_solved, n_failed, expected):
    solved = np.arange(n_solved + n_failed) < n_solved
    chosen = choose(solved, 400)
    assert len(set(chosen)) == len(chosen) == sum(expected)
    assert chosen == sorted(chosen)
    assert int(solved[chosen].sum()) == expected[0]


def test_predictions_of_another_dataset_are_refused(sudokus):
    for make in (gallery_of_boards, thinking_rows):
        with pytest.raises(TrmError, match="another dataset"):
            make(sudokus, "sudoku", sudoku_predictions(8, []))
    with pytest.raises(TrmError, match="another dataset"):
        Halting.of(sudokus, sudoku_predictions(8, []))


# --- the file -----------------------------------------------------------------------------------


def test_a_gallery_is_read_as_it_was_written(tasks, sudokus, tmp_path):
    for gallery in (
        gallery_of_tasks(arc_score(tasks)),
        gallery_of_boards(sudokus, "sudoku", sudoku_predictions(9, [1])),
    ):
        save_gallery(tmp_path / "gallery.json", gallery)
        assert load_gallery(tmp_path / "gallery.json") == gallery
    assert load_gallery(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda text: text[:-20], "Invalid JSON"),
        (lambda text: text.replace('"answers":["', '"answers":["1'), "no board of a sudoku"),
        (lambda text: text.replace('"box":[2,3],', ""), "has boxes"),
        (lambda text: text.replace('"q":[0.5]', '"q":[0.5,0.5]'), "one q"),
        (lambda text: text.replace('"q":[0.5]', '"q":["<b>"]'), "puzzles.0.q"),
        (lambda text: text.replace('"kind":"sudoku"', '"kind":"chess"'), "kind"),
        (lambda text: "[]", "the file"),
    ],
)
def test_a_damaged_file_is_named(sudokus, tmp_path, change, where):
    path = tmp_path / "thinking.json"
    save_gallery(path, gallery_of_boards(sudokus, "sudoku", sudoku_predictions(9, [])))
    path.write_text(change(path.read_text()))
    with pytest.raises(TrmError, match=r"thinking.json is damaged") as error:
        load_gallery(path)
    assert where in str(error.value)


# --- thinking -----------------------------------------------------------------------------------


def thinking(sudokus: Path) -> Gallery:
    """Three steps: all wrong, then what the predictions say."""
    predictions = sudoku_predictions(9, [4])
    rows = thinking_rows(sudokus, "sudoku", predictions)
    final = predictions.preds[rows]
    first = final.copy()
    first[:, :2] = 1
    thoughts = Predictions(np.stack([first, final, final]), np.zeros((3, len(rows)), "f4"))
    return thinking_of(sudokus, "sudoku", rows, thoughts, predictions)


def test_thinking_shows_solved_and_failed_puzzles_step_by_step(sudokus):
    shown = thinking(sudokus)
    assert [puzzle.name for puzzle in shown.puzzles] == ["1", "3", "5", "6", "7", "9"]
    assert [puzzle.solved for puzzle in shown.puzzles] == [True, True, False, True, True, True]
    assert all(len(puzzle.answers) == len(puzzle.q) == 3 for puzzle in shown.puzzles)
    assert shown.puzzles[0].answers[0].startswith("00")
    assert (shown.total, shown.total_solved) == (9, 8)


def test_thinking_takes_plain_arc_puzzles_and_their_demonstrations(tasks):
    names = ["<blank>", "two", "two|||t1|||0213456789"]
    (tasks / "identifiers.json").write_text(json.dumps(names))
    predictions = arc_predictions()
    rows = thinking_rows(tasks, "arc", predictions)
    assert rows.tolist() == [0, 1]
    thoughts = Predictions(predictions.preds[None, rows], np.zeros((1, 2), "f4"))
    first, second = thinking_of(tasks, "arc", rows, thoughts, predictions).puzzles
    assert (first.solved, second.solved) == (True, False)
    assert [first.name, second.name] == ["two, test 1 of 2", "two, test 2 of 2"]
    assert first.demonstrations == [("1", "2/3")]


def test_a_diverged_model_has_no_thinking_to_show(sudokus):
    predictions = sudoku_predictions(9, [])
    thoughts = Predictions(predictions.preds[None, :1], np.full((1, 1), np.nan, "f4"))
    with pytest.raises(TrmError, match="diverged"):
        thinking_of(sudokus, "sudoku", np.array([0]), thoughts, predictions)


def test_the_animation_has_a_frame_per_step_and_the_same_bytes(sudokus, tmp_path):
    first, second = tmp_path / "a.gif", tmp_path / "b.gif"
    for path in (first, second):
        save_animation(thinking(sudokus), path)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(io.BytesIO(first.read_bytes())) as image:
        # Frames that show the same may be one that stands longer.
        frames = [image.info["duration"] for i in range(image.n_frames) if image.seek(i) is None]
        assert image.info["loop"] == 0
    assert len(frames) == 3
    assert frames[-1] > frames[0]


# --- halting ------------------------------------------------------------------------------------


def test_halting_bars_add_up_to_the_answers(sudokus):
    predictions = sudoku_predictions(9, [4, 7])
    predictions.q_halt_logits[:] = 4
    predictions.q_halt_logits[4] = -4
    halting = Halting.of(sudokus, predictions)
    assert halting.exact.tolist() == [i not in (4, 7) for i in range(9)]
    _, numbers = draw_halting(halting).axes
    assert sum(bar.get_height() for bar in numbers.patches) == 9
    assert {bar.get_y() for bar in numbers.patches} == {0}  # each can be read off the axis
    assert len({round(bar.get_x(), 6) for bar in numbers.patches}) == len(numbers.patches)
    words = describe_halting(halting)
    assert "Of 9 answers 77.8% are right" in words
    assert "AUROC" in words


# --- boards of characters, and answers that nobody can judge -------------------------------------


@pytest.fixture
def letters(tmp_path) -> Path:
    """Two boards of 2x3 letters, to be sorted."""
    for name in ("train", "test"):
        rows = [f"x,{q},{''.join(sorted(q))},0" for q in ("cbaaab", "abcabc")]
        text = "\n".join(["source,question,answer,rating", *rows, ""])
        (tmp_path / f"{name}.csv").write_text(text)
    row = {"builder": "boards", "table": "t", "characters": "abc", "columns": 3}
    build_boards(BoardsSpec(**row, allow_test_in_train=True), tmp_path, tmp_path / "letters")
    return tmp_path / "letters"


def test_boards_are_written_by_their_own_characters(letters, tmp_path):
    answers = np.array([[1, 1, 1, 2, 2, 3], [1, 0, 2, 2, 3, 3]], np.uint8)
    predictions = Predictions(answers, np.zeros(2, "f4"))
    gallery = gallery_of_boards(letters, "boards", predictions)
    assert (gallery.side, gallery.columns, gallery.characters) == (3, 3, "abc")
    first, second = gallery.puzzles
    assert (first.question, first.answer, first.answers) == ("cbaaab", "aaabbc", ["aaabbc"])
    assert (first.solved, second.solved, second.answers) == (True, False, ["a\0bbcc"])
    save_gallery(tmp_path / "gallery.json", gallery)
    assert load_gallery(tmp_path / "gallery.json") == gallery
    rows = thinking_rows(letters, "boards", predictions)
    thoughts = Predictions(np.stack([answers * 0, answers]), np.zeros((2, 2), "f4"))
    thinking = thinking_of(letters, "boards", rows, thoughts, predictions)
    save_animation(thinking, tmp_path / "thinking.gif")
    assert Image.open(tmp_path / "thinking.gif").n_frames == 2


def test_a_board_of_other_characters_is_damaged(letters, tmp_path):
    answers = np.ones((2, 6), np.uint8)
    gallery = gallery_of_boards(letters, "boards", Predictions(answers, np.zeros(2, "f4")))
    save_gallery(tmp_path / "gallery.json", gallery)
    text = (tmp_path / "gallery.json").read_text()
    (tmp_path / "gallery.json").write_text(text.replace('"characters":"abc"', '"characters":"ab"'))
    with pytest.raises(TrmError, match="no board of a boards|no board"):
        load_gallery(tmp_path / "gallery.json")


def test_nobody_judges_answers_without_solutions(tasks, tmp_path):
    puzzles = json.loads((tasks / "test_puzzles.json").read_text())
    for task in puzzles.values():
        for pair in task["test"]:
            pair["output"] = [[0]]
    (tasks / "test_puzzles.json").write_text(json.dumps(puzzles))
    gallery = gallery_of_tasks(arc_score(tasks))
    assert (gallery.judged, gallery.total_solved) == (False, 0)
    assert {puzzle.answer for puzzle in gallery.puzzles} == {""}
    assert gallery.puzzles[0].answers == ["778"]
    rows = thinking_rows(tasks, "arc", arc_predictions())
    thoughts = Predictions(arc_predictions().preds[None, rows], np.zeros((1, len(rows)), "f4"))
    thinking = thinking_of(tasks, "arc", rows, thoughts, arc_predictions())
    assert not thinking.judged and {puzzle.answer for puzzle in thinking.puzzles} == {""}
    save_animation(thinking, tmp_path / "thinking.gif")
    halting = Halting.of(tasks, arc_predictions())
    assert halting.exact is None and "without known solutions" in describe_halting(halting)
    draw_halting(halting)
