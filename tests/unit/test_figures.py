"""What the pictures show, asked of the drawn objects and of the files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.colors as mcolors
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.patches import Rectangle

from trm.errors import TrmError
from trm.puzzles.kinds import board_kind
from trm.report import boards, examples, figures
from trm.report.boards import draw_arc_answer, draw_arc_task, draw_board
from trm.report.examples import draw_boards
from trm.report.figures import new_figure, save_figure
from trm.report.learning_curve import (
    MAX_CURVE_POINTS,
    describe_learning_curve,
    draw_learning_curve,
)
from trm.scoring.arc import ScoredInput, ScoredTask
from trm.scoring.predictions import Predictions, load_predictions

HISTORY = """step,split,loss,accuracy,exact_accuracy,lr
1,train,2.3,0.2,0.0,1e-4
2,train,1.9,0.3,0.1,1e-4
2,test,2.0,0.25,0.125,
4,train,1.0,0.6,0.4,1e-4
4,test,1.2,0.55,0.375,
"""

ANSWER_6 = np.array(
    [
        [1, 2, 3, 4, 5, 6],
        [4, 5, 6, 1, 2, 3],
        [2, 3, 1, 5, 6, 4],
        [5, 6, 4, 2, 3, 1],
        [3, 1, 2, 6, 4, 5],
        [6, 4, 5, 3, 1, 2],
    ]
)


@pytest.fixture
def history(tmp_path) -> Path:
    path = tmp_path / "history.csv"
    path.write_text(HISTORY)
    return path


def description(path: Path) -> str | None:
    tag = "{http://purl.org/dc/elements/1.1/}description"
    return ElementTree.parse(path).findtext(f".//{tag}")


# --- learning curve -----------------------------------------------------------------------------


def test_curve_has_train_and_test_lines_and_loss_on_its_own_axis(history):
    shares, loss = draw_learning_curve(history).axes
    assert [line.get_label() for line in shares.get_lines()] == [
        "exact accuracy, train",
        "exact accuracy, test",
        "cell accuracy, train",
        "cell accuracy, test",
    ]
    assert [line.get_label() for line in loss.get_lines()] == ["loss, train", "loss, test"]
    test = shares.get_lines()[1]
    assert test.get_xdata().tolist() == [2, 4]
    assert test.get_ydata().tolist() == [0.125, 0.375]


@pytest.mark.parametrize(("last", "step"), [(2, 1), (500, 100), (1142, 200), (65_104, 10_000)])
def test_steps_are_marked_at_round_numbers(tmp_path: Path, last: int, step: int) -> None:
    path = tmp_path / "history.csv"
    path.write_text(f"step,split,loss,accuracy\n1,train,1,0\n{last},train,0.5,1\n")
    ticks = draw_learning_curve(path).axes[1].get_xticks()
    assert set(np.diff(ticks)) == {step}


def test_a_run_of_two_steps_has_whole_steps_on_its_axis(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("\n".join(HISTORY.split()[:4]) + "\n")
    figure = draw_learning_curve(path)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert len(set(labels)) == len(labels)


def test_the_legend_leaves_the_curves_their_width(history):
    rows = [f"{line},{'0.5' if ',test,' in line else ''}" for line in HISTORY.split()[1:]]
    raw = [row.replace(",test,", ",test-raw,") for row in rows if ",test," in row]
    history.write_text("\n".join([HISTORY.split()[0] + ",ARC/pass@2", *rows, *raw]) + "\n")
    figure = draw_learning_curve(history)
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.8


def test_train_and_test_differ_by_more_than_colour(history):
    train, test = draw_learning_curve(history).axes[0].get_lines()[:2]
    assert train.get_linestyle() != test.get_linestyle()


def test_curve_has_a_third_line_for_raw_weights(history):
    raw = [line.replace(",test,", ",test-raw,") for line in HISTORY.split() if ",test," in line]
    history.write_text(HISTORY + "\n".join(raw) + "\n")
    lines = draw_learning_curve(history).axes[0].get_lines()[:3]
    assert [line.get_label() for line in lines] == [
        "exact accuracy, train",
        "exact accuracy, test",
        "exact accuracy, raw weights",
    ]
    assert len({line.get_linestyle() for line in lines}) == 3
    assert lines[2].get_ydata().tolist() == [0.125, 0.375]


def test_curve_shows_votes_where_there_are_any(history):
    lines = [line + (",0.5" if ",test," in line else ",") for line in HISTORY.split()[1:]]
    history.write_text("\n".join([HISTORY.split()[0] + ",ARC/pass@2", *lines]) + "\n")
    labels = [line.get_label() for line in draw_learning_curve(history).axes[0].get_lines()]
    assert "pass@2, test" in labels
    assert "pass@2, train" not in labels
    assert "pass@2 50.0%" in describe_learning_curve(history)


def test_a_long_curve_is_thinned_but_keeps_its_level(tmp_path):
    path = tmp_path / "history.csv"
    rows = [f"{step},train,1.0,0.5,0.25" for step in range(10_000)]
    path.write_text("\n".join(["step,split,loss,accuracy,exact_accuracy", *rows]))
    (line, *_) = draw_learning_curve(path).axes[0].get_lines()
    assert len(line.get_xdata()) == MAX_CURVE_POINTS
    assert line.get_ydata() == pytest.approx(0.25)


def test_curve_in_words(history):
    words = describe_learning_curve(history)
    assert "4 steps" in words
    assert "12.5%" in words
    assert "37.5%" in words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing or empty"),
        ("", "missing or empty"),
        ("step,split,loss\n", "no rows"),
        ("step,loss\n1,2\n", "no column 'split'"),
    ],
)
def test_a_useless_history_is_refused(tmp_path, content, message):
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrmError, match=message):
        draw_learning_curve(path)


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_figure_gives_the_same_bytes(history, tmp_path, suffix):
    first, second = tmp_path / f"a/curve{suffix}", tmp_path / f"b/curve{suffix}"
    save_figure(draw_learning_curve(history), first, "words")
    save_figure(draw_learning_curve(history), second, "words")
    assert first.read_bytes() == second.read_bytes()


def test_a_picture_carries_its_description_and_no_date(history, tmp_path):
    path = tmp_path / "curve.svg"
    save_figure(draw_learning_curve(history), path, "a < b & c")
    assert description(path) == "a < b & c"
    assert "date" not in path.read_text().lower()


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(TrmError, match=r"neither .svg nor .png"):
        save_figure(new_figure(1, 1), tmp_path / "curve.pdf", "")


# --- puzzles ------------------------------------------------------------------------------------


def frames(axes) -> list[tuple[int, int]]:
    """Cells (row, column) framed as wrong."""
    wrong = mcolors.to_rgba(figures.VERMILLION)
    return [
        (int(patch.get_y()), int(patch.get_x()))
        for patch in axes.patches
        if isinstance(patch, Rectangle) and not patch.get_fill() and patch.get_edgecolor() == wrong
    ]


def draw_sudoku(axes, *digits, box) -> None:
    draw_board(axes, board_kind("sudoku").style, *(board.astype(str) for board in digits), box=box)


def draw_maze(axes, *tokens) -> None:
    maze = board_kind("maze")
    draw_board(axes, maze.style, *(np.array(list(maze.symbols))[board] for board in tokens))


def test_sudoku_frames_the_wrong_cells_only():
    question = ANSWER_6 * (ANSWER_6 % 2)  # odd digits given
    prediction = ANSWER_6.copy()
    prediction[0, 1], prediction[5, 5] = 6, 0  # a wrong digit and none
    axes = new_figure(3, 3).add_subplot()
    draw_sudoku(axes, question, ANSWER_6, prediction, box=(2, 3))
    assert frames(axes) == [(0, 1), (5, 5)]
    cell = [t for t in axes.texts if 1 < t.get_position()[0] < 2 and t.get_position()[1] < 1]
    assert [text.get_text() for text in cell] == ["6", "2"]  # what was answered, what is right
    assert len({text.get_fontsize() for text in cell}) == 1


def test_sudoku_tells_clues_from_filled_cells_by_weight_and_ground():
    question = ANSWER_6 * (ANSWER_6 % 2)
    axes = new_figure(3, 3).add_subplot()
    draw_sudoku(axes, question, ANSWER_6, ANSWER_6, box=(2, 3))
    bold = [text for text in axes.texts if text.get_weight() == "bold"]
    assert {text.get_text() for text in bold} == {"1", "3", "5"}
    assert len(bold) == len(axes.patches) == 18


def test_sudoku_boxes_of_six_are_two_rows_by_three_columns():
    axes = new_figure(3, 3).add_subplot()
    draw_sudoku(axes, ANSWER_6, ANSWER_6, ANSWER_6, box=(2, 3))
    thick = [line for line in axes.get_lines() if line.get_linewidth() > 1]
    across = [line.get_ydata() for line in thick if list(line.get_xdata()) == [0, 1]]
    down = [line.get_xdata() for line in thick if list(line.get_ydata()) == [0, 1]]
    assert [y for y, _ in across] == [0, 2, 4, 6]
    assert [x for x, _ in down] == [0, 3, 6]


def test_maze_marks_right_missed_and_wrong_cells():
    truth = np.array([[3, 5, 5], [1, 1, 5], [2, 2, 4]])
    grid = np.where(truth == 5, 2, truth)
    prediction = np.array([[3, 5, 2], [1, 5, 5], [2, 2, 4]])  # one missed, one through the wall
    axes = new_figure(3, 3).add_subplot()
    draw_maze(axes, grid, truth, prediction)
    right, missed, wrong = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert right.get_offsets().tolist() == [[1.5, 0.5], [2.5, 1.5]]
    assert missed.get_offsets().tolist() == [[2.5, 0.5]]
    assert wrong.get_offsets().tolist() == [[1.5, 1.5]]
    assert sorted(text.get_text() for text in axes.texts) == ["G", "S"]


def test_a_wrong_end_of_a_maze_is_told_by_its_ground_not_by_a_cross():
    truth = np.array([[3, 5], [1, 4]])
    axes = new_figure(3, 3).add_subplot()
    draw_maze(axes, np.array([[3, 2], [1, 4]]), truth, np.array([[3, 5], [1, 2]]))
    wrong = [c for c in axes.collections if isinstance(c, PathCollection)][2]
    assert len(wrong.get_offsets()) == 0
    start, goal = axes.patches
    assert start.get_linestyle() == "solid" and goal.get_linestyle() != "solid"
    assert [text.get_color() for text in axes.texts] == ["white", figures.INK]


def arc_task(truth) -> tuple[ScoredTask, ScoredInput]:
    test = ScoredInput([[1, 2]], truth, (), None)
    return ScoredTask("task", (([[1]], [[2]]),) * 6, (test,)), test


def crosses(axes) -> int:
    """Wrong cells: two strokes each, drawn once in black and once in white."""
    collections = [c for c in axes.collections if isinstance(c, LineCollection)][1:]
    return sum(len(c.get_segments()) for c in collections) // 4


def test_arc_attempts_are_checked_against_the_truth():
    task, test = arc_task([[1, 2], [3, 4]])
    figure = new_figure(7, 3)
    draw_arc_task(figure, task, test, [np.array([[1, 2], [3, 4]]), np.array([[1, 0], [3, 0]])])
    first, second = figure.axes[-2:]
    assert (first.get_title(), crosses(first)) == ("attempt 1: right ✓", 0)
    assert (second.get_title(), crosses(second)) == ("attempt 2: wrong ✗", 2)
    assert second.get_xlabel() == "2 wrong cells"


def test_arc_attempt_of_another_size_says_so():
    task, test = arc_task([[1, 2], [3, 4]])
    figure = new_figure(7, 3)
    draw_arc_task(figure, task, test, [np.array([[1, 2, 3]]), np.zeros((0, 0), np.uint8)])
    first, second = figure.axes[-2:]
    assert (crosses(first), first.get_xlabel()) == (1, "1×3 cells, not 2×2")
    assert second.texts[0].get_text() == "no grid"


def test_an_arc_answer_stands_between_input_and_truth_with_cells_of_one_size():
    answer, truth = np.array([[1, 2], [3, 4]]), np.array([[1, 2, 3]])
    figure = new_figure(6, 2)
    draw_arc_answer(figure, np.zeros((5, 5), int), answer, truth, cells=8)
    question, middle, right = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == ["input", "answer", "truth"]
    assert question.get_xlim() == middle.get_xlim() == right.get_xlim()
    assert {axes.get_position().width for axes in figure.axes} == {question.get_position().width}
    assert (crosses(middle), crosses(right)) == (2, 0)
    # Also on large grids the crosses are not faint.
    faint = new_figure(6, 2)
    draw_arc_answer(faint, np.ones((30, 30)), np.ones((30, 30)), np.zeros((30, 30)), cells=30)
    assert faint.axes[1].collections[-1].get_linewidth() >= 0.6


def test_an_arc_answer_without_a_truth_is_not_judged():
    figure = new_figure(6, 2)
    draw_arc_answer(figure, np.zeros((2, 2), int), np.ones((2, 2), int), None, cells=6)
    _, answer, right = figure.axes
    assert (crosses(answer), len(right.images)) == (0, 0)


def test_arc_shows_at_most_four_demonstrations():
    task, test = arc_task([[1]])
    figure = new_figure(7, 3)
    draw_arc_task(figure, task, test, [np.array([[1]])])
    assert len(figure.axes) == 2 * boards.MAX_DEMONSTRATIONS + 3


# --- examples of a result -----------------------------------------------------------------------


def write_sudoku(folder: Path, questions: np.ndarray, answers: np.ndarray) -> None:
    """A test split of flat boards in the dataset's format."""
    split = folder / "test"
    split.mkdir(parents=True)
    n = len(questions)
    offsets = np.arange(n + 1, dtype=np.int32)
    arrays = {
        "inputs": questions + 1,
        "labels": answers + 1,
        "puzzle_identifiers": np.zeros(n, np.int32),
        "puzzle_indices": offsets,
        "group_indices": offsets,
    }
    for name, array in arrays.items():
        np.save(split / f"all__{name}.npy", array)
    metadata = {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": 11,
        "seq_len": questions.shape[1],
        "num_puzzle_identifiers": 1,
        "total_groups": n,
        "mean_puzzle_examples": 1.0,
        "total_puzzles": n,
        "sets": ["all"],
    }
    (split / "dataset.json").write_text(json.dumps(metadata))


def sudoku_predictions(n: int, failed: list[int]) -> Predictions:
    preds = np.repeat(ANSWER_6.reshape(1, 36), n, axis=0).astype(np.uint8) + 1
    preds[failed, 0] = 1
    return Predictions(preds, np.zeros(n, np.float32))


def test_examples_show_solved_and_failed_puzzles(tmp_path):
    answers = np.repeat(ANSWER_6.reshape(1, 36), 9, axis=0)
    write_sudoku(tmp_path / "data", answers * 0, answers)
    shown = draw_boards(tmp_path / "data", "sudoku", sudoku_predictions(9, [4, 7]))
    titles = [axes.get_title() for axes in shown.figure.axes if axes.get_title()]
    assert titles == [
        "Solved ✓: no. 1",
        "Solved ✓: no. 4",
        "Solved ✓: no. 9",
        "Failed ✗: no. 5, 1 wrong cell",
        "Failed ✗: no. 8, 1 wrong cell",
    ]
    assert shown.description.startswith("3 solved and 2 failed test puzzles")
    assert "7 solved of 9" in shown.description


def test_examples_of_another_dataset_are_refused(tmp_path):
    answers = np.repeat(ANSWER_6.reshape(1, 36), 9, axis=0)
    write_sudoku(tmp_path / "data", answers * 0, answers)
    with pytest.raises(TrmError, match="another dataset"):
        draw_boards(tmp_path / "data", "sudoku", sudoku_predictions(8, []))


def test_a_board_without_boxes_is_an_error(tmp_path):
    boards = np.ones((1, 25), dtype=int)
    write_sudoku(tmp_path / "data", boards, boards)
    predictions = Predictions(np.ones((1, 25), np.uint8), np.zeros(1, np.float32))
    with pytest.raises(TrmError, match="5x5 cells has no boxes"):
        draw_boards(tmp_path / "data", "sudoku", predictions)


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_choice_is_spread_and_without_repeats(n):
    chosen = examples._choose(np.zeros(n, dtype=bool), 3)
    assert len(chosen) == len(set(chosen)) == min(3, n)
    assert chosen[0] == 0
    assert n == 1 or chosen[-1] == n - 1


def test_an_empty_test_split_has_no_examples():
    with pytest.raises(TrmError, match="empty"):
        examples._choose(np.zeros(0, dtype=bool), 3)


def test_missing_or_damaged_predictions_are_refused(tmp_path):
    path = tmp_path / "predictions.npz"
    with pytest.raises(TrmError, match="missing"):
        load_predictions(path)
    np.savez(path, preds=np.zeros((1, 4), np.uint8))
    with pytest.raises(TrmError, match="q_halt_logits"):
        load_predictions(path)
    cut_off = path.read_bytes()[:150]
    for content in (b"no zip", b"", cut_off):
        path.write_bytes(content)
        with pytest.raises(TrmError, match="cannot be read"):
            load_predictions(path)
