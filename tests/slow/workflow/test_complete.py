"""The whole tiny study: every variant, and every rule for each kind and each architecture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.project import FULL, TINY, Project, copy_project, jobs
from tests.workflow.test_snakefile import assert_last_thought_is_the_prediction
from trm.config.architectures import architecture_names
from trm.config.compose import resolve
from trm.study.table import Study

STUDY = Study.load(FULL, TINY)
# Results of which every file is made; of the others metrics.json, and what comes before it.
WHOLE = (
    "arc-agi-1/att",
    "arc-agi-2/direct",
    "maze-hard/att",
    "maze-hard/hrm",
    "sudoku-6x6/mlp",
    "sudoku-6x6/eqr",
    "sudoku-6x6/urm",
    "sudoku-6x6/sic-wta",
    "sudoku-extreme/se-rrm",
    "sudoku-extreme/separate-nets",
    "sudoku-extreme/single-z",
    "sudoku-extreme/multi-scale-z",
)


def kind(name: str) -> str:
    return STUDY.benchmarks[name.split("/")[0]].kind


def architecture(name: str) -> str:
    return resolve(STUDY.row(*name.split("/")).overrides, name).arch.architecture


def test_each_kind_and_each_architecture_is_among_the_whole_results() -> None:
    assert {*map(kind, WHOLE)} == {*map(kind, STUDY.result_names())}
    assert {*map(architecture, WHOLE)} == {*architecture_names()}


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Report, summaries and tables, which take all metrics, and every file of some results."""
    project = copy_project(tmp_path_factory.mktemp("completed"))
    files = [
        f"results/tiny/{name}/seed-0/{file}"
        for name in WHOLE
        for file in STUDY.files_of(*name.split("/"))
    ]
    summaries = [f"results/tiny/{benchmark}/summary.csv" for benchmark in STUDY.benchmarks]
    board = STUDY.paths.board()
    done = project.snakemake("results/tiny/report.html", *files, *summaries, "tables", board)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return project


@pytest.mark.parametrize("name", STUDY.result_names())
def test_every_result_of_the_study_is_made(completed: Project, name: str) -> None:
    folder = completed.root / "results/tiny" / name / "seed-0"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 1
    if kind(name) == "maze":
        assert 0 <= metrics["valid_path"] <= 1


@pytest.mark.parametrize("name", WHOLE)
def test_every_file_of_a_result_agrees_with_its_metrics(completed: Project, name: str) -> None:
    folder = completed.root / "results/tiny" / name / "seed-0"
    metrics = json.loads((folder / "metrics.json").read_text())
    steps = pd.read_csv(folder / "steps.csv")
    assert list(steps.supervision_steps) == [1, 2, 4]
    assert (steps["count"] == metrics["count"]).all()
    ids = pd.read_csv(folder / "task-ids.csv")
    assert list(ids.task_ids) == ["own", "blank", "other"]
    assert ids.accuracy[0] == pytest.approx(metrics["accuracy"], rel=1e-5)
    if kind(name) == "arc":
        pooled = pd.read_csv(folder / "pooled.csv")
        assert len(pooled) == 2
        assert (pooled["ARC/pooled_pass@2"].iloc[0]) == pooled["ARC/pass@2"].iloc[0]
        votes = pd.read_csv(folder / "votes.csv")
        assert votes.n_augmentations[0] == 1
        assert votes["pass@2"].iloc[-1] == pytest.approx(metrics["ARC/pass@2"])
    assert_last_thought_is_the_prediction(folder)


def test_tables_and_summaries_hold_every_result(completed: Project) -> None:
    root = completed.root / "results/tiny"
    for table in STUDY.tables:
        rows = pd.read_csv(root / "tables" / f"{table}.csv")
        assert (rows.verdict != "not run").all(), table
        assert rows.ours_percent.notna().all()
    for name, benchmark in STUDY.benchmarks.items():
        assert len(pd.read_csv(root / name / "summary.csv")) == len(benchmark.variants)


def test_the_board_has_every_training_and_its_first_evaluation_at_a_threshold(
    completed: Project,
) -> None:
    root = completed.root / "results/tiny"
    board = pd.read_csv(root / "board.csv")
    assert (root / "board.svg").is_file()
    assert {*board.by} == {"ours"}  # nothing was published of what is tiny
    assert {*(board.benchmark + "/" + board.entry)} == {*STUDY.trained_names()}
    assert (board["flop"] > 0).all() and board.note.isna().all()
    for row in board.itertuples():
        assert (completed.root / row.source).is_file() and (completed.root / row.log).is_file()
        history = pd.read_csv(completed.root / row.source)
        tests = history[(history.split == "test") & (history[row.metric] >= 0.5)]
        expected = tests.train_flop.iloc[0] if len(tests) else float("nan")
        assert row.flop_to_50 == pytest.approx(expected, rel=1e-3, nan_ok=True)


def test_the_report_has_every_default_result(completed: Project) -> None:
    page = (completed.root / "results/tiny/report.html").read_text()
    for result in STUDY.default:
        assert page.count(f'id="{result.replace("/", "-")}"') == 1
    assert page.count("Accuracy against supervision steps</h4>") >= len(STUDY.default)


def test_the_complete_target_takes_no_other_training(completed: Project) -> None:
    """It resolves, and lacks only more files of results whose weights are there."""
    done = completed.dry_run("complete")
    assert done.returncode == 0, done.stderr[-4000:]
    assert not {"dataset", "train", "evaluate", "evaluate_arc"} & {*jobs(done.stdout)}


def test_tables_fill_what_is_there_and_train_nothing(completed: Project, tmp_path: Path) -> None:
    """Results copied from another machine, without data and checkpoints."""
    elsewhere = copy_project(tmp_path / "elsewhere")
    for name in ("sudoku-extreme/mlp", "maze-hard/att", "arc-agi-1/att", "sudoku-6x6/mlp"):
        metrics = f"results/tiny/{name}/seed-0/metrics.json"
        (elsewhere.root / metrics).parent.mkdir(parents=True)
        shutil.copy(completed.root / metrics, elsewhere.root / metrics)
    existing = tmp_path / "existing.yaml"
    existing.write_text("tables_take: existing\n")
    planned = jobs(elsewhere.dry_run("tables", configfile=existing).stdout)
    assert set(planned) == {"study", "table", "tables"}
    done = elsewhere.snakemake("tables", configfile=existing)
    assert done.returncode == 0, done.stdout[-3000:]
    table = pd.read_csv(elsewhere.root / "results/tiny/tables/table1.csv").set_index("variant")
    assert table.verdict["no-ema"] == "not run"
    assert pd.isna(table.ours_percent["no-ema"])
    assert 0 <= table.ours_percent["mlp"] <= 100
    assert table.verdict["mlp"] == "no published figure"  # what is tiny is not compared with it
    compared = tmp_path / "compared.yaml"
    compared.write_text("tables_take: existing\nbenchmarks: {sudoku-extreme: {stand_in: false}}\n")
    assert elsewhere.snakemake("tables", configfile=compared).returncode == 0
    table = pd.read_csv(elsewhere.root / "results/tiny/tables/table1.csv").set_index("variant")
    assert table.published_percent["mlp"] == 87.4
    assert table.verdict["mlp"] == "not reproduced"
    text = (elsewhere.root / "results/tiny/tables/table1.md").read_text()
    assert "not run" in text
