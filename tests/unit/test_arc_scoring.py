"""ARC voting on small canvases whose answers are counted by hand."""

from __future__ import annotations

import json
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trm.errors import TrmError
from trm.puzzles.augmentation import apply_augmentation, augmented_name
from trm.scoring import arc
from trm.scoring.arc import Votes, crop, score_arc, write_submission

SIDE = 5
VOCAB = 12
SWAP_1_2 = np.array([0, 2, 1, 3, 4, 5, 6, 7, 8, 9], dtype=np.uint8)

QUESTION = [[1, 2], [3, 4]]
OTHER_QUESTION = [[5]]
TRUTH = [[7, 7, 8]]
WRONG = [[7, 7], [8, 8]]
WORSE = [[0]]

PUZZLES = {
    "one": {
        "train": [{"input": [[1]], "output": [[2]]}],
        "test": [{"input": QUESTION, "output": TRUTH}],
    },
    "two": {
        "train": [{"input": [[1]], "output": [[2]]}],
        "test": [
            {"input": QUESTION, "output": TRUTH},
            {"input": OTHER_QUESTION, "output": WORSE},
        ],
    },
}
NAMES = ["<blank>", "one", augmented_name("one", 3, SWAP_1_2), "two"]


def canvas(grid, side: int = SIDE) -> np.ndarray:
    """Tokens of a grid in the canvas's corner, with its end-of-grid row and column."""
    grid = np.array(grid, dtype=np.uint8)
    tokens = np.zeros((side, side), dtype=np.uint8)
    rows, columns = grid.shape
    tokens[rows : rows + 1, :columns] = 1
    tokens[:rows, columns : columns + 1] = 1
    tokens[:rows, :columns] = grid + 2
    return tokens.ravel()


def poll(votes: Votes, identifier: int, question, ballots) -> None:
    """One row per (answer, q logit), all asked by the same puzzle id."""
    votes.add(
        np.full(len(ballots), identifier),
        np.array([canvas(question)] * len(ballots)),
        np.array([canvas(answer) for answer, _ in ballots]),
        np.array([q for _, q in ballots], dtype=np.float32),
    )


def new_votes() -> Votes:
    return Votes(PUZZLES, NAMES)


def ranked(votes: Votes, task: int = 0, test: int = 0) -> list:
    candidates = votes.score().tasks[task].tests[test].candidates
    return [(candidate.grid.tolist(), candidate.votes) for candidate in candidates]


# --- crop ---------------------------------------------------------------------------------------


def slow_crop(tokens: np.ndarray) -> np.ndarray:
    """Of all rectangles at the corner that hold colours only, the first of the largest."""
    side = isqrt(len(tokens))
    square = tokens.reshape(side, side)
    best = (0, 0)
    for rows in range(1, side + 1):
        for columns in range(1, side + 1):
            is_grid = (square[:rows, :columns] >= 2).all()
            if is_grid and rows * columns > best[0] * best[1]:
                best = (rows, columns)
    return square[: best[0], : best[1]] - 2


@given(arrays(np.uint8, SIDE * SIDE, elements=st.integers(0, VOCAB - 1) | st.just(5)))
def test_crop_is_the_largest_rectangle_at_the_corner(tokens):
    (grid,) = crop(tokens[None])
    expected = slow_crop(tokens)
    assert grid.shape == expected.shape
    assert (grid == expected).all()


def test_crop_of_no_grid_is_empty():
    (grid,) = crop(np.zeros((1, 900), dtype=np.uint8))
    assert grid.shape == (0, 0)


def test_crop_fills_a_canvas_without_end_of_grid():
    (grid,) = crop(np.full((1, 900), 11, dtype=np.uint8))
    assert grid.shape == (30, 30)
    assert (grid == 9).all()


# --- ranking ------------------------------------------------------------------------------------


def test_more_votes_win_over_higher_q():
    votes = new_votes()
    poll(votes, 1, QUESTION, [(WRONG, 9.0), (TRUTH, -9.0), (TRUTH, -9.0)])
    assert ranked(votes) == [(TRUTH, 2), (WRONG, 1)]


def test_equal_votes_are_ranked_by_the_mean_q():
    votes = new_votes()
    poll(votes, 1, QUESTION, [(WRONG, 0.0), (TRUTH, 0.1)])
    assert ranked(votes) == [(TRUTH, 1), (WRONG, 1)]


def test_the_mean_is_of_sigmoids_not_of_logits():
    votes = new_votes()
    # Mean logits 2.5 and 1.0, but mean sigmoids (0.998 + 0.269) / 2 and 0.731.
    poll(votes, 1, QUESTION, [(WRONG, 6.0), (WRONG, -1.0), (TRUTH, 1.0), (TRUTH, 1.0)])
    assert ranked(votes)[0] == (TRUTH, 2)
    assert votes.score().tasks[0].tests[0].candidates[0].mean_q == pytest.approx(0.7310585786)


def test_full_ties_keep_the_order_of_first_appearance():
    votes = new_votes()
    poll(votes, 1, QUESTION, [(WORSE, 0.5), (TRUTH, 0.5), (WRONG, 0.5)])
    assert [grid for grid, _ in ranked(votes)] == [WORSE, TRUTH, WRONG]


@given(st.integers(0, 7), st.permutations(range(1, 10)))
def test_augmented_rows_vote_for_the_plain_answer(dihedral, colours):
    colour_map = np.array([0, *colours], dtype=np.uint8)
    votes = Votes(PUZZLES, ["<blank>", "one", augmented_name("one", dihedral, colour_map)])
    poll(votes, 1, QUESTION, [(TRUTH, 0.0)])
    turned = [
        apply_augmentation(np.array(grid, dtype=np.uint8), dihedral, colour_map)
        for grid in (QUESTION, TRUTH)
    ]
    poll(votes, 2, turned[0], [(turned[1], 0.0)])
    assert ranked(votes) == [(TRUTH, 2)]


def test_grids_of_the_same_cells_but_another_shape_differ():
    votes = new_votes()
    poll(votes, 1, QUESTION, [([[1, 2, 3, 4]], 0.0), ([[1, 2], [3, 4]], 0.0)])
    assert ranked(votes) == [([[1, 2, 3, 4]], 1), ([[1, 2], [3, 4]], 1)]


def test_blank_rows_have_no_vote():
    votes = new_votes()
    poll(votes, 0, QUESTION, [(WRONG, 9.0)] * 3)
    poll(votes, 1, QUESTION, [(TRUTH, 0.0)])
    assert ranked(votes) == [(TRUTH, 1)]


def test_the_tests_of_a_task_are_told_apart_by_their_input():
    votes = new_votes()
    poll(votes, 3, QUESTION, [(TRUTH, 0.0)])
    poll(votes, 3, OTHER_QUESTION, [(WRONG, 0.0)])
    assert ranked(votes, task=1, test=0) == [(TRUTH, 1)]
    assert ranked(votes, task=1, test=1) == [(WRONG, 1)]


def test_one_evaluation_knows_nothing_of_another():
    first, second = new_votes(), new_votes()
    poll(first, 1, QUESTION, [(WRONG, 0.0)] * 5)
    poll(second, 1, QUESTION, [(TRUTH, 0.0)])
    assert ranked(second) == [(TRUTH, 1)]


def test_a_row_of_an_unknown_question_is_refused():
    with pytest.raises(TrmError, match="asks no test input"):
        poll(new_votes(), 1, [[9]], [(TRUTH, 0.0)])


# --- metrics and submission ---------------------------------------------------------------------


def test_pass_at_k_is_the_mean_over_tasks_of_the_share_of_inputs():
    votes = new_votes()
    poll(votes, 1, QUESTION, [(WRONG, 0.0), (WRONG, 0.0), (TRUTH, 0.0)])  # second: 0, 1
    poll(votes, 3, QUESTION, [(TRUTH, 0.0)])  # first; the task's other input stays unanswered
    assert votes.score((1, 2)).metrics == {"ARC/pass@1": 0.25, "ARC/pass@2": 0.75}


def test_submission_holds_two_attempts_per_input_in_the_order_of_the_tasks():
    votes = new_votes()
    poll(votes, 1, QUESTION, [(WRONG, 0.0), (WRONG, 0.0), (TRUTH, 0.0), (WORSE, -1.0)])
    poll(votes, 3, QUESTION, [(TRUTH, 0.0)])
    assert votes.score().submission == {
        "one": [{"attempt_1": WRONG, "attempt_2": TRUTH}],
        "two": [
            {"attempt_1": TRUTH, "attempt_2": TRUTH},  # no second guess
            {"attempt_1": [[0]], "attempt_2": [[0]]},  # no guess: Kaggle wants the entry
        ],
    }


def test_submission_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "submission.json"
    write_submission(path, {"a": []})
    assert json.loads(path.read_text()) == {"a": []}

    with pytest.raises(TypeError, match="not JSON serializable"):
        write_submission(path, {"b": [{"attempt_1": np.zeros(1)}]})
    assert json.loads(path.read_text()) == {"a": []}
    assert [file.name for file in path.parent.iterdir()] == ["submission.json"]


# --- whole dataset ------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three rows: puzzle `one`, its augmentation, and `two` asking its second input."""
    folder = tmp_path / "arc"
    (folder / "test").mkdir(parents=True)
    turned = apply_augmentation(np.array(QUESTION, dtype=np.uint8), 3, SWAP_1_2)
    inputs = np.array([canvas(QUESTION), canvas(turned), canvas(QUESTION), canvas(OTHER_QUESTION)])
    files = {
        "inputs": inputs,
        "labels": np.array([canvas(TRUTH)] * 4),
        "puzzle_identifiers": np.array([1, 2, 3], dtype=np.int32),
        "puzzle_indices": np.array([0, 1, 2, 4], dtype=np.int32),
        "group_indices": np.array([0, 2, 3], dtype=np.int32),
    }
    for name, array in files.items():
        np.save(folder / "test" / f"all__{name}.npy", array)
    metadata = {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": VOCAB,
        "seq_len": SIDE * SIDE,
        "num_puzzle_identifiers": len(NAMES),
        "total_groups": 2,
        "mean_puzzle_examples": 4 / 3,
        "total_puzzles": 3,
        "sets": ["all"],
    }
    (folder / "test" / "dataset.json").write_text(json.dumps(metadata))
    (folder / "identifiers.json").write_text(json.dumps(NAMES))
    (folder / "test_puzzles.json").write_text(json.dumps(PUZZLES))
    return folder


def predictions() -> np.ndarray:
    turned = apply_augmentation(np.array(TRUTH, dtype=np.uint8), 3, SWAP_1_2)
    return np.array([canvas(TRUTH), canvas(turned), canvas(TRUTH), canvas(WRONG)])


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_score_of_a_dataset_does_not_depend_on_the_chunk(dataset, monkeypatch, chunk):
    monkeypatch.setattr(arc, "_CHUNK_ROWS", chunk)
    score = score_arc(dataset, predictions(), np.zeros(4, np.float32), ks=(1,))
    assert score.n_tasks == 2
    assert score.metrics == {"ARC/pass@1": 0.75}
    assert score.tasks[0].tests[0].candidates[0].votes == 2


BAD_PREDICTIONS = {
    "rows": (predictions()[:3], np.zeros(3, np.float32), "shape"),
    "length": (predictions()[:, :16], np.zeros(4, np.float32), "shape"),
    "halting": (predictions(), np.zeros(3, np.float32), "q_halt_logits has shape"),
    "nan": (predictions(), np.array([0, 0, np.nan, 0], np.float32), "NaN"),
    "token": (np.full((4, 25), VOCAB, np.uint8), np.zeros(4, np.float32), "vocabulary"),
}


def test_votes_show_their_progress(dataset, capfd):
    score_arc(dataset, predictions(), np.zeros(4, np.float32), ks=(1,))
    assert "voting 4/4 (100%)" in capfd.readouterr().err


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_predictions_that_do_not_fit_are_refused(dataset, case):
    preds, q_halt, message = BAD_PREDICTIONS[case]
    with pytest.raises(TrmError, match=message):
        score_arc(dataset, preds, q_halt)


def test_a_dataset_without_test_puzzles_is_refused(dataset):
    (dataset / "test_puzzles.json").unlink()
    with pytest.raises(TrmError, match="ARC dataset"):
        score_arc(dataset, predictions(), np.zeros(4, np.float32))
