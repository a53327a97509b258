"""Progress on a terminal (a real pty) and in a log file (a real pipe)."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, SOURCES, overrides
from trm.config.compose import compose
from trm.data.specs import SudokuSpec
from trm.data.sudoku import build_sudoku
from trm.progress import Progress
from trm.runtime.ranks import Ranks
from trm.training.trainer import train

COUNT = """
import time
from trm.progress import Progress
with Progress(40, "counting", "sheep") as progress:
    for i in range(40):
        time.sleep(0.02)
        progress.update(1, f"loss {i}")
        if i == 20:
            progress.say("half of them")
"""


def on_a_pty(code: str, columns: int, rows: int = 40) -> str:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", code])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    said = b""
    try:
        while part := os.read(terminal, 65536):
            said += part
    except OSError:  # so a pty ends on Linux
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return said.decode()


@pytest.mark.parametrize(("columns", "rows"), [(100, 40), (0, 40), (100, 0), (0, 0)])
def test_a_terminal_has_a_bar_with_rate_and_time_left(columns: int, rows: int) -> None:
    said = on_a_pty(COUNT, columns, rows)
    assert re.search(r"counting: +\d+%\|.+\| \d+/40 \[\d\d:\d\d<\d\d:\d\d, .* sheep/s, loss", said)
    assert "\rhalf of them" in re.sub(r"\r +\r", "\r", said)
    assert "left" not in said  # the words of a log file's lines


def test_a_pipe_has_whole_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert "\r" not in done.stderr and "|" not in done.stderr
    first, last = done.stderr.splitlines()
    assert first == "half of them"
    assert re.fullmatch(r"counting 40/40 \(100%\)  [\d.]+ sheep/s  0 s left  loss 39", last)


class Clock:
    """Time that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_an_early_line_and_then_one_a_minute(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    with Progress(1000, "counting", "sheep") as progress:
        for _ in range(400):
            clock.now += 1
            progress.update(1)
    lines = capfd.readouterr().err.splitlines()
    # After 5 s, each minute from there, and at the end.
    assert [line.split()[1] for line in lines] == [
        f"{n}/1000" for n in (5, *range(65, 400, 60), 400)
    ]
    assert lines[0].endswith("1.00 sheep/s  17 min left")


def test_a_resumed_count_reckons_with_its_own_steps_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    with Progress(200, "training", "steps", start=100) as progress:
        for _ in range(2):
            clock.now += 10
            progress.update(10)
    assert "120/200 (60%)  1.00 steps/s  80 s left" in capfd.readouterr().err


def test_getting_ready_is_no_part_of_the_rate(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    with Progress(1500, "training", "steps") as progress:
        clock.now += 600  # compiled
        progress.update(1)
        for _ in range(61):
            clock.now += 1
            progress.update(1)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "training 1/1500 (0%)"
    assert lines[1] == "training 61/1500 (4%)  1.00 steps/s  24 min left"


def test_the_bar_has_no_time_left_from_getting_ready() -> None:
    said = on_a_pty(COUNT.replace("    for i", "    time.sleep(1.5)\n    for i"), 100)
    assert re.search(r" 1/40 \[00:01<\?, \? sheep/s", said)
    assert not re.search(r"<00:[1-9]\d", said)  # 1 of 40 in 1.5 s would be a minute


def test_work_that_ends_early_is_all_done(capfd: pytest.CaptureFixture) -> None:
    with Progress(250, "training", "steps") as progress:
        progress.update(242)
        progress.end_here()
    assert capfd.readouterr().err.startswith("training 242/242 (100%)")


def test_other_ranks_are_silent(capfd: pytest.CaptureFixture) -> None:
    with Progress(2, "counting", "sheep", shown=False) as progress:
        progress.update(2)
        progress.say("nothing")
    assert capfd.readouterr().err == ""


def test_builds_training_and_evaluation_show_theirs(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """The votes' stands with their other tests, that of several ranks with theirs."""
    spec = SudokuSpec(builder="sudoku", table="golden", subsample_size=8, num_aug=1)
    data = tmp_path / "data"
    build_sudoku(spec, SOURCES / "sudoku", data)
    said = capfd.readouterr().err
    assert re.search(r"^train 8/8 \(100%\)  .* boards/s  0 s left$", said, re.MULTILINE)
    words = overrides(data_paths=f"[{data}]", checkpoint_path=tmp_path / "run", evaluators="[]")
    train(compose(words), Ranks(0, 1, torch.device("cpu")))
    said = capfd.readouterr().err
    assert len(re.findall(r"^evaluating 100/100 \(100%\)  .* examples/s", said, re.MULTILINE)) == 2
    assert len(re.findall(r"^training 4/4 \(100%\)  .* steps/s  0 s left", said, re.MULTILINE)) == 1
