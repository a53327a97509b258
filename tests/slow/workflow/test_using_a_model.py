"""Every command and example of docs/using-a-model.md runs as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.project import environment
from tests.runs import arc_task, random_run
from trm.data.write import write_identifiers

PAGE = (ROOT / "docs" / "using-a-model.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    for line in block.splitlines()
]
(PYTHON,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page takes for given, its weights random."""
    root = tmp_path_factory.mktemp("using")
    runs = root / "checkpoints"
    random_run(
        runs / "sudoku-6x6/quick/seed-0",
        Path("data/sudoku"),
        6,
        8,
        arch__mlp_t=True,
        arch__pos_encodings="none",
    )
    random_run(
        runs / "maze-30x30/att/seed-0", Path("data/maze"), 30, 6, arch__pos_encodings="learned"
    )
    random_run(
        runs / "arc-agi-1-6x6/att/seed-0", Path("data/arc"), 6, 12, 3, arch__pos_encodings="learned"
    )
    (root / "data/arc").mkdir(parents=True)
    write_identifiers(root / "data/arc", ["<blank>", "6ea4a07e", "6ea4a07e|||t3|||0213456789"])
    (root / "maze.txt").write_text("\n".join(["S" + " " * 28 + "G"] + ["#" * 30] * 29))
    (root / "raw/arc").mkdir(parents=True)
    many = {name: arc_task(seed) for seed, name in enumerate(("6ea4a07e", "other"))}
    (root / "raw/arc/arc-agi_evaluation_challenges.json").write_text(json.dumps(many))
    (root / "mine.json").write_text(json.dumps(arc_task(5)))
    return root


def test_the_page_has_commands_of_both_kinds() -> None:
    assert len(COMMANDS) >= 9
    assert {"trm solve", "trm export"} == {" ".join(line.split()[:2]) for line in COMMANDS}


@pytest.fixture(scope="module")
def done(here: Path) -> dict[str, subprocess.CompletedProcess]:
    """The page's commands, in its order, each as typed."""
    return {line: run(here, ["bash", "-c", line]) for line in COMMANDS}


def run(here: Path, command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=here,
        env=environment(ROOT),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs(done: dict[str, subprocess.CompletedProcess], line: str) -> None:
    result = done[line]
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    if "--json" in line:
        assert json.loads(result.stdout)["kind"] == "sudoku"
    if "--task-id" in line:
        assert "6ea4a07e is one it was trained on; votes of 2 augmentations" in result.stdout
    if "--rollouts" in line:
        assert re.search(r"; \d+ of 32 rollouts agree; confidence .*%, 96 steps", result.stdout)
    if "mine.json" in line:
        assert re.search(r"learned in \d+ step", result.stdout)


def test_what_is_exported_answers_the_same(done: dict[str, subprocess.CompletedProcess]) -> None:
    grids = {
        result.stdout.rsplit(",", 1)[0]  # all but the seconds
        for line, result in done.items()
        if "--sudoku" in line and not {"--steps", "--json", "--rollouts"} & {*line.split()}
    }
    assert len(grids) == 1


def test_the_example_runs(here: Path, done: dict[str, subprocess.CompletedProcess]) -> None:
    result = run(here, [sys.executable, "-c", PYTHON])
    assert result.returncode == 0, result.stderr


def test_a_mistake_is_one_sentence(here: Path) -> None:
    sudoku = "11" + "." * 34
    command = f"trm solve --checkpoint checkpoints/sudoku-6x6/quick/seed-0 --sudoku {sudoku}"
    result = run(here, ["bash", "-c", command])
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "row 1, column 1 and at row 1, column 2" in result.stderr
