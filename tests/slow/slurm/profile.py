"""`snakemake --profile slurm` in copies of the project, and what it made there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from tests.project import Project, copy_project, environment
from trm.model.checkpoint import read_state_dict

RESULT = "results/tiny/sudoku-6x6/{}/seed-0/metrics.json"


@dataclass
class Snakemake:
    """`snakemake --profile slurm` in the background, its words in a file."""

    process: subprocess.Popen
    said: Path

    def wait(self, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"snakemake does not end: {self.words()}")

    def words(self) -> str:
        return self.said.read_text()[-8000:]


def project_of(folder: Path, variants: dict[str, dict]) -> Project:
    """A copy whose tiny study has `variants` of one small training."""
    project = copy_project(folder)
    kind = {"arch.mlp_t": True, "arch.pos_encodings": "none"}
    rows = {
        name: row | {"overrides": kind | row.get("overrides", {})} for name, row in variants.items()
    }
    small = {"benchmarks": {"sudoku-6x6": {"variants": rows}}}
    (project.root / "small.yaml").write_text(yaml.safe_dump(small))
    return project


def command(*words: str, python: str = sys.executable) -> list[str]:
    """With shorter waits, as these jobs are short."""
    return [
        python,
        "-m",
        "snakemake",
        "--profile",
        "slurm",
        "--slurm-init-seconds-before-status-checks",
        "3",
        "--max-status-checks-per-second",
        "0.5",
        "--latency-wait",
        "10",
        "--configfile",
        "config/config.yaml",
        "config/tiny.yaml",
        "small.yaml",
        *words,
    ]


def variables(project: Project) -> dict[str, str]:
    """The environment of Snakemake and of its jobs, whose GPUs are empty files."""
    return environment(project.root) | {"TRM_DEVICE": "cpu"}


@contextmanager
def snakemake(project: Project, *words: str, name: str) -> Iterator[Snakemake]:
    """Start it, and kill it at the end of the block."""
    with started(command(*words), project, name, env=variables(project)) as run:
        yield run


@contextmanager
def started(
    command: list[str], project: Project, name: str, **process: object
) -> Iterator[Snakemake]:
    """The same for any command; `process` are further arguments of Popen."""
    said = project.root / f"{name}.log"
    running = subprocess.Popen(
        command,
        cwd=project.root,
        stdout=said.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **process,
    )
    try:
        yield Snakemake(running, said)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def run_folder(project: Project, variant: str) -> Path:
    return project.root / f"checkpoints/tiny/sudoku-6x6/{variant}/seed-0"


def weights(project: Project, variant: str) -> dict[str, torch.Tensor]:
    return read_state_dict(run_folder(project, variant) / "final")


def saved_steps(project: Project, variant: str) -> list[int]:
    """Steps of the snapshots."""
    folders = (run_folder(project, variant) / "snapshots").glob("step_*")
    return [int(folder.name.removeprefix("step_")) for folder in folders]


def of_rule(jobs: list[dict[str, str]], rule: str, variant: str) -> list[dict[str, str]]:
    """The jobs of a rule: the plugin's comment names rule and wildcards."""
    return [
        j
        for j in jobs
        if f"rule_{rule}_" in j.get("Comment", "") and f"_{variant}_" in j["Comment"]
    ]


def minutes_that_leave(seconds: int, run_time: str) -> int:
    """The shortest limit that a job which has run for hh:mm:ss does not meet within `seconds`."""
    hours, minutes, rest = map(int, run_time.split(":"))
    return hours * 60 + minutes + 1 + (rest + seconds >= 60)
