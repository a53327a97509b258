"""A run that is stopped, killed or damaged ends with the weights of one that never was."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.trainings import (
    STEPS,
    Run,
    assert_same_run,
    half_written,
    newest,
    uninterrupted,
    wait_for,
    words,
)
from trm.runtime.signals import EXIT_SAVED
from trm.study.run_folder import interrupted_at, snapshots_of

__all__ = ["uninterrupted"]  # a fixture


@pytest.mark.parametrize("world_size", [1, 2])
def test_killed_over_and_over(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path, world_size: int
) -> None:
    draw = random.Random(world_size)
    folders = [tmp_path / "killed-0"]
    attempts = kills = in_writes = 0
    while kills < 24 or in_writes < 4:
        attempts += 1
        assert attempts < 100, f"{kills} kills, {in_writes} of them in a write"
        folder = folders[-1]
        run = Run(words(sudoku_data, folder), world_size)
        before = newest(folder)
        if kills % 3 == 2:  # while a snapshot is being written
            killed = run.kill_when(lambda: half_written(folder))  # noqa: B023
            in_writes += half_written(folder)
        elif kills % 3 == 1:  # right after one
            killed = run.kill_when(lambda: newest(folder) > before)  # noqa: B023
        else:  # at any moment after the start
            moment = time.monotonic() + draw.uniform(0, 1.5)
            killed = run.kill_when(lambda: time.monotonic() > moment)  # noqa: B023
        if killed:
            kills += 1
        else:  # it was quicker, and the next one is killed instead
            assert_same_run(uninterrupted(world_size), folder)
            folders.append(tmp_path / f"killed-{len(folders)}")
    assert Run(words(sudoku_data, folders[-1]), world_size).wait() == [0] * world_size
    assert_same_run(uninterrupted(world_size), folders[-1])
    records = [json.loads((folder / "provenance.json").read_text()) for folder in folders]
    assert sum(record["starts"] for record in records) > 8


def test_killed_once_and_damaged(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
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
    assert_same_run(uninterrupted(1), folder)


def test_all_damaged_begins_anew_and_saves_anew(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
) -> None:
    """The damaged ones, of later steps, do not crowd out what is saved after them."""
    folder = tmp_path / "damaged"
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: newest(folder) > "step_00000040")
    for snapshot in snapshots_of(folder):
        (snapshot / "manifest.json").write_text("{")
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: "step_00000010" < newest(folder) < "step_00000040")
    assert "starting from scratch" in run.said
    run = Run(words(sudoku_data, folder))
    assert run.wait() == [0]
    assert "resuming from step" in run.said
    assert_same_run(uninterrupted(1), folder)


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
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path, number: int
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
    assert_same_run(uninterrupted(1), folder)


def two_ranks_under_way(data: Path, folder: Path) -> Run:
    run = Run(words(data, folder), 2)
    wait_for(lambda: newest(folder) > "step_00000010")
    return run


def test_one_of_two_ranks_is_told(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
) -> None:
    """Both stop after the same step."""
    folder = tmp_path / "told"
    run = two_ranks_under_way(sudoku_data, folder)
    os.kill(run.ranks[1].pid, signal.SIGTERM)
    assert run.wait() == [EXIT_SAVED] * 2
    assert Run(words(sudoku_data, folder), 2).wait() == [0, 0]
    assert_same_run(uninterrupted(2), folder)


def test_a_lost_rank_ends_the_others(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "lost"
    run = two_ranks_under_way(sudoku_data, folder)
    os.kill(run.ranks[1].pid, signal.SIGKILL)
    assert run.wait(timeout=60) == [2, -signal.SIGKILL]
    assert "another process of this run has ended" in run.said
    assert Run(words(sudoku_data, folder), 2).wait() == [0, 0]
    assert_same_run(uninterrupted(2), folder)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_another_number_of_ranks_goes_on_with_the_same_batches(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path, before: int, after: int
) -> None:
    folder = tmp_path / "moved"
    run = Run(words(sudoku_data, folder), before)
    assert run.kill_when(lambda: newest(folder) > "step_00000020")
    assert Run(words(sudoku_data, folder), after).wait() == [0] * after
    whole, moved = (
        pd.read_csv(f / "history.csv").query("split == 'train' and step > 30")
        for f in (uninterrupted(1), folder)
    )
    # Which rows halt when, and how many, tell the batches apart; rounding differs by rank.
    assert list(whole["count"]) == list(moved["count"])
    assert moved.loss.to_numpy() == pytest.approx(whole.loss.to_numpy(), rel=1e-3)


def test_another_slicing_goes_on(
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
) -> None:
    """micro_batch_size may be changed for a smaller card in the middle of a run."""
    folder = tmp_path / "sliced"
    run = Run(words(sudoku_data, folder))
    assert run.kill_when(lambda: newest(folder) > "step_00000020")
    assert Run(words(sudoku_data, folder, micro_batch_size=2)).wait() == [0]
    counts = (pd.read_csv(f / "history.csv")["count"] for f in (uninterrupted(1), folder))
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
    sudoku_data: Path, uninterrupted: Callable[[int], Path], tmp_path: Path
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
        assert_same_run(uninterrupted(1), folder)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
