"""The real Snakefile on the tiny settings, end to end: what it leaves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.project import FINISHED, FULL, TINY, Project, environment
from trm.scoring.gallery import load_gallery
from trm.study.table import Study

STUDY = Study.load(FULL, TINY)


def test_the_chain_ends_in_a_report(finished: Project) -> None:
    page = (finished.root / "results" / "tiny" / "report.html").read_text()
    for title in ("Tiny Sudoku 6x6", "Tiny ARC-AGI-1, grids up to 5x5"):
        assert title in page
    rows = [STUDY.benchmarks[name.split("/")[0]] for name in FINISHED]
    with_steps = sum(row.steps_in_report for row in rows)
    assert page.count("Accuracy against supervision steps</h4>") == with_steps > 0
    assert page.count("Accuracy against votes</h4>") == sum(row.kind == "arc" for row in rows) > 0
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def assert_last_thought_is_the_prediction(folder: Path) -> None:
    """Of a result's folder."""
    gallery, thinking = (load_gallery(folder / f"{n}.json") for n in ("gallery", "thinking"))
    by_name = {puzzle.name: puzzle for puzzle in gallery.puzzles}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for puzzle in thinking.puzzles:
        assert len(puzzle.answers) == config["arch"]["halt_max_steps"]
        if gallery.kind != "arc":
            assert puzzle.answers[-1] == by_name[puzzle.name].answers[0]
    assert thinking.puzzles
    assert (folder / "figures" / "thinking.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize("result", FINISHED)
def test_what_is_thought_last_is_what_was_predicted(finished: Project, result: str) -> None:
    assert_last_thought_is_the_prediction(finished.root / "results/tiny" / result)


def test_the_report_needs_nothing_but_results(finished: Project, tmp_path: Path) -> None:
    """No dataset, no checkpoint, no project around it."""
    shutil.copytree(finished.root / "results/tiny", tmp_path / "results/tiny")
    folders = sorted(str(p.parent) for p in tmp_path.glob("results/tiny/*/*/seed-*/metrics.json"))
    script = finished.root / "workflow/scripts/report.py"
    done = subprocess.run(
        [
            sys.executable,
            script,
            "--config",
            "results/tiny/study.json",
            "--results",
            *folders,
            "--out",
            "alone.html",
        ],
        cwd=tmp_path,
        env=environment(finished.root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "alone.html").read_text()
    for part in ("gallery", "thinking"):  # which not every target makes
        having = [folder for folder in folders if (tmp_path / folder / f"{part}.json").exists()]
        assert page.count(f'<section class="puzzles" data-start="{part}"') == len(having) > 0


def test_report_script_alone_takes_what_is_there(finished: Project) -> None:
    """The README's command, over a glob of results, without Snakemake."""
    folders = sorted(
        str(p.parent) for p in finished.root.glob("results/tiny/*/*/seed-*/metrics.json")
    )
    done = finished.run(
        "workflow/scripts/report.py",
        "--config",
        "results/tiny/study.json",
        "--results",
        *folders,
        "--out",
        "alone.html",
    )
    assert done.returncode == 0, done.stderr
    page = (finished.root / "alone.html").read_text()
    assert "not run" in page  # the published benchmarks, which stand in the same table
    assert "Sudoku 6x6" in page


def test_numbers_in_metrics_are_those_of_the_predictions(finished: Project) -> None:
    folder = finished.root / "results/tiny/sudoku-6x6/mlp/seed-0"
    metrics = json.loads((folder / "metrics.json").read_text())
    with np.load(folder / "predictions.npz") as file:
        preds = file["preds"]
    labels = np.load(finished.root / "data/tiny/sudoku-6x6-1k-aug-50/test/all__labels.npy")
    assert preds.shape == labels.shape == (24, 36)
    assert metrics["count"] == 24
    assert metrics["accuracy"] == pytest.approx((preds == labels).mean())
    assert metrics["exact_accuracy"] == pytest.approx((preds == labels).all(axis=1).mean())


def test_submission_answers_every_task_that_fits(finished: Project) -> None:
    folder = finished.root / "results/tiny/arc-agi-1-6x6/att/seed-0"
    submission = json.loads((folder / "submission.json").read_text())
    tasks = json.loads((finished.root / "data/tiny/arc1-6x6-aug-11/test_puzzles.json").read_text())
    assert set(submission) == set(tasks)
    raw = {
        name: task
        for subset in ("training", "evaluation")
        for name, task in json.loads(
            (finished.root / f"raw/arc/arc-agi_{subset}_challenges.json").read_text()
        ).items()
    }
    for name, attempts in submission.items():
        assert len(attempts) == len(raw[name]["test"])
        assert all(set(a) == {"attempt_1", "attempt_2"} for a in attempts)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["ARC/tasks"] == len(tasks)
    assert 0 <= metrics["ARC/pass@1"] <= metrics["ARC/pass@2"] <= 1


def test_history_and_provenance_stand_beside(finished: Project) -> None:
    folder = finished.root / "results/tiny/arc-agi-1-6x6/att/seed-0"
    history = pd.read_csv(folder / "history.csv")
    assert set(history.split) == {"train", "test"}
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["world_size"] == 2
    assert (provenance["benchmark"], provenance["variant"]) == ("arc-agi-1-6x6", "att")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["arch"]["hidden_size"] == 32
    assert (folder / "figures" / "examples.svg").stat().st_size > 1000


def test_nothing_is_left_to_do(finished: Project) -> None:
    done = finished.dry_run()
    assert "Nothing to be done" in done.stdout + done.stderr
