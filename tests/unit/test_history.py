"""history.csv holds every metric of every record."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.runs import ALONE, arc_data, config_of
from trm.training.tracking import COLUMNS, History
from trm.training.trainer import train


def test_a_metric_that_no_column_foresaw_gets_one(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", ["ARC/pass@1"])
    history.add({"step": 1, "split": "train", "loss": 0.5})
    history.add({"step": 1, "split": "test", "a new metric": 0.25, "ARC/pass@1": 1.0})
    history.add({"step": 2, "split": "train", "loss": 0.125})
    found = pd.read_csv(tmp_path / "history.csv")
    assert list(found) == [*COLUMNS, "ARC/pass@1", "a new metric"]
    assert found["a new metric"].tolist()[1] == 0.25
    assert found["a new metric"].isna().tolist() == [True, False, True]
    assert found["loss"].dropna().tolist() == [0.5, 0.125]


def test_a_resumed_run_keeps_its_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history = History(path, ["ARC/pass@1"])
    for step in (1, 2, 3):
        history.add({"step": step, "split": "train", "loss": 1 / step, "of old": step})
    path.write_bytes(path.read_bytes() + b"4,train,0.2")  # killed while it wrote a row
    resumed = History(path, ["ARC/pass@7"], keep_rows=2)
    resumed.add({"step": 3, "split": "test", "ARC/pass@7": 1.0})
    found = pd.read_csv(path)
    assert list(found) == [*COLUMNS, "ARC/pass@1", "of old", "ARC/pass@7"]
    assert found.step.tolist() == [1, 2, 3]
    assert found["of old"].tolist()[:2] == [1, 2]
    assert found["ARC/pass@7"].tolist()[2] == 1.0
    assert resumed.rows == 3


def test_a_run_that_resumes_with_an_evaluator_records_its_votes(tmp_path: Path) -> None:
    arc_data(tmp_path / "data")
    settings = {"epochs": 4, "eval_interval": 2, "global_batch_size": 2}
    train(config_of(tmp_path / "data", tmp_path / "run", evaluators="[]", **settings), ALONE)
    assert "ARC/pass@1" not in pd.read_csv(tmp_path / "run" / "history.csv")
    voting = "[{name: arc@ARC, pass_Ks: [1, 2]}]"
    train(config_of(tmp_path / "data", tmp_path / "run", evaluators=voting, **settings), ALONE)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    votes = history[history["ARC/pass@1"].notna()]
    assert votes.split.tolist() == ["test"] and votes.step.tolist() == [history.step.max()]
