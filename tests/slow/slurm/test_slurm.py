"""`snakemake --profile slurm` on a real Slurm: what jobs get, and what becomes of those that end
before their time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.project import FULL, TINY, Project, copy_project, environment
from tests.slow.slurm.conftest import Cluster
from trm.model.checkpoint import read_state_dict

# Laid over the tiny study: variants of one small training, each with jobs of its own kind.
ONE_NODE = {"ranks": 2, "gpus": 2, "nodes": 1, "threads": 2, "mem_mb": 1500, "runtime": 10}
LONG = {"epochs": 320, "eval_interval": 160, "save_every_steps": 20}
VARIANTS = {
    "one-node": {"resources": ONE_NODE},
    "two-nodes": {"resources": ONE_NODE | {"nodes": 2, "threads": 1}},
    "whole": {"overrides": LONG},
    "bad": {"overrides": {"lr": 1e30, "puzzle_emb_lr": 1e30, "log_interval": 1}},
    "cancelled": {"overrides": LONG},
    "timed-out": {"overrides": LONG},
    "preempted": {"overrides": LONG},
}
INTERRUPTED = ("cancelled", "timed-out", "preempted")
RESULT = "results/tiny/sudoku-6x6/{}/seed-0/metrics.json"


@dataclass
class Snakemake:
    """`snakemake --profile slurm` in the background, its words in a file."""

    project: Project
    process: subprocess.Popen
    said: Path

    def wait(self, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"snakemake does not end: {self.said.read_text()[-6000:]}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Project]:
    project = copy_project(tmp_path_factory.mktemp("project"))
    small = {
        "benchmarks": {
            "sudoku-6x6": {
                "variants": {
                    name: {
                        "overrides": {"arch.mlp_t": True, "arch.pos_encodings": "none"}
                        | row.get("overrides", {}),
                        **{k: v for k, v in row.items() if k != "overrides"},
                    }
                    for name, row in VARIANTS.items()
                }
            }
        }
    }
    (project.root / "small.yaml").write_text(yaml.safe_dump(small))
    yield project


def snakemake(project: Project, *words: str, name: str) -> Snakemake:
    said = project.root / f"{name}.log"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        "slurm",
        # This cluster keeps no accounts, and these jobs are short.
        "--slurm-status-command",
        "squeue",
        "--slurm-init-seconds-before-status-checks",
        "3",
        "--max-status-checks-per-second",
        "0.5",
        "--latency-wait",
        "10",
        "--configfile",
        str(FULL),
        str(TINY),
        "small.yaml",
    ]
    process = subprocess.Popen(
        [*command, *words],
        cwd=project.root,
        env=environment(project.root) | {"TRM_DEVICE": "cpu"},  # its GPUs are empty files
        stdout=said.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Snakemake(project, process, said)


def weights(project: Project, variant: str) -> dict[str, torch.Tensor]:
    return read_state_dict(project.root / f"checkpoints/tiny/sudoku-6x6/{variant}/seed-0/final")


def of_rule(jobs: list[dict[str, str]], rule: str, variant: str) -> list[dict[str, str]]:
    """The jobs of a rule: the plugin's comment names rule and wildcards."""
    return [
        j
        for j in jobs
        if f"rule_{rule}_" in j.get("Comment", "") and f"_{variant}_" in j["Comment"]
    ]


def minutes_that_leave(seconds: int, run_time: str) -> int:
    """The shortest limit that a job which has run for hh:mm:ss does not meet within `seconds`."""
    hours, minutes, rest = map(int, run_time.split(":"))
    return hours * 60 + minutes + 1 + (rest + seconds >= 60)


@pytest.fixture(scope="module")
def studied(project: Project, cluster: Cluster) -> Project:
    """Two results, one of them on two nodes, from raw data to metrics."""
    targets = [RESULT.format("one-node"), RESULT.format("two-nodes")]
    run = snakemake(project, "--", *targets, name="study")
    assert run.wait(600) == 0, run.said.read_text()[-6000:]
    return project


def test_jobs_get_what_they_asked_for(studied: Project, cluster: Cluster) -> None:
    jobs = cluster.jobs()
    (one,) = of_rule(jobs, "train", "one-node")
    (two,) = of_rule(jobs, "train", "two-nodes")
    assert one["NumNodes"] == "1" and two["NumNodes"] == "2"
    assert "cpu=2," in one["TRES"] and "mem=1500M" in one["TRES"]
    assert "cpu=2," in two["TRES"]
    assert one["TresPerJob"] == "gres:gpu:2"
    assert two["TresPerNode"] == "gres:gpu:1"
    assert one["TimeLimit"] == "00:10:00"
    (evaluated,) = of_rule(jobs, "evaluate", "one-node")
    assert evaluated["TresPerJob"] == "gres:gpu:2"
    rules = {re.search(r"rule_([a-z_]+?)_(wildcards|$)", j["Comment"])[1] for j in jobs}
    assert rules == {"dataset", "train", "evaluate"}  # the others run where snakemake does
    log = (studied.root / "logs/tiny/train/sudoku-6x6/one-node/seed-0.log").read_text()
    assert "on GPUs 0,1" in log
    provenance = studied.root / "results/tiny/sudoku-6x6/two-nodes/seed-0/provenance.json"
    assert json.loads(provenance.read_text())["world_size"] == 2


def test_two_nodes_give_the_result_of_one(studied: Project) -> None:
    one, two = (weights(studied, name) for name in ("one-node", "two-nodes"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    predictions = [
        np.load(studied.root / RESULT.format(name).replace("metrics.json", "predictions.npz"))
        for name in ("one-node", "two-nodes")
    ]
    np.testing.assert_array_equal(*(p["preds"] for p in predictions))


def test_a_failed_jobs_log_is_found_and_named(studied: Project) -> None:
    run = snakemake(studied, "--retries", "0", "--", RESULT.format("bad"), name="bad")
    assert run.wait(300) != 0
    said = run.said.read_text()
    assert "logs/tiny/train/sudoku-6x6/bad/seed-0.log" in said
    log = (studied.root / "logs/tiny/train/sudoku-6x6/bad/seed-0.log").read_text()
    assert "A lower lr" in log and "A lower lr" in said
    assert not (studied.root / "checkpoints/tiny/sudoku-6x6/bad/seed-0/final").exists()


def test_jobs_that_end_before_their_time_end_in_the_right_result(
    studied: Project, cluster: Cluster
) -> None:
    """One job is cancelled, one reaches its time limit, one is preempted; all at once."""
    preempted = "if wildcards.variant == 'preempted' else"
    resources = [
        f"train:slurm_partition='scavenge' {preempted} 'main'",
        f"train:slurm_extra='--signal=TERM@35 --nodelist=n3' {preempted} "
        "'--signal=TERM@35 --exclude=n3'",
    ]
    run = snakemake(
        studied,
        "--set-resources",
        *resources,
        "--",
        *map(RESULT.format, ["whole", *INTERRUPTED]),
        name="interrupted",
    )
    snapshots = {
        name: studied.root / f"checkpoints/tiny/sudoku-6x6/{name}/seed-0/snapshots"
        for name in INTERRUPTED
    }
    done: set[str] = set()
    deadline = time.monotonic() + 900
    while run.process.poll() is None:
        assert time.monotonic() < deadline, run.said.read_text()[-6000:]
        jobs = cluster.jobs()
        for name in INTERRUPTED:
            for job in of_rule(jobs, "train", name):
                if job["JobState"] == "PENDING" and job["Restarts"] != "0":
                    # Slurm holds a requeued job for two minutes; that wait is nobody's subject. Nor
                    # is a second limit, which a slow machine could meet before its first step.
                    change = ("StartTime=now", "TimeLimit=10")
                    cluster.run("scontrol", "update", f"JobId={job['JobId']}", *change)
                begun = any(snapshots[name].glob("step_*"))
                if name in done or job["JobState"] != "RUNNING" or not begun:
                    continue
                if name == "cancelled":
                    cluster.run("scancel", job["JobId"])
                elif name == "timed-out":
                    limit = f"TimeLimit={minutes_that_leave(40, job['RunTime'])}"
                    cluster.run("scontrol", "update", f"JobId={job['JobId']}", limit)
                else:
                    command = ["-p", "main", "--nodelist=n3", "--exclusive", "--wrap", "sleep 5"]
                    cluster.run("sbatch", "--output=/dev/null", *command)
                done.add(name)
        time.sleep(1)
    said = run.said.read_text()
    assert run.process.returncode == 0, said[-6000:]
    assert done == set(INTERRUPTED)
    for name in INTERRUPTED:
        provenance = json.loads(
            (studied.root / RESULT.format(name)).with_name("provenance.json").read_text()
        )
        assert provenance["starts"] >= 2, name
    jobs = cluster.jobs()
    assert len(of_rule(jobs, "train", "cancelled")) == 2  # Snakemake submitted it again
    for name in ("timed-out", "preempted"):
        (job,) = of_rule(jobs, "train", name)  # the same job, put back into the queue
        assert job["Restarts"] == "1", name
    reference = weights(studied, "whole")
    for name in INTERRUPTED:
        mine = weights(studied, name)
        assert all(torch.equal(reference[key], mine[key]) for key in reference), name
