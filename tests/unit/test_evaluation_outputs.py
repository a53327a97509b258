"""The files of an evaluation."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.runs import ALONE, arc_data, random_run
from trm.errors import TrmError
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import parse_arguments
from trm.scoring.answers import load_answers
from trm.scoring.arc import score_answers


def test_the_votes_of_an_evaluation_are_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """For metrics, answers, submission, the curve's last step and the row of the own ids."""
    arc_data(tmp_path / "data")
    run = random_run(tmp_path / "run", tmp_path / "data", 5, 12, puzzles=13)
    capsys.readouterr()
    words = [
        f"checkpoint={run}/final",
        f"out={tmp_path}/metrics.json",
        "puzzle_embeddings=reinitialise",
        "at_steps=[3]",
        f"steps_out={tmp_path}/steps.csv",
        f"task_ids_out={tmp_path}/ids.csv",
        f"answers={tmp_path}/answers.npz",
    ]
    evaluate_checkpoint(*parse_arguments(words), ALONE)
    assert capsys.readouterr().err.count("voting ") == 3  # the others: blank ids, another's
    steps, ids = (pd.read_csv(tmp_path / name) for name in ("steps.csv", "ids.csv"))
    score = score_answers(tmp_path / "data", load_answers(tmp_path / "answers.npz"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert score.metrics.items() <= metrics.items()
    assert score.submission == json.loads((tmp_path / "submission.json").read_text())
    assert steps["ARC/pass@2"].tolist() == ids["ARC/pass@2"].tolist()[:1]


def test_answers_of_boards_are_refused(sudoku_data: Path, tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", sudoku_data, 9, 11)
    words = [f"checkpoint={run}/final", f"out={tmp_path}/m.json", f"answers={tmp_path}/answers.npz"]
    with pytest.raises(TrmError, match="is not an ARC dataset"):
        evaluate_checkpoint(*parse_arguments(words), ALONE)
