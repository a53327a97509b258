"""Search at test time on ARC: every version of a task is searched, and the chosen answers vote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.runs import ALONE, arc_data, make_answers_true, random_run
from tests.unit.test_arc_scoring import (
    NAMES,
    PUZZLES,
    QUESTION,
    SWAP_1_2,
    TRUTH,
    WORSE,
    WRONG,
    canvas,
)
from tests.unit.test_training import halting_model
from trm.data.batches import PuzzleData
from trm.data.read import load_identifiers
from trm.evaluate import search as command
from trm.evaluate.judges import Boards, Sample, sample_of
from trm.evaluate.loop import evaluate
from trm.evaluate.rollouts import Searcher
from trm.evaluate.search import search_sample, table_of, views_of
from trm.evaluate.settings import Settings
from trm.model.trm import TRM
from trm.puzzles.augmentation import apply_augmentation
from trm.report.drawing import Source, draw_figure
from trm.scoring.arc import ScoredTask, crop, score_arc, without_surroundings
from trm.scoring.ballots import Ballots, TaskVotes, attempt_column
from trm.scoring.choices import CHOICES, Rollouts
from trm.scoring.predictions import Predictions
from trm.study.search import Search

LOSS = "stablemax_cross_entropy"
LAST_ANSWER = [name for name in CHOICES if name != "first_to_halt"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks of two test inputs, eight versions each."""
    folder = tmp_path_factory.mktemp("arc") / "data"
    arc_data(folder, num_aug=7)
    return folder


@pytest.fixture(scope="module")
def data(dataset: Path) -> PuzzleData:
    return PuzzleData.load([str(dataset)], "test")


@pytest.fixture(scope="module")
def model(data: PuzzleData) -> TRM:
    return halting_model(data).eval()


@pytest.fixture(scope="module")
def predictions(dataset: Path, data: PuzzleData, model: TRM) -> Predictions:
    """Those of an evaluation; some become the truth, as the model knows nothing."""
    found = evaluate(model, data, Settings(LOSS, 8), ALONE).predictions
    assert found is not None
    make_answers_true(dataset, found)
    return found


def searched(
    dataset: Path, data: PuzzleData, model: TRM, size: int, **settings: object
) -> tuple[Sample, pd.DataFrame]:
    search = Search(**settings)
    boards = Boards.of(dataset, "arc", data.metadata)
    views = views_of(boards, "arc", search)
    searcher = Searcher(model, search, views, torch.device("cpu"), 8)
    sample = sample_of(dataset, boards, data, size, search.seed)
    tally = search_sample(searcher, data, sample, ALONE)
    return sample, table_of(tally, sample.judge, 100, searcher.steps).set_index("rollouts")


def shares(tasks: list[ScoredTask]) -> dict[str, float]:
    """pass@1 and pass@2 of an evaluation of some tasks."""
    return {f"pass@{k}": np.mean([task.share_solved(k) for task in tasks]) for k in (1, 2)}


@pytest.mark.parametrize("size", [2, 3])
def test_one_rollout_without_noise_scores_as_the_evaluation(
    dataset, data, model, predictions, size: int
) -> None:
    score = score_arc(dataset, predictions.preds, predictions.q_halt_logits)
    sample, table = searched(dataset, data, model, size, rollouts=1, noise=0)
    drawn = [task for task in score.tasks if task.name in sample.judge.votes.tasks]
    assert len(drawn) == size == table["count"][1]
    wanted = shares(drawn)
    assert 0 < wanted["pass@1"] < wanted["pass@2"] < 1
    for name in LAST_ANSWER:
        for k in (1, 2):
            assert table[attempt_column(name, k)][1] == wanted[f"pass@{k}"], name
    assert table["pass"][1] >= wanted["pass@2"]


def test_every_version_of_a_drawn_task_is_searched(dataset, data, model) -> None:
    sample, table = searched(dataset, data, model, 2, rollouts=2, noise=0.5)
    names = load_identifiers(dataset)
    owners = np.concatenate(
        [np.repeat(s.puzzle_identifiers, np.diff(s.puzzle_indices)) for s in data.sets]
    )
    tasks = [names[owner].split("|||")[0] for owner in owners[sample.examples]]
    drawn = {*sample.judge.votes.tasks}
    assert {*tasks} == drawn
    assert len(tasks) == 2 * 2 * 8
    # A task costs what its 16 rows cost.
    assert list(table["flop"]) == [1600, 3200]
    other = sample_of(dataset, Boards.of(dataset, "arc", data.metadata), data, 2, 3)
    assert {*other.judge.votes.tasks} != drawn


def test_more_tasks_than_there_are_is_noted(dataset, data) -> None:
    sample = sample_of(dataset, Boards.of(dataset, "arc", data.metadata), data, 9, 0)
    assert len(sample.examples) == data.n_examples
    assert sample.note(9) == "there are 3 tasks, not 9: all of them are searched"
    assert sample.note(3) is None


# --- counted by hand ------------------------------------------------------------------------------


def rollouts(*answers: tuple[list, float]) -> Rollouts:
    """By answer and halting logit; the logits of the last one change least."""
    count = len(answers)
    tokens = np.array([canvas(answer) for answer, _ in answers])
    q_halt = np.array([q for _, q in answers], dtype=np.float32)
    return Rollouts(
        tokens, q_halt, np.arange(count)[::-1], np.full(count, 9), tokens.copy(), q_halt.copy()
    )


def votes_of(*rows: Rollouts) -> dict[int, dict[str, float]]:
    """The shares, where each row is of the task "one"."""
    voters = TaskVotes({"one": PUZZLES["one"]}, NAMES)
    ballots = Ballots()
    for row in rows:
        voters.add(ballots, 1, canvas(QUESTION), row)
    return voters.shares(ballots)


def test_each_row_has_one_vote_for_its_chosen_answer() -> None:
    row = rollouts((WRONG, 3.0), (TRUTH, 1.0), (TRUTH, 0.0), (WORSE, -1.0))
    found = votes_of(row)[4]
    assert found["most_frequent_pass@1"] == 1
    for name in ("best_halting_logit", "smallest_residual", "first_to_halt"):
        assert found[f"{name}_pass@2"] == 0, name
    # The second row makes the truth the second of two answers; the surer one is the first.
    found = votes_of(row, rollouts(*[(TRUTH, 2.0)] * 4))[4]
    assert (found["best_halting_logit_pass@1"], found["best_halting_logit_pass@2"]) == (0, 1)
    found = votes_of(row, rollouts(*[(TRUTH, 4.0)] * 4))[4]
    assert found["best_halting_logit_pass@1"] == 1


def test_equal_votes_count_by_first_appearance() -> None:
    first = votes_of(rollouts((TRUTH, 1.0)), rollouts((WRONG, 1.0)))[1]
    second = votes_of(rollouts((WRONG, 1.0)), rollouts((TRUTH, 1.0)))[1]
    assert [f["best_halting_logit_pass@1"] for f in (first, second)] == [1, 0]


def test_pass_is_any_rollout_of_any_row() -> None:
    wrong = rollouts(*[(WRONG, 0.0)] * 4)
    right = rollouts((WRONG, 0.0), (WRONG, 0.0), (TRUTH, -9.0), (WRONG, 0.0))
    assert {n: found["pass"] for n, found in votes_of(wrong, right).items()} == {1: 0, 2: 0, 4: 1}
    assert votes_of(wrong, wrong)[4]["pass"] == 0


def test_what_surrounds_a_grid_makes_no_other_answer() -> None:
    """A model is not trained on what it writes beside the grid."""
    same = rollouts((WRONG, 3.0), (TRUTH, 0.0), (TRUTH, 0.0))
    same.answers[1, -1] = same.answers[2, -2] = 7
    assert votes_of(same)[3]["most_frequent_pass@1"] == 1
    tokens = np.random.default_rng(0).integers(0, 12, (200, 25)).astype(np.uint8)
    bare = without_surroundings(tokens)
    for grid, same_grid, kept in zip(crop(tokens), crop(bare), bare, strict=True):
        np.testing.assert_array_equal(grid, same_grid)
        assert (kept > 0).sum() == grid.size


def test_processes_share_the_rows_out() -> None:
    rng = np.random.default_rng(1)
    grids = (TRUTH, WRONG, WORSE, [[3]], [[4, 4]])
    turned = apply_augmentation(np.array(QUESTION, np.uint8), 3, SWAP_1_2)
    asked = {1: QUESTION, 2: turned, 3: QUESTION}  # by puzzle: versions of "one", and "two"
    voters = TaskVotes(PUZZLES, NAMES)
    whole, parts = Ballots(), [Ballots() for _ in range(3)]
    for number in range(12):
        drawn = rng.integers(0, 5, 6).tolist()
        row = rollouts(*((grids[i], float(rng.normal())) for i in drawn))
        puzzle = 1 + number % 3
        for ballots in (whole, parts[number // 5]):
            voters.add(ballots, puzzle, canvas(asked[puzzle]), row)
    together = Ballots()
    for part in parts:
        together.add(part)
    assert together == whole
    assert voters.shares(together) == voters.shares(whole)


def test_memory_does_not_grow_with_the_rollouts() -> None:
    """Answers that no choice takes are not kept."""
    rng = np.random.default_rng(2)
    many = rollouts(*((rng.integers(0, 10, (3, 3)).tolist(), q) for q in rng.normal(size=256)))
    ballots = Ballots()
    TaskVotes(PUZZLES, NAMES).add(ballots, 1, canvas(QUESTION), many)
    assert len(ballots.voted) == 9 * len(CHOICES)
    assert len(ballots.numbers) <= 9 * len(CHOICES)


# --- the command, and the figure ------------------------------------------------------------------


def test_the_command_writes_what_passes(tmp_path, monkeypatch, capsys) -> None:
    arc_data(tmp_path / "data")
    puzzles = len(load_identifiers(tmp_path / "data"))
    run = random_run(tmp_path / "run", tmp_path / "data", 5, 12, puzzles)
    words = [
        *("--dataset", str(tmp_path / "data"), "--kind", "arc", "--sample", "1000"),
        *("--weights", str(run / "final"), "--train-config", str(run / "all_config.yaml")),
        *("--search", '{"rollouts": 3, "noise": 0.2}', "--out", str(tmp_path / "search.csv")),
    ]
    monkeypatch.setattr("sys.argv", ["search", *words])
    monkeypatch.setenv("TRM_DEVICE", "cpu")
    command.main()
    assert "note: there are 3 tasks, not 1,000" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "search.csv")
    assert list(table.columns) == [
        *("rollouts", "supervision_steps", "steps_to_halt", "flop", "seconds", "pass"),
        *(f"{name}_pass@{k}" for name in CHOICES for k in (1, 2)),
        "count",
    ]
    assert list(table.rollouts) == [1, 2, 3]
    assert (table["count"] == 3).all()


def test_the_figure_shows_two_attempts(tmp_path) -> None:
    columns = [f"{name}_pass@{k}" for name in CHOICES for k in (1, 2)]
    (tmp_path / "search-1000.csv").write_text(
        f"rollouts,supervision_steps,steps_to_halt,flop,seconds,pass,{','.join(columns)},count\n"
        "1,16,9.5,1.2e12,0.011,0.5,0.1,0.2,0.1,0.2,0.1,0.2,0.1,0.2,400\n"
        "25,16,3,3.84e13,0.352,0.9,0.3,0.4,0.5,0.6,0.4,0.45,0.2,0.3,400\n"
    )
    drawn = draw_figure(Source(tmp_path, kind="arc"), "search")
    (axes,) = drawn.figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert lines == {
        "best halting logit": [0.2, 0.4],
        "most frequent": [0.2, 0.6],
        "smallest residual": [0.2, 0.45],
        "first to halt": [0.2, 0.3],
        "any rollout right": [0.5, 0.9],
    }
    assert axes.get_ylabel() == "right, of 400 tasks in two attempts"
    assert drawn.description == (
        "best halting logit is 20.0% with 1 rollout, 40.0% with 25 rollouts, "
        "40.0% at best, with 25 rollouts; of 400 tasks in two attempts."
    )
