"""What Kaggle would not take is refused, and the first wrong task is named."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.data.specs import ArcSpec, arc_file_names, parse_spec
from trm.errors import TrmError
from trm.puzzles.augmentation import NO_SOLUTION
from trm.scoring.arc import Votes, without_accuracy
from trm.scoring.submission import check_submission, complete_submission, read_challenges

CHALLENGES = {"aaaa": 1, "bbbb": 2, "cccc": 1}
GRID = [[0, 9], [3, 4]]


def attempts(n: int = 1) -> list[dict]:
    return [{"attempt_1": GRID, "attempt_2": [[5] * 30] * 30} for _ in range(n)]


VALID = {name: attempts(n) for name, n in CHALLENGES.items()}


def test_a_valid_one_passes_in_any_order_of_tasks() -> None:
    check_submission(VALID, CHALLENGES)
    check_submission(dict(reversed(VALID.items())), CHALLENGES)


def _put(task: str, key: str, value: object):
    def change(submission: dict) -> None:
        submission[task][-1][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("bbbb"), "misses task bbbb"),
        (lambda s: s.clear(), "misses task aaaa and 2 more"),
        (lambda s: s.update(dddd=attempts()), "beyond those asked, task dddd"),
        (lambda s: s.update(bbbb=attempts(1)), "task bbbb: attempts for 1 test inputs, not 2"),
        (lambda s: s.update(bbbb={"attempt_1": GRID}), "task bbbb: its value"),
        (lambda s: s["bbbb"][1].pop("attempt_2"), "task bbbb: test input 2, attempt_2"),
        (_put("cccc", "attempt_3", GRID), "task cccc: test input 1, attempt_3"),
        (_put("bbbb", "attempt_2", [[1, 2], [3]]), "test input 2, attempt_2: .*rows differ"),
        (_put("aaaa", "attempt_1", [[1, 10]]), "task aaaa: .*attempt_1, row 1, cell 2"),
        (_put("aaaa", "attempt_1", [[-1]]), "task aaaa: .*row 1, cell 1"),
        (_put("aaaa", "attempt_1", [[1.0]]), "row 1, cell 1"),
        (_put("aaaa", "attempt_1", [[True]]), "row 1, cell 1"),
        (_put("aaaa", "attempt_1", []), "task aaaa: test input 1, attempt_1"),
        (_put("aaaa", "attempt_1", [[]]), "attempt_1, row 1"),
        (_put("aaaa", "attempt_1", [[0]] * 31), "attempt_1: .*at most 30"),
        (_put("aaaa", "attempt_1", [[0] * 31]), "attempt_1, row 1: .*at most 30"),
    ],
)
def test_what_is_wrong_is_named(change, words: str) -> None:
    submission = copy.deepcopy(VALID)
    change(submission)
    with pytest.raises(TrmError, match=words):
        check_submission(submission, CHALLENGES)


def test_the_first_wrong_task_is_the_one_named() -> None:
    submission = copy.deepcopy(VALID)
    for name in ("cccc", "bbbb"):
        submission[name][0]["attempt_1"] = [[11]]
    with pytest.raises(TrmError, match="task bbbb"):
        check_submission(submission, CHALLENGES)


answered = st.dictionaries(
    st.sampled_from(list(CHALLENGES)), st.sampled_from([GRID, [], [[7]]]), max_size=3
)


@given(answered)
def test_whatever_is_completed_is_valid(given_grids: dict) -> None:
    submission = {
        name: [{"attempt_1": grid, "attempt_2": GRID}] * CHALLENGES[name]
        for name, grid in given_grids.items()
    }
    completed, unanswered = complete_submission(submission, CHALLENGES)
    check_submission(completed, CHALLENGES)
    assert unanswered == [name for name in CHALLENGES if not given_grids.get(name)]
    for name in given_grids:
        assert completed[name][0]["attempt_2"] == GRID


def test_the_command(tmp_path) -> None:
    challenges = tmp_path / "challenges.json"
    tasks = {name: {"train": [], "test": [{}] * n} for name, n in CHALLENGES.items()}
    challenges.write_text(json.dumps(tasks))
    assert read_challenges([challenges]) == CHALLENGES
    submission = tmp_path / "submission.json"

    def check() -> subprocess.CompletedProcess:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "trm.scoring.check_submission",
                str(submission),
                "--challenges",
                str(challenges),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    submission.write_text(json.dumps(VALID))
    assert (done := check()).returncode == 0, done.stderr
    assert "3 tasks, 4 test inputs" in done.stdout
    submission.write_text(json.dumps({**VALID, "aaaa": []}))
    assert (done := check()).returncode == 2
    assert done.stderr.startswith("error: ")
    assert "task aaaa" in done.stderr
    submission.write_text("[")
    assert "is not JSON" in check().stderr


# --- without solutions ----------------------------------------------------------------------------


def test_votes_without_any_solution_have_attempts_and_no_score() -> None:
    pair = {"input": [[1]], "output": NO_SOLUTION}
    puzzles = {name: {"train": [], "test": [pair]} for name in ("one", "two")}
    score = Votes(puzzles, ["<blank>"]).score()
    assert score.metrics == {}
    assert score.tasks[0].tests[0].truth is None
    assert list(score.submission) == ["one", "two"]
    puzzles["two"]["test"] = [{"input": [[1]], "output": [[2]]}]
    # One task alone may truly be answered by [[0]].
    assert Votes(puzzles, ["<blank>"]).score().metrics["ARC/pass@1"] == 0


def test_only_what_needs_no_solution_is_kept() -> None:
    metrics = {"count": 3.0, "steps": 16.0, "accuracy": 0.9, "lm_loss": 1.0, "ARC/pass@1": 0.0}
    assert without_accuracy(metrics) == {"count": 3.0, "steps": 16.0}


def test_a_hidden_subset_has_challenges_alone() -> None:
    assert arc_file_names("test") == ("arc-agi_test_challenges.json",)
    row = {"builder": "arc", "subsets": ["training", "test"], "test_set_name": "test"}
    spec = parse_spec(ArcSpec, row)
    assert spec.raw_files == [
        "arc/arc-agi_training_challenges.json",
        "arc/arc-agi_training_solutions.json",
        "arc/arc-agi_test_challenges.json",
    ]
    with pytest.raises(TrmError, match="test and training cannot be tested together"):
        parse_spec(ArcSpec, {**row, "test_set_name2": "training"})


def test_a_byte_order_mark_is_no_part_of_the_challenges(tmp_path):
    path = tmp_path / "arc-agi_test_challenges.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"t": {"train": [], "test": [{}]}}).encode())
    assert read_challenges([path]) == {"t": 1}
