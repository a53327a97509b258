"""Snakemake neither deletes nor overwrites what a user put into raw/."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import SOURCES
from tests.project import Project, copy_project

CHALLENGES, SOLUTIONS = (
    f"raw/arc/arc-agi_evaluation_{what}.json" for what in ("challenges", "solutions")
)
OVERLAY = "raw: {tables: {mine: {path: %s}}}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = copy_project(tmp_path / "project")
    (project.root / "mine.yaml").write_text(OVERLAY % (SOURCES / "sudoku"))
    for name in (CHALLENGES, "raw/mine/train.csv"):
        (project.root / name).parent.mkdir(parents=True)
    return project


def test_a_file_of_the_user_outlives_the_download_beside_it(project: Project) -> None:
    own = {CHALLENGES: '{"mine": 1}', "raw/mine/train.csv": "mine"}
    for name, content in own.items():
        (project.root / name).write_text(content)
    done = project.snakemake(
        "--keep-going", SOLUTIONS, "raw/mine/test.csv", configfile=project.root / "mine.yaml"
    )
    assert done.returncode
    told = done.stdout + done.stderr
    for part in (
        "evaluation_challenges.json is not the published file",
        "train.csv is not the file",
    ):
        assert part in told
    assert "Traceback" not in told
    assert {name: (project.root / name).read_text() for name in own} == own
    assert not (project.root / SOLUTIONS).exists()
    assert not (project.root / "raw/mine/test.csv").exists()


def test_the_right_file_is_kept_and_the_other_put_beside_it(project: Project) -> None:
    table = project.root / "raw/mine"
    shutil.copy(SOURCES / "sudoku/train.csv", table)
    before = (table / "train.csv").stat().st_ino
    done = project.snakemake("raw/mine/test.csv", configfile=project.root / "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert (table / "train.csv").stat().st_ino == before
    for name in ("train.csv", "test.csv"):
        assert (table / name).read_bytes() == (SOURCES / "sudoku" / name).read_bytes()
