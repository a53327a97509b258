"""Votes of the first n augmentations, votes of several checkpoints, and the two curves."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from trm.errors import TrmError
from trm.puzzles.augmentation import apply_augmentation, augmented_name
from trm.report.curves import describe_curves, draw_curves
from trm.report.figures import save_figure
from trm.report.steps import STEPS
from trm.report.votes import VOTES
from trm.scoring import arc
from trm.scoring.answers import load_answers, save_answers
from trm.scoring.arc import (
    VOTE_COUNTS,
    count_votes,
    pooled_scores,
    score_answers,
    score_arc,
    score_by_votes,
)
from trm.scoring.gallery import load_gallery
from trm.scoring.predictions import Predictions, save_predictions

SIDE = 4
QUESTION, TRUTH, WRONG, WORSE = [[1, 2], [3, 4]], [[7, 7, 8]], [[7, 7], [8, 8]], [[0]]
COLOURS = np.array([0, 2, 1, 3, 4, 5, 6, 7, 8, 9], dtype=np.uint8)
TASKS = {
    name: {"train": [], "test": [{"input": QUESTION, "output": TRUTH}]} for name in ("one", "two")
}
# Group `one` has four puzzles, `two` has two: a plain one each, then augmentations.
NAMES = [
    "<blank>",
    "one",
    *(augmented_name("one", d, COLOURS) for d in (1, 2, 3)),
    "two",
    augmented_name("two", 5, COLOURS),
]
DIHEDRALS = [0, 1, 2, 3, 0, 5]
PLACES = [0, 1, 2, 3, 0, 1]


def canvas(grid, dihedral: int) -> np.ndarray:
    """Tokens of an augmented grid in the canvas's corner."""
    colours = COLOURS if dihedral else np.arange(10, dtype=np.uint8)
    grid = apply_augmentation(np.array(grid, dtype=np.uint8), dihedral, colours)
    tokens = np.zeros((SIDE, SIDE), dtype=np.uint8)
    rows, columns = grid.shape
    tokens[rows : rows + 1, :columns] = 1
    tokens[:rows, columns : columns + 1] = 1
    tokens[:rows, :columns] = grid + 2
    return tokens.ravel()


def answers(grids) -> np.ndarray:
    return np.array([canvas(grid, d) for grid, d in zip(grids, DIHEDRALS, strict=True)])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("votes") / "arc"
    (folder / "test").mkdir(parents=True)
    files = {
        "inputs": answers([QUESTION] * 6),
        "labels": answers([TRUTH] * 6),
        "puzzle_identifiers": np.arange(1, 7, dtype=np.int32),
        "puzzle_indices": np.arange(7, dtype=np.int32),
        "group_indices": np.array([0, 4, 6], dtype=np.int32),
    }
    for name, array in files.items():
        np.save(folder / "test" / f"all__{name}.npy", array)
    metadata = {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": 12,
        "seq_len": SIDE * SIDE,
        "num_puzzle_identifiers": len(NAMES),
        "total_groups": 2,
        "mean_puzzle_examples": 1.0,
        "total_puzzles": 6,
        "sets": ["all"],
    }
    (folder / "test" / "dataset.json").write_text(json.dumps(metadata))
    (folder / "identifiers.json").write_text(json.dumps(NAMES))
    (folder / "test_puzzles.json").write_text(json.dumps(TASKS))
    return folder


NO_Q = np.zeros(6, np.float32)
# one: the plain answer is wrong, two of three augmentations right; two: right, then wrong.
PREDS = answers([WRONG, TRUTH, WORSE, TRUTH, TRUTH, WRONG])


def by_votes(dataset, preds, q_halt_logits, counts=VOTE_COUNTS) -> dict[int, dict[str, float]]:
    answers = count_votes(dataset, preds, q_halt_logits)
    return score_by_votes(dataset, answers, q_halt_logits, counts)


# --- the file -----------------------------------------------------------------------------------


@pytest.fixture
def answers_npz(dataset, tmp_path) -> Path:
    save_answers(tmp_path / "answers.npz", count_votes(dataset, PREDS, NO_Q))
    return tmp_path / "answers.npz"


def test_answers_are_read_as_they_were_counted(dataset, answers_npz, tmp_path):
    q_halt = np.linspace(-2, 2, 6).astype(np.float32)
    counted = count_votes(dataset, PREDS, q_halt)
    save_answers(answers_npz, counted)
    read = load_answers(answers_npz)
    shown = [[(c.grid.tolist(), c.votes, c.mean_q) for c in a.to(0)] for a in (counted, read)]
    assert shown[0] == shown[1]
    assert [(grid, votes) for grid, votes, _ in shown[0]] == [(TRUTH, 2), (WORSE, 1), (WRONG, 1)]
    assert read.voted.tolist() == [2, 0, 1, 0, 4, 3]
    assert score_by_votes(dataset, read, q_halt) == score_by_votes(dataset, counted, q_halt)
    save_answers(tmp_path / "again.npz", read)
    assert (tmp_path / "again.npz").read_bytes() == answers_npz.read_bytes()


def test_an_answer_without_a_grid_is_kept(dataset, answers_npz):
    preds = PREDS.copy()
    preds[4] = 0
    save_answers(answers_npz, count_votes(dataset, preds, NO_Q))
    assert [c.grid.shape for c in load_answers(answers_npz).to(1)] == [(0, 0), (2, 2)]


def test_an_input_that_a_task_asks_twice_has_one_ballot(dataset, answers_npz, tmp_path):
    shutil.copytree(dataset, tmp_path / "twice")
    tests = TASKS["one"]["test"]
    tasks = {"one": {"train": [], "test": tests * 2}, "two": TASKS["two"]}
    (tmp_path / "twice/test_puzzles.json").write_text(json.dumps(tasks))
    score = score_answers(tmp_path / "twice", load_answers(answers_npz))
    first, second = score.tasks[0].tests
    assert [c.votes for c in first.candidates] == [c.votes for c in second.candidates] == [2, 1, 1]


def test_answers_of_another_dataset_are_refused(dataset, answers_npz, tmp_path):
    shutil.copytree(dataset, tmp_path / "other")
    (tmp_path / "other/test_puzzles.json").write_text(json.dumps({"one": TASKS["one"]}))
    with pytest.raises(TrmError, match="answers to 2 test inputs, but .* has 1"):
        score_answers(tmp_path / "other", load_answers(answers_npz))
    with pytest.raises(TrmError, match="6 test rows, but there are votes of 6 and .* of 5"):
        score_by_votes(dataset, load_answers(answers_npz), NO_Q[1:])


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"text"])
def test_a_damaged_file_of_answers_is_one_sentence(answers_npz, content):
    content = answers_npz.read_bytes()[:300] if content is None else content
    answers_npz.write_bytes(content)
    with pytest.raises(TrmError, match=r"answers.npz cannot be read .*: evaluate the run again"):
        load_answers(answers_npz)
    answers_npz.unlink()
    with pytest.raises(TrmError, match=r"answers.npz is missing: evaluate the run first"):
        load_answers(answers_npz)


# --- the first n --------------------------------------------------------------------------------


def test_only_the_first_n_puzzles_of_each_group_vote(dataset):
    scores = by_votes(dataset, PREDS, NO_Q, counts=(1, 2, 3, 4))
    passes = {n: (m["ARC/pass@1"], m["ARC/pass@2"], m["ARC/tasks"]) for n, m in scores.items()}
    assert passes == {
        1: (0.5, 0.5, 2),  # one: WRONG alone
        2: (0.5, 1.0, 2),  # one: WRONG and TRUTH once each, the earlier first
        3: (0.5, 1.0, 2),
        4: (1.0, 1.0, 2),  # one: TRUTH twice
    }


def test_the_whole_group_s_votes_are_score_arc_s(dataset):
    q_halt = np.linspace(-2, 2, 6).astype(np.float32)
    whole = by_votes(dataset, PREDS, q_halt, counts=(4,))[4]
    assert whole == {**score_arc(dataset, PREDS, q_halt).metrics, "ARC/tasks": 2}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_n_votes_are_those_of_a_dataset_cut_to_n(dataset, n):
    """Against the rows chosen by hand, on random answers and logits."""
    rng = np.random.default_rng(n)
    for _ in range(20):
        pool = [TRUTH, WRONG, WORSE]
        preds = answers([pool[i] for i in rng.integers(0, 3, 6)])
        q_halt = rng.normal(size=6).astype(np.float32)
        votes = arc.Votes(TASKS, NAMES)
        kept = np.array(PLACES) < n
        inputs = np.load(dataset / "test" / "all__inputs.npy")
        votes.add(np.arange(1, 7)[kept], inputs[kept], preds[kept], q_halt[kept])
        expected = {**votes.score().metrics, "ARC/tasks": 2}
        assert by_votes(dataset, preds, q_halt, counts=(n,))[n] == expected


def test_counts_beyond_the_largest_group_are_named_by_what_voted(dataset):
    assert list(by_votes(dataset, PREDS, NO_Q)) == [1, 4]  # of 1, 10, 100, 300, 1000


@pytest.mark.parametrize("chunk", [1, 4, 5])
def test_the_chunk_does_not_matter(dataset, monkeypatch, chunk):
    expected = by_votes(dataset, PREDS, NO_Q, counts=(1, 2, 4))
    monkeypatch.setattr(arc, "_CHUNK_ROWS", chunk)
    assert by_votes(dataset, PREDS, NO_Q, counts=(1, 2, 4)) == expected


@pytest.mark.parametrize("counts", [(), (0,), (10, -1)])
def test_useless_counts_are_refused(dataset, counts):
    with pytest.raises(TrmError, match="numbers of votes"):
        by_votes(dataset, PREDS, NO_Q, counts=counts)


def test_predictions_of_another_dataset_are_refused(dataset):
    with pytest.raises(TrmError, match="another dataset"):
        by_votes(dataset, PREDS[:5], NO_Q)


# --- several checkpoints ------------------------------------------------------------------------


def test_pooled_votes_add_up_under_their_own_name(dataset):
    first = Predictions(answers([WRONG, WRONG, TRUTH, WORSE, TRUTH, TRUTH]), NO_Q)
    second = Predictions(answers([TRUTH, TRUTH, WORSE, WORSE, TRUTH, TRUTH]), NO_Q)
    alone = [score_arc(dataset, p.preds, p.q_halt_logits, (1,)).metrics for p in (first, second)]
    assert alone == [{"ARC/pass@1": 0.5}, {"ARC/pass@1": 1.0}]
    # one: TRUTH and WORSE 3 times each, WRONG twice; TRUTH came before WORSE.
    *_, score = pooled_scores(dataset, [first, second], ks=(1, 2))
    assert score.pooled.metrics == {"ARC/pooled_pass@1": 1.0, "ARC/pooled_pass@2": 1.0}
    assert score.alone.metrics == {"ARC/pass@1": 1.0, "ARC/pass@2": 1.0}
    score = score.pooled
    assert [c.votes for c in score.tasks[0].tests[0].candidates] == [3, 3, 2]
    assert score.submission["one"] == [{"attempt_1": TRUTH, "attempt_2": WORSE}]


def test_one_checkpoint_pooled_scores_as_alone(dataset):
    score = next(pooled_scores(dataset, iter([Predictions(PREDS, NO_Q)])))
    alone, pooled = score.alone.metrics, score.pooled.metrics
    assert alone == score_arc(dataset, PREDS, NO_Q).metrics
    assert {name.replace("pooled_", ""): value for name, value in pooled.items()} == alone
    assert not pooled.keys() & alone.keys()


def test_pooling_refuses_foreign_predictions(dataset):
    with pytest.raises(TrmError, match="another dataset"):
        list(pooled_scores(dataset, [Predictions(PREDS, NO_Q), Predictions(PREDS[1:], NO_Q[1:])]))


# --- curves -------------------------------------------------------------------------------------


@pytest.fixture
def steps_csv(tmp_path) -> Path:
    path = tmp_path / "steps.csv"
    path.write_text(
        "supervision_steps,accuracy,exact_accuracy,q_halt_accuracy,count\n"
        "16,0.95,0.87,0.99,422786\n1,0.8,0.2,0.7,422786\n64,0.95,0.86,0.98,422786\n"
    )
    return path


@pytest.fixture
def votes_csv(tmp_path) -> Path:
    path = tmp_path / "votes.csv"
    path.write_text("n_augmentations,pass@1,pass@2,n_tasks\n1,0.2,0.25,400\n1000,0.4,0.446,400\n")
    return path


def ticks(axes) -> list[tuple[float, str]]:
    labels = [label.get_text() for label in axes.get_xticklabels()]
    return list(zip(axes.get_xticks(), labels, strict=True))


def test_steps_curve_has_a_tick_at_each_measured_number(steps_csv):
    (axes,) = draw_curves(steps_csv, STEPS).axes
    assert axes.get_xscale() == "log"
    assert ticks(axes) == [(1, "1"), (16, "16"), (64, "64")]
    assert len(axes.xaxis.get_minorticklocs()) == 0
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert list(lines) == ["exact accuracy", "cell accuracy", "halting decision right"]
    assert lines["exact accuracy"] == [0.2, 0.87, 0.86]
    assert "422,786 test examples" in axes.get_ylabel()


@pytest.mark.parametrize("name", ["pass@2", "ARC/pass@2"])
def test_steps_curve_shows_votes_of_arc(steps_csv, name):
    pd.read_csv(steps_csv).assign(**{name: 0.4}).to_csv(steps_csv, index=False)
    (axes,) = draw_curves(steps_csv, STEPS).axes
    assert axes.get_lines()[0].get_label() == "pass@2"


def test_labels_that_would_touch_are_left_out(tmp_path):
    path = tmp_path / "votes.csv"
    counts = [1, 2, 3, 10, 100, 290, 300, 990, 1000]
    pd.DataFrame({"n_augmentations": counts, "pass@2": 0.1, "n_tasks": 400}).to_csv(path)
    (axes,) = draw_curves(path, VOTES).axes
    labels = [label for _, label in ticks(axes)]
    assert labels == ["1", "2", "3", "10", "100", "", "300", "", "1,000"]


def test_votes_curve_and_its_words(votes_csv, steps_csv):
    (axes,) = draw_curves(votes_csv, VOTES).axes
    assert ticks(axes) == [(1, "1"), (1000, "1,000")]
    assert [line.get_label() for line in axes.get_lines()] == ["pass@2", "pass@1"]
    assert describe_curves(votes_csv, VOTES) == (
        "pass@2 is 25.0% with 1 vote per test input, 44.6% with 1,000 votes per test input, "
        "44.6% at best, with 1,000 votes per test input; of 400 tasks."
    )
    assert describe_curves(steps_csv, STEPS) == (
        "exact accuracy is 20.0% with 1 supervision step, 86.0% with 64 supervision steps, "
        "87.0% at best, with 16 supervision steps; of 422,786 test examples."
    )


def test_curves_are_the_same_bytes_each_time(votes_csv, tmp_path):
    for name in ("a", "b"):
        save_figure(draw_curves(votes_csv, VOTES), tmp_path / name / "votes.svg", "words")
    assert (tmp_path / "a/votes.svg").read_bytes() == (tmp_path / "b/votes.svg").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing or empty"),
        ("", "missing or empty"),
        ("pass@2,n_tasks\n0.5,400\n", "no column 'n_augmentations'"),
        ("n_augmentations,pass@2\n1,0.5\n", "no column 'n_tasks'"),
        ("n_augmentations,pass@3,n_tasks\n1,0.5,400\n", "no values of pass@2, pass@1"),
        ("n_augmentations,pass@2,n_tasks\n", "no values"),
        ("n_augmentations,pass@2,n_tasks\n0,0.5,400\n", "at 1 or more"),
    ],
)
def test_a_useless_table_is_refused(tmp_path, content, message):
    path = tmp_path / "votes.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrmError, match=message):
        draw_curves(path, VOTES)


# --- scripts ------------------------------------------------------------------------------------


def run_script(name: str, *words: object) -> None:
    with mock.patch("sys.argv", [name, *map(str, words)]):
        runpy.run_path(str(ROOT / "workflow" / "scripts" / f"{name}.py"))["main"]()


def test_no_script_counts_the_votes_again(dataset, answers_npz, tmp_path, capsys):
    """Figures, gallery and votes.csv are made from what the evaluation counted."""
    save_predictions(tmp_path / "predictions.npz", Predictions(PREDS, NO_Q))
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("wandb: disabled\n")
    capsys.readouterr()
    files = ("--predictions", tmp_path / "predictions.npz", "--answers", answers_npz)
    run_script("votes", "--dataset", dataset, *files, "--out", tmp_path / "votes.csv")
    picture, gallery = tmp_path / "figures/examples.svg", tmp_path / "gallery.json"
    of_result = ("--result", tmp_path, "--dataset", dataset, "--kind", "arc")
    run_script("figures", *of_result, "--out-figures", picture, "--out-gallery", gallery)
    assert "voting" not in capsys.readouterr().err
    assert (tmp_path / "votes.csv").read_text().splitlines() == [
        "n_augmentations,pass@1,pass@2,n_tasks",
        "1,0.500000,0.500000,2",
        "4,1.000000,1.000000,2",
    ]
    assert "2 solved and 0 failed test inputs" in picture.read_text()
    assert [p.votes for p in load_gallery(gallery).puzzles] == [[2, 1], [1, 1]]


def test_one_figure_is_drawn_from_its_table(votes_csv, tmp_path):
    run_script("figure", "--result", tmp_path, "--out", tmp_path / "figures/votes.svg")
    assert "44.6% at best" in (tmp_path / "figures/votes.svg").read_text()
    with pytest.raises(TrmError, match="no figure 'vote'; did you mean 'votes'"):
        run_script("figure", "--result", tmp_path, "--out", tmp_path / "figures/vote.svg")
