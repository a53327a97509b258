"""Copies of the workflow, each in a folder of its own, and the commands that run in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tests.conftest import ROOT

PARTS = (
    "Snakefile",
    "rules",
    "workflow",
    "config",
    "envs",
    "profiles",
    "pretrain.py",
    "trm",
    "dataset",
    "slurm",
    "README.md",
)
FULL, TINY = (ROOT / "config" / name for name in ("config.yaml", "tiny.yaml"))
FINISHED = ("sudoku-6x6/mlp/seed-0", "arc-agi-1-6x6/att/seed-0")


def environment(root: Path) -> dict[str, str]:
    """That of commands run in the project at `root`. The commands of the pages name `python` and
    `snakemake`: these, activated or not."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(root), "WANDB_MODE": "disabled"}


@dataclass(frozen=True)
class Project:
    """A copy of the workflow, so that its results are its own too."""

    root: Path
    overlays: tuple[Path, ...] = ()
    """Config files that are always laid over the tiny settings."""

    def run(
        self, *command: str, timeout: float = 600, **variables: str
    ) -> subprocess.CompletedProcess:
        """`python COMMAND…` in the project, with further environment `variables`."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.root,
            env=environment(self.root) | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def snakemake(
        self, *words: str, tiny: bool = True, configfile: Path | None = None
    ) -> subprocess.CompletedProcess:
        """`configfile` is laid over the tiny settings (or, without them, over config.yaml)."""
        flags = [w for w in words if w.startswith("-")]
        words = tuple(w for w in words if not w.startswith("-"))
        tiny_files = (TINY, *self.overlays) if tiny else ()
        files = [str(f) for f in (FULL, *tiny_files, configfile) if f is not None]
        return self.run(
            "-m",
            "snakemake",
            "--cores",
            "2",
            "--configfile",
            *files,
            *flags,
            "--",
            *words,
            timeout=1800,
        )

    def start_snakemake(self, target: str) -> subprocess.Popen:
        """Snakemake in a process group of its own, to be signalled, on the tiny settings."""
        words = ("--cores", "2", "--configfile", str(FULL), str(TINY), "--", target)
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words],
            cwd=self.root,
            env=environment(self.root),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def dry_run(self, *words: str, **settings: object) -> subprocess.CompletedProcess:
        return self.snakemake("-n", *words, **settings)

    def copied_to(self, root: Path) -> Project:
        """With all that was made in it, times included, so that nothing is made again."""
        subprocess.run(["cp", "-a", f"{self.root}/.", str(root)], check=True)
        return replace(self, root=root)


def copy_project(target: Path) -> Project:
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / part)
    return Project(target)


def finish_project(target: Path) -> Project:
    """Run the default target on the tiny settings, for the results FINISHED."""
    copy_project(target)
    (target / "finished.yaml").write_text(yaml.safe_dump({"default": [*FINISHED]}))
    project = Project(target, (target / "finished.yaml",))
    done = project.snakemake()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return project


def jobs(stdout: str) -> dict[str, int]:
    """Rule -> number of jobs, from the job stats of a dry run."""
    table = stdout.split("Job stats:")[1].split("Reasons:")[0]
    found = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
    return {name: int(n) for name, n in found if name != "total"}
