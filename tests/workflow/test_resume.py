"""A run that is killed, again and again, ends with the weights of one that never was."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT, overrides
from tests.workflow.conftest import environment
from trm.checkpoint import read_state_dict
from trm.config import compose
from trm.interrupt import EXIT_SAVED
from trm.run_folder import interrupted_at, snapshots_of

# A server that has torch imported and starts each run as a process of its own within milliseconds.
# It has never computed anything, so that its children's thread pools are their own.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trm.train"])

TIMES = ["elapsed_s", "examples_per_s"]
STEPS = 108


def words(data: Path, folder: Path, **changes: object) -> list[str]:
    settings = {"epochs": 36, "eval_interval": 12, "ema": True, "save_every_steps": 3,
                "checkpoint_every_eval": True, "log_interval": 5}  # fmt: skip
    return [*overrides(**settings | changes), f"data_paths=[{data}]",
            f"checkpoint_path={folder}", "evaluators=[]"]  # fmt: skip


def _child(arguments: list[str], rank: int, world_size: int, port: int, said: str) -> None:
    from trm.distributed import start
    from trm.errors import run_cli
    from trm.train import train

    with open(said, "a") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port),
                       "WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1"}  # fmt: skip
    run_cli(lambda: train(compose(arguments), start("cpu")))


class Run:
    """One attempt: a process, or one per rank."""

    def __init__(self, arguments: list[str], world_size: int = 1) -> None:
        with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as file:
            self._said = Path(file.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.ranks = [
            CONTEXT.Process(target=_child, args=(arguments, rank, world_size, port, file.name))
            for rank in range(world_size)
        ]
        for process in self.ranks:
            process.start()

    def send(self, number: int) -> None:
        for process in self.ranks:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, number)

    def wait(self, timeout: float = 300) -> list[int | None]:
        for process in self.ranks:
            process.join(timeout)
        return [process.exitcode for process in self.ranks]

    @property
    def said(self) -> str:
        """What all ranks wrote to stderr."""
        return self._said.read_text()

    @property
    def running(self) -> bool:
        return all(process.is_alive() for process in self.ranks)

    def kill_when(self, seen: Callable[[], bool]) -> bool:
        """SIGKILL for all ranks as soon as `seen`; whether they were still running."""
        deadline = time.monotonic() + 120
        while self.running and not seen():
            assert time.monotonic() < deadline, "nothing to be seen"
            time.sleep(0.0005)
        was_running = self.running
        self.send(signal.SIGKILL)
        self.wait()
        return was_running


def wait_for(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def newest(folder: Path) -> str:
    found = snapshots_of(folder)
    return found[-1].name if found else ""


def half_written(folder: Path) -> bool:
    return any((folder / "snapshots").glob(".step_*.partial"))


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, the whole last state and the history, to the last bit; times apart."""
    steps = sorted(p.name for p in one.glob("step_*"))
    assert steps == sorted(p.name for p in other.glob("step_*"))
    for step in steps:
        a, b = (read_state_dict(folder / step) for folder in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), step
    last = newest(one)
    assert last == newest(other)
    files = sorted(p.name for p in (one / "snapshots" / last).glob("*.safetensors"))
    for file in files:
        a, b = (load_file(folder / "snapshots" / last / file) for folder in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), file
    a, b = (pd.read_csv(folder / "history.csv").drop(columns=TIMES) for folder in (one, other))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.fixture(scope="module")
def uninterrupted(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The run that nothing disturbs, on one and on two ranks."""
    folders = {}
    for world_size in (1, 2):
        folders[world_size] = tmp_path_factory.mktemp("whole") / f"ranks-{world_size}"
        run = Run(words(sudoku_data, folders[world_size]), world_size)
        assert run.wait() == [0] * world_size
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
def test_killed_over_and_over(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path, world_size: int
) -> None:
    folder = tmp_path / "killed"
    draw = random.Random(world_size)
    kills = in_writes = 0
    while kills < 24:
        run = Run(words(sudoku_data, folder), world_size)
        before = newest(folder)
        if kills % 3 == 2:  # while a snapshot is being written
            killed = run.kill_when(lambda: half_written(folder))
            in_writes += half_written(folder)
        elif kills % 3 == 1:  # right after one
            killed = run.kill_when(lambda: newest(folder) > before)  # noqa: B023
        else:  # at any moment after the start
            moment = time.monotonic() + draw.uniform(0, 1.5)
            killed = run.kill_when(lambda: time.monotonic() > moment)  # noqa: B023
        assert killed, f"the run ended after {kills} kills"
        kills += 1
    assert in_writes >= 4
    assert Run(words(sudoku_data, folder), world_size).wait() == [0] * world_size
    assert_same_run(uninterrupted[world_size], folder)
    assert json.loads((folder / "provenance.json").read_text())["starts"] > 8


def test_killed_once_and_damaged(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    """The newest snapshot is damaged on the disk: the one before it serves."""
    folder = tmp_path / "damaged"
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: newest(folder) > "step_00000020")
    weights = folder / "snapshots" / newest(folder) / "shared.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert Run(words(sudoku_data, folder)).wait() == [0]
    assert_same_run(uninterrupted[1], folder)


def test_all_damaged_begins_anew_and_saves_anew(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    """The damaged ones, of later steps, do not crowd out what is saved after them."""
    folder = tmp_path / "damaged"
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: newest(folder) > "step_00000040")
    for snapshot in snapshots_of(folder):
        (snapshot / "manifest.json").write_text("{")
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: "step_00000010" < newest(folder) < "step_00000040")
    assert "starting anew" in run.said
    run = Run(words(sudoku_data, folder))
    assert run.wait() == [0]
    assert "going on from step" in run.said
    assert_same_run(uninterrupted[1], folder)


def test_ctrl_c_ends_the_wait_for_a_run_folder(sudoku_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    first = Run(words(sudoku_data, folder, epochs=3600, eval_interval=1200))
    wait_for(lambda: bool(newest(folder)))
    second = Run(words(sudoku_data, folder, epochs=3600, eval_interval=1200))
    wait_for(lambda: "waiting a minute" in second.said)
    second.send(signal.SIGINT)
    assert second.wait(timeout=20) == [130]
    first.send(signal.SIGTERM)
    assert first.wait() == [EXIT_SAVED]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_save_and_ask_to_be_started_again(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "told"
    settings = {"save_every_steps": 36}  # nothing but the signal saves before
    run = Run(words(sudoku_data, folder, **settings))
    history = folder / "history.csv"
    wait_for(lambda: history.exists() and len(pd.read_csv(history)) >= 2)
    run.send(number)
    run.send(number)  # under torchrun it comes twice
    assert run.wait() == [EXIT_SAVED]
    step = interrupted_at(folder)
    assert step is not None and 0 < step < STEPS and newest(folder) == f"step_{step:08d}"
    assert not (folder / "provenance.json").exists()
    assert Run(words(sudoku_data, folder, **settings)).wait() == [0]
    assert_same_run(uninterrupted[1], folder)


def two_ranks_under_way(data: Path, folder: Path) -> Run:
    run = Run(words(data, folder), 2)
    wait_for(lambda: newest(folder) > "step_00000010")
    return run


def test_one_of_two_ranks_is_told(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    """Both stop after the same step."""
    folder = tmp_path / "told"
    run = two_ranks_under_way(sudoku_data, folder)
    os.kill(run.ranks[1].pid, signal.SIGTERM)
    assert run.wait() == [EXIT_SAVED] * 2
    assert Run(words(sudoku_data, folder), 2).wait() == [0, 0]
    assert_same_run(uninterrupted[2], folder)


def test_a_lost_rank_ends_the_others(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "lost"
    run = two_ranks_under_way(sudoku_data, folder)
    os.kill(run.ranks[1].pid, signal.SIGKILL)
    assert run.wait(timeout=60) == [2, -signal.SIGKILL]
    assert "another process of this run has ended" in run.said
    assert Run(words(sudoku_data, folder), 2).wait() == [0, 0]
    assert_same_run(uninterrupted[2], folder)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_another_number_of_ranks_goes_on_with_the_same_batches(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path, before: int, after: int
) -> None:
    folder = tmp_path / "moved"
    run = Run(words(sudoku_data, folder), before)
    assert run.kill_when(lambda: newest(folder) > "step_00000020")
    assert Run(words(sudoku_data, folder), after).wait() == [0] * after
    whole, moved = (
        pd.read_csv(f / "history.csv").query("split == 'train' and step > 30")
        for f in (uninterrupted[1], folder)
    )
    # Which rows halt when, and how many, tell the batches apart; rounding differs by rank.
    assert list(whole["count"]) == list(moved["count"])
    assert moved.loss.to_numpy() == pytest.approx(whole.loss.to_numpy(), rel=1e-3)


def test_another_slicing_goes_on(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    """micro_batch_size may be changed for a smaller card in the middle of a run."""
    folder = tmp_path / "sliced"
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: newest(folder) > "step_00000020")
    assert Run(words(sudoku_data, folder, micro_batch_size=2)).wait() == [0]
    counts = (pd.read_csv(f / "history.csv")["count"] for f in (uninterrupted[1], folder))
    pd.testing.assert_series_equal(*counts)


def test_other_settings_are_no_continuation(sudoku_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    short = {"epochs": 2, "eval_interval": 1}
    for settings, exit_code, said in (
        ({}, 0, "trained 6 steps"),
        ({"lr": 0.5}, 2, "lr 0.001 there, 0.5 here"),
        ({"lr": 0.5, "resume": False}, 0, "is discarded (lr 0.001 there, 0.5 here)"),
        ({"resume": "or_restart"}, 0, "is discarded (lr 0.5 there, 0.001 here)"),
    ):
        run = Run(words(sudoku_data, folder, **short, **settings))
        assert run.wait() == [exit_code]
        assert said in run.said


def test_the_same_command_again_changes_nothing(sudoku_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    short = {"epochs": 4, "eval_interval": 2}
    assert Run(words(sudoku_data, folder, **short)).wait() == [0]
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    assert Run(words(sudoku_data, folder, **short)).wait() == [0]
    assert_same_run(kept, folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_damages_nothing(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr}")
    try:
        folder = disk / "run"
        run = Run(words(sudoku_data, folder))
        assert run.kill_when(lambda: newest(folder) > "step_00000010")
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        run = Run(words(sudoku_data, folder))
        assert run.wait() == [2]
        assert "No space left on device" in run.said and "the same command resumes" in run.said
        assert "Traceback" not in run.said
        assert newest(folder) > "step_00000010"
        filler.unlink()
        assert Run(words(sudoku_data, folder, keep_snapshots=1)).wait() == [0]
        assert_same_run(uninterrupted[1], folder)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- under the real torchrun, as the rule starts it ---------------------------------------------


def start_rule(data: Path, folder: Path, *within: str) -> subprocess.Popen:
    """`within`: a command to start it by."""
    settings = [w for w in words(data, folder) if not w.startswith(("data_paths", "checkpoint"))]
    return subprocess.Popen(
        [*within, sys.executable, str(ROOT / "workflow/scripts/train.py"), "--dataset", str(data),
         "--run-folder", str(folder), "--project", "p", "--run-name", "r", "--seed", "0",
         "--ranks", "2", "--threads", "2", "--out-weights", str(folder / "final"),
         "--out-history", str(folder / "out.csv"), "--out-config", str(folder / "out.yaml"),
         "--", *settings],
        stderr=subprocess.PIPE, text=True, env=environment(ROOT),
    )  # fmt: skip


def workers(launcher: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(launcher.pid).children(recursive=True)
    return [p for p in children if "LOCAL_RANK" in p.environ()]


def test_torchrun_passes_the_signal_on_and_goes_on(
    sudoku_data: Path, uninterrupted: dict[int, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "told"
    job = start_rule(sudoku_data, folder)
    wait_for(lambda: newest(folder) > "step_00000010")
    job.send_signal(signal.SIGUSR1)
    _, said = job.communicate(timeout=120)
    assert job.returncode == EXIT_SAVED
    assert re.search(r"SIG\w+: stopped at step \d+ of 108; the same command goes on", said)
    assert interrupted_at(folder) is not None and not (folder / "final").exists()
    again = start_rule(sudoku_data, folder)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    a, b = (read_state_dict(f) for f in (folder / "final", uninterrupted[2] / "step_108"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not snapshots_of(folder)


def test_torchrun_ends_where_a_rank_is_lost(sudoku_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    job = start_rule(sudoku_data, folder)
    wait_for(lambda: newest(folder) > "step_00000010")
    workers(job)[1].kill()
    job.communicate(timeout=60)
    assert job.returncode not in (0, EXIT_SAVED)
    assert interrupted_at(folder) is None and snapshots_of(folder)


UNSHARE = ["unshare", "--net", "--uts", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.mark.slow
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
