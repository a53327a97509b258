"""Jobs side by side on one machine get different GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from trm.errors import TrmError
from trm.runtime import gpus
from trm.runtime.gpus import claim_gpus, given_gpus, visible_gpus

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


def start(count: int) -> subprocess.Popen:
    """A job that shows what it was given and runs until its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(count)],
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
    assert [len(own) for own in given] == [1, 2]
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


RANK_OF_TORCHRUN = """
import sys
from trm.runtime.gpus import hold_claimed_gpus
hold_claimed_gpus()
print("rank", flush=True)
sys.stdin.read()
"""
TORCHRUN = """
import subprocess, sys
from trm.runtime.launch import run_ranks
middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sys.argv[1]!r}])"
run_ranks(["-c", middle], ranks=1, threads=1, gpus=2)
"""


def test_ranks_hold_their_gpus_when_launcher_and_torchrun_are_killed() -> None:
    """torchrun starts its ranks without the files that it was given."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", TORCHRUN, RANK_OF_TORCHRUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout.readline() == "rank\n"
    (torchrun,) = psutil.Process(launcher.pid).children()
    torchrun.kill()
    launcher.kill()
    launcher.wait(timeout=60)
    second = start(2)
    assert "waiting" in second.stderr.readline()
    launcher.stdin.close()
    assert second.stdout.readline().strip()
    end(second)


NVIDIA_SMI = "#!/bin/sh\nprintf '{}'\n"


def show_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """An nvidia-smi that prints `said`, on a machine where nothing chooses among the GPUs."""
    program = folder / "nvidia-smi"
    program.write_text(NVIDIA_SMI.format(said))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("said", "indices"),
    [
        ("No devices were found\\n", []),
        ("GPU-1f\\nGPU-2e\\n", ["0", "1"]),
        ("Failed to initialize NVML: Driver/library version mismatch\\n", []),
    ],
)
def test_what_nvidia_smi_prints_of_gpus_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, indices: list[str]
) -> None:
    show_gpus(tmp_path, monkeypatch, said)
    assert visible_gpus() == indices


def test_without_nvidia_smi_jobs_have_the_gpus_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(tmp_path, monkeypatch, "")
    driver = tmp_path / "gpus"
    for address in ("0000:3b:00.0", "0000:17:00.0"):
        (driver / address).mkdir(parents=True)
    monkeypatch.setattr(gpus, "DRIVER", driver)
    with claim_gpus(1) as one, claim_gpus(1) as other:
        assert (one.gpus, other.gpus) == ("0", "1")
    locks = {path.name for path in tmp_path.glob("trm-gpus-*/*")}
    assert locks == {"looking", "0000:17:00.0", "0000:3b:00.0"}


def test_a_claim_counts_as_nvidia_smi_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's own order of a machine's GPUs is the fastest first, so that a lock would be another
    GPU's."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    with claim_gpus(1) as claim:
        assert claim.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    with claim_gpus(1) as claim:
        assert claim.environment["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        ("GPU-1f, MIG-2e", ["GPU-1f", "MIG-2e"]),
        ("3,3", ["3"]),
        (" ", []),
    ],
)
def test_what_follows_an_invalid_gpu_is_hidden(
    monkeypatch: pytest.MonkeyPatch, listed: str, named: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == named
    assert given_gpus() == ",".join(named)


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
