"""docs/adding-a-benchmark.md, followed to the letter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.pages import code_blocks
from tests.project import Project, copy_project, environment

PAGE = ROOT / "docs/adding-a-benchmark.md"
RESULT = "results/sort-rows/att/seed-0"


def follow(page: Path, root: Path) -> None:
    """Save each block that begins with its file's name, and run each one for the shell."""
    for language, content in code_blocks(page):
        if language == "sh":
            done = subprocess.run(
                ["bash", "-e", "-c", content],
                cwd=root,
                env=environment(root),
                text=True,
                capture_output=True,
                timeout=900,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
        else:
            first_line = content.splitlines()[0]
            (root / first_line.removeprefix("# ")).write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("adding"))
    follow(PAGE, project.root)
    return project


def test_it_ends_with_a_result_of_a_model_that_has_learned(followed: Project) -> None:
    folder = followed.root / RESULT
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["count"] == 100
    # One digit of four by chance; the commonest one at each place, under one half.
    assert metrics["accuracy"] > 0.6
    with np.load(folder / "predictions.npz") as file:
        preds = file["preds"]
    labels = np.load(followed.root / "data/sort-rows-1k/test/all__labels.npy")
    assert metrics["accuracy"] == pytest.approx((preds == labels).mean())


def test_the_labels_are_the_sorted_rows(followed: Project) -> None:
    folder = followed.root / "data/sort-rows-1k/train"
    inputs, labels = (np.load(folder / f"all__{name}.npy") for name in ("inputs", "labels"))
    assert inputs.shape == labels.shape == (1000, 16)
    np.testing.assert_array_equal(labels.reshape(-1, 4, 4), np.sort(inputs.reshape(-1, 4, 4)))
    assert set(np.unique(inputs)) == {1, 2, 3, 4}


def test_it_has_its_figures_and_its_line_in_the_report(followed: Project) -> None:
    figure = (followed.root / RESULT / "figures/examples.svg").read_text()
    assert "test puzzles, picked evenly" in figure
    page = (followed.root / "results/report.html").read_text()
    assert "Sort the rows" in page
    assert "100 unseen boards of 4x4 digits" in page


def test_report_py_takes_the_same_config_files(followed: Project) -> None:
    done = followed.run(
        "workflow/scripts/report.py",
        "--config",
        "config/config.yaml",
        "config/sort-rows.yaml",
        "--results",
        RESULT,
        "--out",
        "alone.html",
    )
    assert done.returncode == 0, done.stderr
    alone = (followed.root / "alone.html").read_text()
    assert alone == (followed.root / "results/report.html").read_text()
    status = followed.run("-m", "trm", "status", "sort-rows", "--config", "config/sort-rows.yaml")
    assert "att/seed-0" in status.stdout


def test_the_other_targets_resolve(followed: Project) -> None:
    done = followed.snakemake(
        "-n",
        f"{RESULT}/steps.csv",
        "results/sort-rows/summary.csv",
        tiny=False,
        configfile=followed.root / "config/sort-rows.yaml",
    )
    assert done.returncode == 0, done.stderr
