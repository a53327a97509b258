"""docs/following-a-run.md: each command as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.project import FULL, TINY, Project, copy_project, environment

PAGE = (ROOT / "docs" / "following-a-run.md").read_text()
COMMANDS = re.findall(r"^    ((?:trm|snakemake) .+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("following"))
    shutil.copytree(ROOT / "results" / "example-run", project.root / "results" / "example-run")
    return project


def files(root: Path) -> set[Path]:
    return {p for p in root.rglob("*") if not {".snakemake", "__pycache__"} & set(p.parts)}


def run(place: Project, command: str) -> subprocess.CompletedProcess:
    return place.run("-m", *shlex.split(command))  # both programs are modules too


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 11


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page(place: Project, command: str) -> None:
    before = files(place.root)
    done = run(place, command)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 50
    made = {p.name for p in files(place.root) - before}
    assert made <= {"compare.svg", "compare.png"}
    assert bool(made) == (" plot " in command)


def test_target_and_command_say_the_same(place: Project) -> None:
    words = ["--configfile", str(FULL), str(TINY), "--", "status"]
    target = place.run("-m", "snakemake", "--cores", "1", "-q", "all", *words)
    command = place.run("-m", "trm", "status", "--config", "config/tiny.yaml")
    assert target.stdout == command.stdout and "results" in target.stdout


def test_both_work_while_snakemake_holds_the_directory(place: Project) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "snakemake",
            "--cores",
            "1",
            "--config",
            "scale=held",
            "--",
            "data/held/sudoku-6x6-1k-aug-50",
        ],
        cwd=place.root,
        env=environment(place.root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        locks = place.root / ".snakemake" / "locks"
        deadline = time.monotonic() + 120
        while not (locks.is_dir() and any(locks.iterdir())):
            assert holder.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        holder.send_signal(signal.SIGSTOP)  # it keeps its lock for as long as the test takes
        for command in ("snakemake -q all --cores 1 --nolock status", "trm status"):
            done = run(place, command)
            assert done.returncode == 0 and "results" in done.stdout, done.stderr
        assert any(locks.iterdir())
    finally:
        holder.kill()
        holder.wait()
        shutil.rmtree(place.root / ".snakemake" / "locks", ignore_errors=True)
