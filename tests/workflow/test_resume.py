"""A run that is killed ends with the weights of one that never was."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.trainings import Run, assert_same_run, newest, uninterrupted, words

__all__ = ["uninterrupted"]  # a fixture


def test_killed_once(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: newest(folder) > "step_00000020")
    assert run.ranks[0].exitcode == -signal.SIGKILL
    run = Run(words(sudoku_data, folder))
    assert run.wait() == [0]
    assert "resuming from step" in run.said
    assert_same_run(uninterrupted(1), folder)
