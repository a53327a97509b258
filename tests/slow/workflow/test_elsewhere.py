"""Snakemake started from another folder, without its environment activated, or with --sdm conda."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import yaml

from tests.project import TINY, Project, copy_project

# Nothing of ours is found by name, as in a shell where no environment is activated.
PATH = "/usr/bin:/bin"
MARK = "this is the project's own trm"


def snakemake(project: Project, *words: str, path: str = PATH) -> subprocess.CompletedProcess:
    """The installed program, by its path, from the folder around the project."""
    variables = {"PATH": path, "HOME": os.environ["HOME"], "WANDB_MODE": "disabled"}
    return subprocess.run(
        [
            Path(sys.executable).with_name("snakemake"),
            "-s",
            f"{project.root.name}/Snakefile",
            "--cores",
            "2",
            "--configfile",
            TINY,
            *words,
        ],
        cwd=project.root.parent,
        env=variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout called `trm`, as its package is, under a path with a space; its `trm` says so."""
    project = copy_project(tmp_path_factory.mktemp("some where") / "trm")
    with (project.root / "trm" / "errors.py").open("a") as file:
        file.write(f'\nprint("{MARK}", file=sys.stderr)\n')
    return project


def test_rules_run_from_another_folder(project: Project, tmp_path: Path) -> None:
    """Its table and scripts are the project's; what is made is where Snakemake works."""
    elsewhere = tmp_path / "else where"
    target = "results/tiny/tables/table2.csv"
    words = ("--config", "tables_take=existing", "--directory", str(elsewhere))
    done = snakemake(project, *words, "--", target, "list")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "not run" in (elsewhere / target).read_text()
    assert not (project.root / "results").exists()
    assert MARK in (elsewhere / "logs/tiny/table/table2.log").read_text()
    assert "results/tiny/sudoku-6x6/mlp/seed-0/metrics.json" in done.stdout


def test_a_result_is_made_from_another_folder(project: Project, tmp_path: Path) -> None:
    """Training and evaluation start processes of their own, which find the project too."""
    target = "results/tiny/sudoku-6x6/mlp/seed-0/figures/thinking.gif"
    done = snakemake(project, "--directory", str(tmp_path), "--", target)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / target).is_file()
    for rule in ("train", "evaluate", "thinking"):
        assert MARK in (tmp_path / f"logs/tiny/{rule}/sudoku-6x6/mlp/seed-0.log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_data_and_checkpoints_may_be_on_another_file_system(tmp_path: Path) -> None:
    """As links, from which a link within them is resolved: that of given weights."""
    root, disk = tmp_path / "project", tmp_path / "disk"
    copy_project(root)
    overlay = root / "given.yaml"
    mlp = {"arch.mlp_t": True, "arch.pos_encodings": "none"}
    theirs = {"weights": {"path": "mine.pt"}, "overrides": mlp}
    overlay.write_text(
        yaml.safe_dump({"benchmarks": {"sudoku-6x6": {"variants": {"theirs": theirs}}}})
    )
    project = Project(root, (overlay,))
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "none", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr}")
    try:
        for name in ("data", "checkpoints"):
            (disk / "deeper" / name).mkdir(parents=True)
            (root / name).symlink_to(disk / "deeper" / name)
        exact = []
        for name in ("mlp", "theirs"):
            metrics = f"results/tiny/sudoku-6x6/{name}/seed-0/metrics.json"
            done = project.snakemake(metrics)
            assert done.returncode == 0, done.stderr[-3000:]
            exact.append(json.loads((root / metrics).read_text())["accuracy"])
            final = root / "checkpoints/tiny/sudoku-6x6" / name / "seed-0/final"
            assert os.path.samestat(
                final.parent.stat(), (disk / "deeper" / final.parent.relative_to(root)).stat()
            )
            shutil.copy(final, root / "mine.pt")
        assert exact[0] == exact[1]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


CONDA = """#!{python}
# Answers Snakemake as conda does, and fetches nothing: an environment finds the packages that are
# installed here, but not the project.
import json, subprocess, sys
from pathlib import Path
words = sys.argv[1:]
if words[0] == "info":
    print(json.dumps({{"conda_prefix": "{conda}", "platform": "linux-64"}}))
elif words[0] == "--version":
    print("conda 25.1.0")
elif words[0] == "config":
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif words[:2] == ["env", "create"]:
    prefix = Path(words[words.index("--prefix") + 1])
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text("{packages}")
    Path("{conda}/environment").symlink_to(prefix)
"""


def test_rules_run_in_a_conda_environment(project: Project, tmp_path: Path) -> None:
    conda = tmp_path / "conda"
    (conda / "bin").mkdir(parents=True)
    packages = Path(numpy.__file__).parents[1]
    content = CONDA.format(python=sys.executable, conda=conda, packages=packages)
    (conda / "bin" / "conda").write_text(content)
    (conda / "bin" / "conda").chmod(0o755)
    (conda / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    target = "results/tiny/tables/table2.csv"
    words = ("--sdm", "conda", "--config", "tables_take=existing", "--directory", str(tmp_path))
    done = snakemake(project, *words, "--", target, "list", path=f"{conda}/bin:{PATH}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "not run" in (tmp_path / target).read_text()
    assert MARK in (tmp_path / "logs/tiny/table/table2.log").read_text()
    assert "results/tiny/sudoku-6x6/mlp/seed-0/metrics.json" in done.stdout
    python = conda / "environment" / "bin" / "python"
    alone = subprocess.run(
        [python, "-c", "import numpy, trm"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'trm'" in alone.stderr
