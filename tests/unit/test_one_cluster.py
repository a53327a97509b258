"""Two Slurm clusters of one machine would have the same ports: each program takes the same lock."""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.project import Project
from tests.slow.slurm.conftest import Cluster, alone


class Started(Exception):
    """A cluster would have been started here."""


def test_the_count_of_submissions_holds_the_lock_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("_", ROOT / "benchmarks" / "submission.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)

    def start_while_it_is_held(_: Cluster) -> None:
        (lock,) = tmp_path.glob("trm-cluster*")
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise Started

    made = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(sys, "argv", ["submission.py"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(benchmark, "why_no_cluster", lambda: None)
    monkeypatch.setattr(Project, "snakemake", lambda *_: made)
    monkeypatch.setattr(Cluster, "up", start_while_it_is_held)
    monkeypatch.setattr(Cluster, "down", lambda _: None)
    with pytest.raises(Started):
        benchmark.main()
    with alone():  # it is free again
        pass
