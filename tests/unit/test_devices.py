"""Jobs side by side on one machine get different GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trm.errors import TrmError
from trm.runtime.gpus import claim_gpus, visible_gpus

JOB = """
import sys
from trm.runtime.launch import run_ranks
run_ranks(["-c", "import os, sys, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); "
           "sys.stdin.read()"], ranks=1, threads=1, gpus=int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that shows three GPUs, whose locks are this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def start(gpus: int) -> subprocess.Popen:
    """A job that shows what it was given and runs until its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(gpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(*jobs: subprocess.Popen) -> None:
    for job in jobs:
        job.communicate(timeout=60)


def test_each_job_has_its_own() -> None:
    jobs = [start(1), start(2)]
    given = [set(job.stdout.readline().strip().split(",")) for job in jobs]
    assert [len(gpus) for gpus in given] == [1, 2]
    assert given[0] | given[1] == {"4", "5", "7"}
    end(*jobs)


def test_a_job_waits_until_enough_are_free() -> None:
    first, second = start(2), None
    held = set(first.stdout.readline().strip().split(","))
    second = start(2)
    assert "waiting for 2 of the 3 GPUs" in second.stderr.readline()
    end(first)
    assert len(set(second.stdout.readline().strip().split(","))) == 2
    assert len(held) == 2
    end(second)


def test_a_killed_launcher_leaves_its_gpus_to_those_who_still_use_them() -> None:
    first = start(2)
    first.stdout.readline()
    os.kill(first.pid, signal.SIGKILL)
    first.wait(timeout=60)
    second = start(2)  # the first one's child still runs, and holds them
    assert "waiting" in second.stderr.readline()
    first.stdin.close()
    assert second.stdout.readline().strip()
    end(second)


def test_nothing_is_claimed_where_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with claim_gpus(0) as claim:
        assert claim.environment == {}
    for listed in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
        assert visible_gpus() == []
        with claim_gpus(2) as claim:
            assert claim.environment == {}


def test_more_than_there_are_is_refused() -> None:
    words = r"asks for 4 GPUs, but only 3 can be seen here \(4, 5, 7\)"
    with pytest.raises(TrmError, match=words), claim_gpus(4):
        pass


def test_inside_slurm_equal_indices_are_no_equal_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Slurm jobs on one node each count theirs from 0."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with claim_gpus(1):
        monkeypatch.setenv("SLURM_JOB_ID", "2")
        began = time.monotonic()
        with claim_gpus(1) as claim:
            assert claim.gpus == "0"
        assert time.monotonic() - began < 30
