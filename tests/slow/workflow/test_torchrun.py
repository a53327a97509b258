"""Several ranks under the real torchrun, as the rule starts it: told to stop, lost, without DNS."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.conftest import ROOT, as_settings
from tests.project import environment
from tests.trainings import newest, uninterrupted, wait_for, words
from trm.model.checkpoint import read_state_dict
from trm.runtime.signals import EXIT_SAVED
from trm.study.run_folder import interrupted_at, snapshots_of

__all__ = ["uninterrupted"]  # a fixture


def start_rule(data: Path, folder: Path, *within: str) -> subprocess.Popen:
    """`within`: a command to start it by."""
    settings = [w for w in words(data, folder) if not w.startswith(("data_paths", "checkpoint"))]
    return subprocess.Popen(
        [
            *within,
            sys.executable,
            str(ROOT / "workflow/scripts/train.py"),
            "--dataset",
            str(data),
            "--run-folder",
            str(folder),
            "--project",
            "p",
            "--run-name",
            "r",
            "--seed",
            "0",
            "--ranks",
            "2",
            "--threads",
            "2",
            "--out-weights",
            str(folder / "final"),
            "--out-history",
            str(folder / "out.csv"),
            "--out-config",
            str(folder / "out.yaml"),
            "--settings",
            as_settings(settings),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(ROOT),
    )


def workers(launcher: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(launcher.pid).children(recursive=True)
    return [p for p in children if "LOCAL_RANK" in p.environ()]


def test_torchrun_passes_the_signal_on_and_goes_on(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "told"
    job = start_rule(sudoku_data, folder)
    wait_for(lambda: newest(folder) > "step_00000010")
    job.send_signal(signal.SIGUSR1)
    _, said = job.communicate(timeout=120)
    assert job.returncode == EXIT_SAVED
    assert re.search(r"SIG\w+: stopped at step \d+ of 108; the same command resumes", said)
    assert "Traceback" not in said and "error:" not in said
    assert interrupted_at(folder) is not None and not (folder / "final").exists()
    again = start_rule(sudoku_data, folder)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    a, b = (read_state_dict(f) for f in (folder / "final", uninterrupted(2) / "step_108"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not snapshots_of(folder)


def test_torchrun_ends_where_a_rank_is_lost(sudoku_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    job = start_rule(sudoku_data, folder)
    wait_for(lambda: newest(folder) > "step_00000010")
    workers(job)[1].kill()
    _, said = job.communicate(timeout=60)
    assert said.count("error: another process of this run has ended or does not answer") == 1
    assert "error: process 1 of this run was ended by SIGKILL, as the system does" in said
    assert "Traceback" not in said
    assert job.returncode not in (0, EXIT_SAVED)
    assert interrupted_at(folder) is None and snapshots_of(folder)


UNSHARE = ["unshare", "--net", "--uts", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a network of its own")
def test_several_ranks_train_where_the_host_name_does_not_resolve(
    sudoku_data: Path, tmp_path: Path
) -> None:
    """A machine without DNS, where torchrun waits for ever."""
    alone = 'hostname nosuchhost && ip link set lo up && exec "$@"'
    within = [*UNSHARE, "sh", "-c", alone, "-"]
    tried = subprocess.run([*within, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network of its own here: {tried.stderr}")
    job = start_rule(sudoku_data, tmp_path, *within)
    try:
        _, said = job.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        for process in [*psutil.Process(job.pid).children(recursive=True), job]:
            process.kill()
        pytest.fail("it hangs")
    assert job.returncode == 0, said
    assert (tmp_path / "final").is_file()
