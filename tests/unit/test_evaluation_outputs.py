"""The files of an evaluation."""

from pathlib import Path

import pandas as pd
import pytest

from tests.runs import ALONE, arc_data, random_run
from trm.evaluate.command import evaluate_checkpoint
from trm.evaluate.settings import parse_arguments


def test_the_votes_of_an_evaluation_are_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """For metrics, submission, the curve's last step and the row of the puzzles' own ids."""
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
    ]
    evaluate_checkpoint(*parse_arguments(words), ALONE)
    assert capsys.readouterr().err.count("voting ") == 3  # the others: blank ids, another's
    steps, ids = (pd.read_csv(tmp_path / name) for name in ("steps.csv", "ids.csv"))
    assert steps["ARC/pass@2"].tolist() == ids["ARC/pass@2"].tolist()[:1]
