from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The commands of the pages name `python` and `snakemake`: these, activated or not.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "profiles", "pretrain.py", "trm",
         "dataset", "slurm", "README.md")  # fmt: skip
FULL, TINY = (ROOT / "config" / name for name in ("config.yaml", "tiny.yaml"))


def environment(root: Path) -> dict[str, str]:
    """That of commands run in the project at `root`."""
    return os.environ | {"PYTHONPATH": str(root), "WANDB_MODE": "disabled"}


@dataclass(frozen=True)
class Project:
    """A copy of the workflow in a folder of its own, so that its results are its own too."""

    root: Path

    def run(
        self, *command: str, timeout: float = 600, **variables: str
    ) -> subprocess.CompletedProcess:
        """`python COMMAND…` in the project, with further environment `variables`."""
        return subprocess.run(
            [sys.executable, *command], cwd=self.root, env=environment(self.root) | variables,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def snakemake(
        self, *words: str, tiny: bool = True, configfile: Path | None = None
    ) -> subprocess.CompletedProcess:
        """`configfile` is laid over the tiny settings (or, without them, over config.yaml)."""
        flags = [w for w in words if w.startswith("-")]
        words = tuple(w for w in words if not w.startswith("-"))
        files = [str(f) for f in (FULL, TINY if tiny else None, configfile) if f is not None]
        return self.run(
            "-m", "snakemake", "--cores", "2", "--configfile", *files, *flags, "--", *words,
            timeout=1800,
        )  # fmt: skip

    def dry_run(self, *words: str, **settings: object) -> subprocess.CompletedProcess:
        return self.snakemake("-n", *words, **settings)


def copy_project(target: Path) -> Project:
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / part)
    return Project(target)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """For dry runs and single commands: nothing is built in it yet."""
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The default target, run end to end on the tiny settings."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    done = project.snakemake()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return project
