"""What cannot be written ends in one sentence, and leaves a whole file or none."""

from __future__ import annotations

import os
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tests.conftest import ROOT
from tests.runs import ALONE, config_of, random_run
from tests.unit.test_model import small
from trm import export
from trm.errors import TrmError, WriteError, run_cli
from trm.evaluate.settings import parse_arguments
from trm.files import (
    atomic_write,
    check_outputs,
    check_writable,
    copy_file,
    new_folder,
    write_atomically,
    write_json,
)
from trm.model.checkpoint import save_weights
from trm.model.registry import build_model
from trm.report import compare
from trm.report.figures import save_figure
from trm.scoring.predictions import Predictions, save_predictions
from trm.solve.trained import load
from trm.training.snapshot import Snapshot, write_snapshot
from trm.training.tracking import History
from trm.training.trainer import train


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, writes fail in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


PREDICTIONS = Predictions(
    np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8), np.zeros(100, np.float32)
)


def save_export(path: Path) -> None:
    run = path.parent.parent / "run"
    if not run.exists():
        random_run(run, Path("data/none"), 6, 8)
    export.export(load(run, device="cpu"), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "weights": lambda path: save_weights(path, build_model(small())),
    "predictions": lambda path: save_predictions(path, PREDICTIONS),
    "metrics": lambda path: write_json(path, ["metric"] * 1000),
    "figure": lambda path: save_figure(Figure(), path.with_suffix(".svg"), "x" * 9000),
    "copy": lambda path: copy_file(ROOT / "README.md", path),
    "export": save_export,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_whole_files_or_none(tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    if name == "export":
        random_run(tmp_path / "run", Path("data/none"), 6, 8)
    before = contents(place)
    with no_file_larger_than(2000), pytest.raises(WriteError, match="cannot write .*place/it"):
        WRITERS[name](place / "it")
    assert contents(place) == before
    WRITERS[name](place / "it")
    whole = contents(place)
    with no_file_larger_than(2000), pytest.raises(WriteError, match="File too large"):
        WRITERS[name](place / "it")
    assert contents(place) == whole


def test_a_full_disk_leaves_whole_rows_in_the_history(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", [])
    history.add({"step": 1, "split": "train", "loss": 0.5})
    before = contents(tmp_path)
    row = {"step": 2, "split": "train", "loss": 0.25}
    size = (tmp_path / "history.csv").stat().st_size
    for changed in (row, row | {"another column": 1}):
        with no_file_larger_than(size + 4), pytest.raises(WriteError, match=r"history\.csv"):
            history.add(changed)
        assert contents(tmp_path) == before
    history.add(row)


def test_a_full_disk_leaves_no_snapshot(tmp_path: Path) -> None:
    snapshot = Snapshot({"a": torch.zeros(1000)}, {}, {}, {"config": {}})
    with no_file_larger_than(2000):
        problem = write_snapshot(tmp_path, 3, snapshot, ALONE, 2)
    assert "File too large" in problem
    assert not contents(tmp_path)
    manifest = Snapshot({}, {}, {}, {"config": "x" * 3000})
    with no_file_larger_than(2000):
        problem = write_snapshot(tmp_path, 3, manifest, ALONE, 2)
    assert "File too large" in problem
    assert not contents(tmp_path)


def test_a_training_whose_weights_do_not_fit_says_so(sudoku_data: Path, tmp_path: Path) -> None:
    config = config_of(sudoku_data, tmp_path / "run", epochs=1, eval_interval=1)
    with (
        no_file_larger_than(20000),
        pytest.raises(WriteError, match=r"cannot write .*step_3: File too large. Choose .* place$"),
    ):
        train(config, ALONE)
    left = {*contents(tmp_path / "run")}
    assert left == {".lock", "all_config.yaml", "history.csv", "run.json"}
    train(config, ALONE)
    assert (tmp_path / "run" / "step_3").is_file()


# --- places where nothing can be written ----------------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nobody can write, root neither."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def in_the_way(tmp_path: Path) -> Path:
    """A file where a folder would have to be."""
    (tmp_path / "notes").write_text("mine")
    return tmp_path / "notes"


@pytest.fixture(params=["read_only", "in_the_way", "a folder"])
def blocked(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file that cannot be written, and what is said of it."""
    if request.param == "a folder":
        (tmp_path / "folder.svg").mkdir()
        return tmp_path / "folder.svg", "it is a folder"
    place = request.getfixturevalue(request.param)
    reason = {
        "read_only": "Read-only file system|Permission denied",
        "in_the_way": "notes is a file, not a folder",
    }
    return place / "new" / "it.svg", reason[request.param]


def test_it_is_known_before_and_while_it_is_written(blocked: tuple[Path, str]) -> None:
    path, reason = blocked
    with pytest.raises(WriteError, match=reason):
        check_writable(path)
    with pytest.raises(WriteError, match=reason), atomic_write(path) as file:
        file.write(b"x")


def export_command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["trm.export", *map(str, words)])
    run_cli(export.main)


@pytest.fixture
def run(tmp_path: Path, sudoku_data: Path) -> Path:
    folder = random_run(tmp_path / "checkpoints/b/v", sudoku_data, 9, 11)
    History(folder / "history.csv", []).add({"step": 1, "split": "train", "loss": 0.5})
    return folder


def test_every_command_says_it_in_one_sentence(
    blocked: tuple[Path, str], run: Path, sudoku_data: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    path, reason = blocked
    for key in ("out", "predictions", "submission", "cost_out"):
        with pytest.raises(WriteError, match=reason):
            parse_arguments([f"checkpoint={run / 'final'}", f"{key}={path}"])
    if path.parent.name == "new":  # a run's folder may exist
        with pytest.raises(WriteError, match=reason):
            train(config_of(sudoku_data, path, evaluators="[]"), ALONE)
        with pytest.raises(WriteError, match=reason), new_folder(path, ["*"], "a test"):
            pass
        with pytest.raises(SystemExit):
            export_command(monkeypatch, "--checkpoint", run, "--out", path)
    with pytest.raises(SystemExit):
        export_command(monkeypatch, "--checkpoint", run, "--published", path)
    with pytest.raises(SystemExit):
        run_cli(lambda: compare.main([str(run), "--out", str(path)]))
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error: cannot write ")]
    assert len(errors) == len(said)


def test_the_scripts_say_it_too(
    blocked: tuple[Path, str], run: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    path, _ = blocked
    scripts = {
        "report.py": ["--config", ROOT / "config/config.yaml", "--out", path],
        "train.py": [
            "--dataset",
            "d",
            "--run-folder",
            "r",
            "--project",
            "p",
            "--run-name",
            "n",
            "--seed",
            "0",
            "--out-weights",
            path,
            "--out-history",
            "h",
            "--out-config",
            "c",
        ],
    }
    for name, words in scripts.items():
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "workflow/scripts" / name), run_name="__main__")
        said = capsys.readouterr().err
        assert said.startswith("error: cannot write ") and said.count("\n") == 1


def test_any_other_file_is_named_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run_cli(lambda: (tmp_path / "none").read_text())
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: No such file or directory\n"


AT_EXIT = """
import atexit, os, signal
from trm.errors import TrmError, run_cli
def fail():
    raise TrmError("another process has ended")
atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
run_cli(fail)
"""


def test_a_signal_at_exit_shows_no_traceback() -> None:
    """torchrun sends one to a process that has said why it ends."""
    ended = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True)
    assert ended.stderr == "error: another process has ended\n"
    assert ended.returncode == -signal.SIGTERM


def test_a_file_that_is_read_meanwhile_is_not_blamed_on_what_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out"):
        (tmp_path / "other" / "source").read_bytes()
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "out"):
        1 / 0  # noqa: B018
    assert not contents(tmp_path)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/file").write_text("old")
    (tmp_path / "link").symlink_to("far/file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far/file").read_bytes() == b"new"


def test_a_pipe_or_device_is_written_to_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", b"through")
    assert os.read(reader, 99) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["step_1", "all_config.yaml", "run.json", "config.json"])
def test_an_output_is_no_file_of_the_run(tmp_path: Path, name: str) -> None:
    """Nor an input, nor another output; a link to one neither."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "step_1").touch()
    (tmp_path / "link").symlink_to(run / name)
    for path in (run / name, tmp_path / "link"):
        with pytest.raises(TrmError, match="name another output"):
            check_outputs([path], run)
    check_outputs([run / "metrics.json", run / "predictions.npz"], run)
    with pytest.raises(TrmError, match="name another output"):
        check_outputs([tmp_path / "tasks.json"], run, [tmp_path / "tasks.json"])
    with pytest.raises(TrmError, match="two outputs"):
        check_outputs([run / "m.json", run / "../run/m.json"], run)
    check_outputs([Path(os.devnull), Path(os.devnull)], run)


def test_the_commands_ask_that(run: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(TrmError, match="belongs to the run"):
        parse_arguments([f"checkpoint={run / 'final'}", f"out={run / 'all_config.yaml'}"])
    for words in (["--published", run / "final"], ["--published", run / "all_config.yaml"]):
        with pytest.raises(SystemExit):
            export_command(monkeypatch, "--checkpoint", run, *words)
        assert "belongs to the run" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before


def test_a_full_output_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "trm", "list"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "error: cannot print: No space left on device\n"
