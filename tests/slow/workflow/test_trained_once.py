"""A training that has ended is not lost with its job: the next call makes the outputs from it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.project import Project, copy_project

RESULT = "results/tiny/sudoku-6x6/mlp/seed-0"
TARGET = f"{RESULT}/config.yaml"  # of the training, so that nothing is evaluated
RUN = "checkpoints/tiny/sudoku-6x6/mlp/seed-0"
LOG = "logs/tiny/train/sudoku-6x6/mlp/seed-0.log"
NOTHING_TRAINED = "which has ended: nothing is trained"
DATA = "data/tiny/sudoku-6x6-1k-aug-50"


@pytest.fixture(scope="module")
def with_data(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("trained"))
    done = project.snakemake(DATA)
    assert done.returncode == 0, done.stderr[-3000:]
    return project


@pytest.fixture
def project(with_data: Project, tmp_path: Path) -> Project:
    """With the dataset, and nothing trained."""
    subprocess.run(["cp", "-a", f"{with_data.root}/.", str(tmp_path)], check=True)
    return Project(tmp_path)


def trained(project: Project) -> dict[str, int]:
    """The checkpoints, with the time that each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (project.root / RUN).glob("step_*")}


def outputs(project: Project) -> list[str]:
    names = (f"{RUN}/final", f"{RUN}/provenance.json", f"{RESULT}/history.csv", TARGET)
    return [name for name in names if (project.root / name).exists()]


def ask(project: Project, *flags: str) -> str:
    """Ask for the training, with success; returns its log."""
    done = project.snakemake(TARGET, *flags)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(outputs(project)) == 4
    return (project.root / LOG).read_text()


def test_a_job_that_fails_after_its_training(project: Project) -> None:
    """The clock of the file system is ahead: outputs are older than their input."""
    in_an_hour = time.time() + 3600
    files = [project.root / DATA, *(project.root / DATA).rglob("*")]
    for path in files:
        os.utime(path, (in_an_hour, in_an_hour))
    assert project.snakemake(TARGET).returncode != 0
    first = trained(project)
    assert first and not outputs(project)  # Snakemake has deleted them
    for path in files:
        os.utime(path, (0, 0))
    assert NOTHING_TRAINED in ask(project)
    assert trained(project) == first

    # It was all there, and is asked for again.
    assert NOTHING_TRAINED not in ask(project, "--force")
    second = trained(project)
    assert second.keys() == first.keys() and second != first
    (project.root / TARGET).unlink()
    assert NOTHING_TRAINED in ask(project)  # only a copy was missing
    for path in files:
        os.utime(path)
    assert NOTHING_TRAINED in ask(project)  # built again, the same to the byte
    assert trained(project) == second


def test_a_snakemake_that_is_killed_while_the_training_runs_on(project: Project) -> None:
    """As on a cluster, where jobs outlive it. It left the outputs for incomplete."""
    process = project.start_snakemake(TARGET)
    deadline = time.monotonic() + 300
    log = project.root / LOG
    while not (log.exists() and "activations: " in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while len(outputs(project)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first = trained(project)
    assert project.snakemake("--unlock").returncode == 0
    assert NOTHING_TRAINED in ask(project)
    assert trained(project) == first
