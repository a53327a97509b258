"""The board of time to quality, from result folders made up here and a real one."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.unit.test_paper_tables import CONFIG
from trm.errors import TrmError
from trm.report.page import render_page
from trm.report.results import load_result
from trm.report.time_to_quality import (
    Entry,
    board_frame,
    describe_board,
    draw_board,
    entries_of,
)
from trm.study.listing import listing
from trm.study.table import Study
from trm.study.targets import explain_target, unknown_target_pattern

EXAMPLE = ROOT / "results/example-run"
PUBLISHED = {
    "name": "theirs",
    "percent": 87.0,
    "hours": 2,
    "devices": 4,
    "device": "H100",
    "source": "a paper",
}
COLUMNS = ["step", "split", "loss", "exact_accuracy", "count", "elapsed_s", "train_flop"]


def study_with(*published: dict, stand_in: bool = False, **own: object) -> Study:
    """The study of the tables' tests, with these published trainings of `easy`."""
    config = copy.deepcopy(CONFIG) | {"board": {"published": {"easy": [*published]}}}
    config["benchmarks"]["easy"]["stand_in"] = stand_in
    config["benchmarks"]["easy"]["variants"]["own"] = own
    return Study.of(config)


def make_result(root: Path, rows: list[tuple], name: str = "easy/mlp/seed-3") -> Path:
    """A result on 100 test puzzles; rows are those of COLUMNS."""
    folder = root / "results" / name
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "history.csv", index=False)
    metrics = {"exact_accuracy": rows[-1][3], "count": 100.0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    known = {"device": "H100", "world_size": 2, "train_wall_s": 7300.0, "train_flop": 8e15}
    (folder / "provenance.json").write_text(json.dumps(known))
    return folder


HISTORY = [
    (10, "train", 1.0, 0.99, 8, 900.0, 1e15),
    (20, "test", None, 0.40, 100, 1800.0, 2e15),
    (40, "test-raw", None, 0.99, 100, 3500.0, 4e15),
    (40, "test", None, 0.87, 100, 3600.0, 4e15),
    (80, "test", None, 0.80, 100, 7200.0, 8e15),
]


def entries(study: Study, *folders: Path) -> list[Entry]:
    return entries_of([load_result(folder) for folder in folders], study)


def frame(study: Study, *folders: Path) -> pd.DataFrame:
    return board_frame(entries(study, *folders), study.board.thresholds)


# --- ours ---------------------------------------------------------------------------------------


def test_ours_is_the_first_evaluation_that_reached_a_threshold(tmp_path: Path) -> None:
    """Not the trained batches, not the raw weights, and nothing between two evaluations."""
    folder = make_result(tmp_path, HISTORY)
    (row,) = frame(study_with(), folder).to_dict("records")
    assert (row["benchmark"], row["entry"], row["by"], row["seed"]) == ("easy", "mlp", "ours", 3)
    assert (row["metric"], row["test_set"], row["best_percent"]) == (
        "exact_accuracy",
        "full",
        "87.00",
    )
    for threshold in (50, 87):
        assert row[f"hours_to_{threshold}"] == "1"
        assert row[f"device_hours_to_{threshold}"] == "2"
        assert row[f"flop_to_{threshold}"] == "4e+15"
    assert {row[f"{what}_to_95"] for what in ("hours", "device_hours", "flop")} == {None}
    assert (row["hours"], row["flop"]) == ("2.028", "8e+15")
    assert (row["device"], row["devices"]) == ("H100", 2)
    assert (row["source"], row["log"], row["note"]) == (f"{folder}/history.csv", "", "")


def test_evaluations_of_a_sample_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [(10, "test", None, 0.9, 50, 900.0, 1e15), *HISTORY[1:]]
    (row,) = frame(study_with(), make_result(tmp_path, rows)).to_dict("records")
    assert row["hours_to_50"] == "1"
    assert row["note"] == "1 of 4 evaluations were of a sample, and are left out"


def test_a_history_without_the_metric_or_flop_has_empty_cells(tmp_path: Path) -> None:
    folder = make_result(tmp_path, HISTORY)
    history = pd.read_csv(folder / "history.csv")
    history.drop(columns="train_flop").to_csv(folder / "history.csv", index=False)
    (row,) = frame(study_with(), folder).to_dict("records")
    assert (row["hours_to_50"], row["flop_to_50"]) == ("1", None)
    history.drop(columns="exact_accuracy").to_csv(folder / "history.csv", index=False)
    (row,) = frame(study_with(), folder).to_dict("records")
    assert (row["hours_to_50"], row["best_percent"]) == (None, None)
    assert row["note"] == "its history.csv has no exact_accuracy"


def test_given_weights_have_no_time_and_a_start_is_said(tmp_path: Path) -> None:
    given = make_result(tmp_path, HISTORY, "easy/att/seed-0")
    (given / "history.csv").unlink()
    own = make_result(tmp_path, HISTORY, "easy/own/seed-0")
    (row,) = frame(study_with(starts_from="easy/mlp"), given, own).to_dict("records")
    assert row["entry"] == "own"
    assert row["note"] == "starts from easy/mlp, whose training is not counted"


def test_the_log_is_named_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_result(tmp_path, HISTORY)
    log = tmp_path / "logs/train/easy/mlp/seed-3.log"
    log.parent.mkdir(parents=True)
    log.touch()
    monkeypatch.chdir(tmp_path)
    assert frame(study_with(), folder).log[0] == "logs/train/easy/mlp/seed-3.log"


def test_a_real_result() -> None:
    """Times as its committed history has them; it was made before FLOP were counted."""
    study = Study.load(ROOT / "config/config.yaml")
    folder = EXAMPLE / "sudoku-6x6/quick/seed-0"
    (entry,) = [e for e in entries(study, folder) if e.by == "ours"]
    history = pd.read_csv(folder / "history.csv")
    tests = history[(history.split == "test") & (history.exact_accuracy >= 0.5)]
    assert entry.reached[50].hours == tests.elapsed_s.iloc[0] / 3600
    assert [*entry.reached] == [50, 87, 95]


# --- published ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, [50, 87]),
        ({"percent": 86.99}, [50]),
        ({"percent": 49}, []),
        ({"percent": 96.9, "test_set": "subset"}, [50, 87, 95]),
        ({"hours": None}, []),
        ({"metric": "accuracy"}, []),  # another figure than the thresholds are of
        ({"metric": "exact_accuracy"}, [50, 87]),
    ],
)
def test_a_published_figure_reaches_what_it_is_not_below(change: dict, reached: list) -> None:
    (entry,) = entries(study_with(PUBLISHED | change))
    assert [*entry.reached] == reached
    assert {spent.device_hours for spent in entry.reached.values()} <= {8}
    assert (entry.by, entry.source) == ("published", "a paper")
    assert entry.test_set == change.get("test_set", "full")
    assert entry.metric == change.get("metric", "exact_accuracy")


def test_a_stand_in_is_beside_nothing_published(tmp_path: Path) -> None:
    folder = make_result(tmp_path, HISTORY)
    assert {*frame(study_with(PUBLISHED, stand_in=True), folder).by} == {"ours"}


def test_the_published_trainings_of_the_study_name_their_sources() -> None:
    board = Study.load(ROOT / "config/config.yaml").board
    runs = [run for runs in board.published.values() for run in runs]
    assert len(runs) > 20 and all(run.source and run.device for run in runs)


@pytest.mark.parametrize(
    ("board", "message"),
    [
        (
            {"published": {"esy": []}},
            "board.published.esy: no benchmark 'esy'; did you mean 'easy'",
        ),
        (
            {"published": {"easy": [PUBLISHED | {"metric": "acuracy"}]}},
            "board.published.easy: no metric 'acuracy'; did you mean 'accuracy'",
        ),
        ({"published": {"easy": [PUBLISHED | {"test_set": "half"}]}}, "test_set"),
        ({"thresholds": []}, "board.thresholds"),
        ({"thresholds": [101]}, "board.thresholds"),
    ],
)
def test_a_mistake_in_the_board_is_named(board: dict, message: str) -> None:
    with pytest.raises(TrmError, match=message):
        Study.of(copy.deepcopy(CONFIG) | {"board": board})


# --- figure, page, targets ----------------------------------------------------------------------


def test_the_figure_has_a_mark_for_each_time(tmp_path: Path) -> None:
    rows = [(10, "test", None, 0.5, 100, 900.0, 1e15), *HISTORY[1:]]
    study = study_with(PUBLISHED, PUBLISHED | {"percent": 10, "name": "too low"})
    found = entries(study, make_result(tmp_path, rows))
    (axes,) = draw_board(found, study).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "Easy boards",
        "mlp, seed 3",
        "theirs",
    ]
    marks = [
        (line.get_marker(), line.get_xdata()[0], line.get_ydata()[0])
        for line in axes.get_lines()
        if line.get_marker() != "None"
    ]
    # 50 % after half a device-hour, 87 % after two; theirs at its end, for the highest.
    assert marks == [("o", 0.5, 1), ("s", 2, 1), ("s", 8, 2)]
    assert describe_board(found).endswith("reached one: 1 of ours, 1 published.")


def test_the_figure_of_nothing_says_so(tmp_path: Path) -> None:
    low = make_result(tmp_path, HISTORY[:2])
    study = study_with()
    (axes,) = draw_board(entries(study, low), study).axes
    assert [t.get_text() for t in axes.texts] == ["no training has reached a threshold"]


def test_the_page_shows_the_board_of_the_benchmarks_that_have_a_result(tmp_path: Path) -> None:
    study = study_with(PUBLISHED)
    result = load_result(make_result(tmp_path, HISTORY))
    page = render_page([result], study.benchmarks, study)
    section = page.partition('<h2 id="board">')[2].partition("</section>")[0]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", section))
    assert "mlp, seed 3 87.0" in text and "1 h 0 min 2 device-hours 4.00e+15 FLOP" in text
    assert "theirs published 87.0" in text and "≤ 2 h 8 device-hours" in text and "a paper" in text
    hard = load_result(make_result(tmp_path, HISTORY, "hard/mlp/seed-0"))
    section = render_page([hard], study.benchmarks, study).partition('<h2 id="board">')[2]
    assert "theirs" not in section.partition("</section>")[0]
    assert '<h2 id="board">' not in render_page([], study.benchmarks, study)


def test_the_board_is_a_target() -> None:
    study = study_with()
    pattern = re.compile(unknown_target_pattern(study))
    assert not pattern.fullmatch("board.csv") and not pattern.fullmatch("board.svg")
    assert pattern.fullmatch("board.md")
    assert "did you mean 'results/board.csv'" in explain_target(study, "results/bord.csv")
    assert "results/board.csv" in listing(study) and "50, 87 and 95 %" in listing(study)


def test_the_script_writes_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "workflow/scripts")
    import board as script

    (tmp_path / "study.json").write_text(json.dumps(CONFIG))
    folders = [make_result(tmp_path, HISTORY), tmp_path / "results/easy/att/seed-0"]
    words = ["--config", tmp_path / "study.json", "--results", *folders]
    words += ["--out-csv", tmp_path / "board.csv", "--out-figure", tmp_path / "board.svg"]
    monkeypatch.setattr(sys, "argv", ["board.py", *map(str, words)])
    script.main()
    written = pd.read_csv(tmp_path / "board.csv")
    assert (written.hours_to_87[0], written.flop_to_87[0]) == (1, 4e15)
    assert "1 of ours, 0 published" in (tmp_path / "board.svg").read_text()
