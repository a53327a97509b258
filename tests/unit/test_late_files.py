"""Files that another node has written and this one sees later. With nodes that do:
tests/slow/workflow/test_late_files.py."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.runs import ALONE, config_of
from trm.config.types import TrainConfig
from trm.data.read import read_metadata
from trm.errors import TrmError
from trm.evaluate.loading import load_result
from trm.evaluate.settings import parse_arguments
from trm.evaluate.shards import load_shard
from trm.evaluate.weights import find_weights
from trm.model.checkpoint import read_state_dict
from trm.runtime import late
from trm.study.run_folder import FOLDER, LOCK, forget_end, saved_last, snapshots_of
from trm.training.command import main as train_command
from trm.training.snapshot import _prune, read_snapshot
from trm.training.trainer import train


@pytest.fixture(autouse=True)
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not appeared after the first wait never does."""
    monkeypatch.setattr(late, "SECONDS", 1e-9)


def during_the_wait(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """`do` while a file is waited for, for as long as that takes."""
    done = []

    def sleep(_: float) -> None:
        if not done:
            done.append(do())

    monkeypatch.setattr(late, "SECONDS", 1e9)
    monkeypatch.setattr(late, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))


# --- waiting --------------------------------------------------------------------------------------


def test_a_file_that_appears_is_waited_for_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([False, False, False, True])
    monkeypatch.setattr(late, "SECONDS", 60.0)
    monkeypatch.setattr(late, "SECONDS_BETWEEN_LOOKS", 0)
    assert late.appears(lambda: next(looks), "step_7")
    said = "waiting for step_7, which this node does not see yet, for at most 60 s\n"
    assert capsys.readouterr().err == said


def test_a_file_that_never_appears_is_waited_for_in_vain() -> None:
    assert not late.appears(lambda: False, "step_8")


def test_the_environment_sets_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(late.VARIABLE, "600")
    assert late.seconds_to_wait() == 600
    monkeypatch.setenv(late.VARIABLE, "long")
    with pytest.raises(TrmError, match="TRM_LATENCY_WAIT='long' in the environment is not a numb"):
        late.seconds_to_wait()


# --- another node of the same run -----------------------------------------------------------------

READERS: dict[str, Callable[[Path], object]] = {
    "train": lambda path: train_command(["--settings", str(path)]),
    "weights": read_state_dict,
    "weights of a run": find_weights,
    "dataset": lambda path: read_metadata(path.parent),
    "shard": load_shard,
    "evaluate": lambda path: parse_arguments([f"checkpoint={path}"]),
    "evaluate with settings": lambda path: parse_arguments(
        [f"checkpoint={__file__}", f"config={path}"]
    ),
    "result": lambda path: load_result(path, path, path, None),
}


@pytest.mark.parametrize("reader", READERS)
def test_another_node_waits_for_what_the_first_one_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    path = tmp_path / "dataset.json"
    waited = []
    monkeypatch.setattr(late, "appears", lambda seen, what: waited.append(what))
    for node, expected in (("0", False), ("1", True)):
        monkeypatch.setenv("GROUP_RANK", node)
        with pytest.raises(TrmError):
            READERS[reader](path)
        assert (str(path) in waited) == expected


# --- a run of another node ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended(sudoku_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ended") / "run"
    train(settings(sudoku_data, folder), ALONE)
    return folder


def settings(data: Path, folder: Path, **changes: object) -> TrainConfig:
    short = {"epochs": 4, "eval_interval": 2, "save_every_steps": 3, "keep_snapshots": 2}
    return config_of(data, folder, **short, evaluators="[]", **changes)


@pytest.fixture
def run(ended: Path, tmp_path: Path) -> Path:
    """That of another host, which has ended there."""
    folder = Path(shutil.copytree(ended, tmp_path / "run"))
    from_elsewhere(folder)
    return folder


def from_elsewhere(folder: Path) -> None:
    saved = saved_last(folder)
    (folder / LOCK).write_text(f"{saved.what} another.host\n")


@pytest.fixture
def stopped(run: Path) -> Path:
    """The same, which was stopped when its last step was saved."""
    forget_end(run)
    (run / LOCK).write_text(f"{snapshots_of(run)[-1].name} another.host\n")
    return run


def test_what_a_rank_on_another_node_has_saved_is_waited_for(
    stopped: Path, sudoku_data: Path, monkeypatch, capsys
) -> None:
    """Rank 0 was on this one."""
    (stopped / LOCK).write_text(f"step_00000012 another.host {socket.gethostname()}\n")
    rows, hidden = stopped / FOLDER / "step_00000012" / "rank_0.safetensors", stopped / "hidden"
    rows.rename(hidden)
    during_the_wait(monkeypatch, lambda: hidden.rename(rows))
    train(settings(sudoku_data, stopped), ALONE)
    assert "resuming from step 12" in capsys.readouterr().err


def test_a_rank_on_another_node_waits_for_the_snapshot(ended: Path, monkeypatch) -> None:
    waited = []
    monkeypatch.setattr(late, "appears", lambda seen, what: waited.append(Path(what).name))
    monkeypatch.setenv("GROUP_RANK", "1")
    read_snapshot(ended, ALONE)
    assert waited == ["manifest.json", "shared.safetensors", "rank_0.safetensors"]


def test_files_that_this_node_does_not_see_are_not_in_the_way_of_a_snapshot(
    sudoku_data: Path, tmp_path: Path, capsys
) -> None:
    """Those of a rank on another node, in a folder that was to be removed."""
    for name in ("partial", "old"):
        unseen = tmp_path / "run" / FOLDER / f".step_00000003.{name}" / "unseen"
        unseen.parent.mkdir(parents=True)
        unseen.touch()
    train(settings(sudoku_data, tmp_path / "run"), ALONE)
    assert "could not be saved" not in capsys.readouterr().err


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_end_of_a_run_on_another_node_is_waited_for(
    run: Path, sudoku_data: Path, monkeypatch, capsys
) -> None:
    hidden = run / "run.json"
    hidden.rename(run / "hidden")
    before = contents(run)
    with pytest.raises(TrmError, match=r"another.host has trained into .*, and the end of the run"):
        train(settings(sudoku_data, run), ALONE)
    assert contents(run) == before
    during_the_wait(monkeypatch, lambda: (run / "hidden").rename(hidden))
    train(settings(sudoku_data, run), ALONE)
    said = capsys.readouterr().err
    assert "waiting for the end of the run in" in said and "nothing is trained" in said


@pytest.mark.parametrize(
    "late_file", [FOLDER, f"{FOLDER}/step_00000012/shared.safetensors", "run.json", "history.csv"]
)
def test_what_another_node_has_saved_is_waited_for(
    stopped: Path, sudoku_data: Path, monkeypatch, capsys, late_file: str
) -> None:
    hidden = stopped.with_name("hidden")
    (stopped / late_file).rename(hidden)
    before = contents(stopped)
    with pytest.raises(TrmError, match=r"snapshots/step_00000012 does not appear on this node"):
        train(settings(sudoku_data, stopped), ALONE)
    assert contents(stopped) == before
    during_the_wait(monkeypatch, lambda: hidden.rename(stopped / late_file))
    train(settings(sudoku_data, stopped), ALONE)
    assert "resuming from step 12" in capsys.readouterr().err
    assert saved_last(stopped).what == "ended"


def test_what_is_to_be_discarded_is_not_waited_for(
    stopped: Path, sudoku_data: Path, capsys
) -> None:
    shutil.rmtree(stopped / FOLDER)
    train(settings(sudoku_data, stopped, resume=False), ALONE)
    assert "waiting" not in capsys.readouterr().err


def test_what_this_node_has_saved_is_not_waited_for(ended: Path, sudoku_data: Path, tmp_path: Path):
    """It was deleted."""
    folder = Path(shutil.copytree(ended, tmp_path / "run"))
    for path in folder.glob("[a-z]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train(settings(sudoku_data, folder), ALONE)
    assert saved_last(folder).what == "ended"


def test_a_run_that_begins_takes_back_what_was_noted(run: Path, sudoku_data: Path, monkeypatch):
    """If it is killed before it saves, another node does not wait for what it has discarded."""

    class Killed(Exception):
        pass

    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("trm.training.trainer.Trainer", kill)
    for changes in ({"lr": 0.5, "resume": "or_restart"}, {"lr": 0.5, "resume": False}):
        from_elsewhere(run) if saved_last(run) else None
        with pytest.raises(Killed):
            train(settings(sudoku_data, run, **changes), ALONE)
        assert saved_last(run) is None


def test_a_damaged_snapshot_of_another_node_is_no_late_one(
    stopped: Path, sudoku_data: Path, capsys
) -> None:
    (stopped / FOLDER / "step_00000012" / "manifest.json").write_text("{")
    train(settings(sudoku_data, stopped), ALONE)
    assert "resuming from step 9" in capsys.readouterr().err


def test_a_sound_snapshot_that_appears_late_is_not_pruned(ended: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ended, tmp_path / "run"))
    older, newer = snapshots_of(folder)
    _prune(folder, older.name, 1)
    assert snapshots_of(folder) == [older, newer]
    os.truncate(newer / "shared.safetensors", 9)  # one that was damaged, and skipped
    _prune(folder, older.name, 1)
    assert snapshots_of(folder) == [older]
