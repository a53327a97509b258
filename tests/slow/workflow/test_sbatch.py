"""What the Slurm plugin asks sbatch for, as written down by an sbatch that starts nothing."""

from __future__ import annotations

import os
import re

import pytest
import yaml

from tests.project import FULL, TINY, Project, copy_project, environment

COMMANDS = {
    "sbatch": "echo $* >> {log}; exit 1",
    "sinfo": "echo 'main*'",
    **dict.fromkeys(("scontrol", "squeue"), "exit 0"),
    **dict.fromkeys(("sacct", "sacctmgr"), "exit 1"),
}
GPU = {"ranks": 1, "gpus": 1, "threads": 2, "mem_mb": 1500, "runtime": 10}
TWO_NODES = {"ranks": 2, "gpus": 2, "nodes": 2, "threads": 1, "mem_mb": 1500, "runtime": 10}
VARIANTS = {"gpu": {"resources": GPU}, "two-nodes": {"resources": TWO_NODES}}
RESULT = "results/tiny/sudoku-6x6/{}/seed-{}/{}"
TRAINED = ("final", "provenance.json")


def pretend(project: Project, *files: str) -> None:
    """Empty files, as inputs of jobs that never run."""
    for file in files:
        path = project.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Rule and variant -> the options of its sbatch."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    programs = tmp_path_factory.mktemp("slurm")
    log = programs / "log"
    for name, does in COMMANDS.items():
        (programs / name).write_text(f"#!/bin/sh\n{does.format(log=log)}\n")
        (programs / name).chmod(0o755)
    benchmark = {"sudoku-6x6": {"variants": VARIANTS}}
    (project.root / "gpus.yaml").write_text(yaml.safe_dump({"benchmarks": benchmark}))
    pretend(project, "data/tiny/sudoku-6x6-1k-aug-50/dataset.json")
    for seed in (0, 1):
        pretend(
            project,
            *(f"checkpoints/tiny/sudoku-6x6/gpu/seed-{seed}/{file}" for file in TRAINED),
            *(RESULT.format("gpu", seed, file) for file in ("history.csv", "config.yaml")),
        )
    evaluated = ("predictions.npz", "provenance.json", "metrics.json")
    pretend(project, *(RESULT.format("gpu", 0, file) for file in evaluated))
    targets = [
        *(RESULT.format("gpu", 0, file) for file in ("steps.csv", "thinking.json", "task-ids.csv")),
        RESULT.format("gpu", 1, "metrics.json"),
        RESULT.format("gpu", 2, "config.yaml"),
        RESULT.format("two-nodes", 0, "config.yaml"),
    ]
    done = project.run(
        "-m",
        "snakemake",
        "--profile",
        "slurm",
        "--rerun-triggers",
        "mtime",
        "--retries",
        "0",
        "--slurm-init-seconds-before-status-checks",
        "1",
        "--max-status-checks-per-second",
        "10",
        "--configfile",
        str(FULL),
        str(TINY),
        "gpus.yaml",
        "--",
        *targets,
        PATH=f"{programs}{os.pathsep}{environment(project.root)['PATH']}",
        USER="somebody",
    )
    assert done.returncode != 0 and log.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    lines = log.read_text().splitlines()
    found = [
        (re.search(r"--comment \S*rule_([a-z_]+?)_wildcards_sudoku-6x6_([a-z-]+)_", line), line)
        for line in lines
    ]
    return {f"{name[1]} {name[2]}": line.partition("--wrap")[0] for name, line in found}


def test_every_rule_on_one_gpu_asks_alike(asked: dict[str, str]) -> None:
    rules = ("train", "evaluate", "steps", "thinking", "task_ids")
    assert {*asked} == {*(f"{rule} gpu" for rule in rules), "train two-nodes"}
    for rule in rules:
        words = asked[f"{rule} gpu"]
        assert re.search(r"--gpus[= ]1\b", words), words
        assert "--ntasks-per-gpu" not in words, rule


def test_two_nodes_ask_for_one_task_each(asked: dict[str, str]) -> None:
    words = asked["train two-nodes"]
    assert re.search(r"--gres[= ]gpu:1\b", words) and "--gpus" not in words
    assert re.search(r"--nodes[= ]2\b", words) and re.search(r"--ntasks[= ]2\b", words)
