"""Trainings as processes of their own, to be stopped, killed and started again."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import overrides
from trm.config.compose import compose
from trm.model.checkpoint import read_state_dict
from trm.study.run_folder import snapshots_of

# A server that has torch imported and starts each run as a process of its own within milliseconds.
# It has never computed anything, so that its children's thread pools are their own.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["trm.training.trainer"])

TIMES = ["elapsed_s", "examples_per_s"]
STEPS = 108


def words(data: Path, folder: Path, **changes: object) -> list[str]:
    settings = {
        "epochs": 36,
        "eval_interval": 12,
        "ema": True,
        "save_every_steps": 3,
        "checkpoint_every_eval": True,
        "log_interval": 5,
    }
    return [
        *overrides(**settings | changes),
        f"data_paths=[{data}]",
        f"checkpoint_path={folder}",
        "evaluators=[]",
    ]


def train_as(arguments: list[str]) -> None:
    """What a process does, unless a test says otherwise."""
    from trm.runtime.ranks import start
    from trm.training.trainer import train

    train(compose(arguments), start("cpu"))


def _child(
    arguments: list[str],
    rank: int,
    world_size: int,
    port: int,
    said: str,
    work: Callable[[list[str]], None],
) -> None:
    from trm.errors import run_cli

    with open(said, "a") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 2)
    if world_size > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
        }
    run_cli(lambda: work(arguments))


class Run:
    """One attempt: a process, or one per rank, that does `work` by its arguments."""

    def __init__(
        self,
        arguments: list[str],
        world_size: int = 1,
        work: Callable[[list[str]], None] = train_as,
    ) -> None:
        with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as file:
            self._said = Path(file.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.ranks = [
            CONTEXT.Process(
                target=_child, args=(arguments, rank, world_size, port, file.name, work)
            )
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


@pytest.fixture(scope="session")
def uninterrupted(
    sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """The run that nothing disturbs, by its number of ranks."""

    @functools.cache
    def whole(world_size: int) -> Path:
        folder = tmp_path_factory.mktemp("whole") / f"ranks-{world_size}"
        assert Run(words(sudoku_data, folder), world_size).wait() == [0] * world_size
        return folder

    return whole
