"""`snakemake --profile slurm` on a Slurm that keeps no accounts: what jobs get, on one node and on
two, and a failed job."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from tests.project import Project
from tests.slow.slurm.conftest import Cluster
from tests.slow.slurm.profile import RESULT, of_rule, project_of, snakemake, weights

ONE_NODE = {"ranks": 2, "gpus": 2, "nodes": 1, "threads": 2, "mem_mb": 1500, "runtime": 10}
VARIANTS = {
    "one-node": {"resources": ONE_NODE},
    "two-nodes": {"resources": ONE_NODE | {"nodes": 2, "threads": 1}},
    "bad": {"overrides": {"lr": 1e30, "puzzle_emb_lr": 1e30, "log_interval": 1}},
}


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Project:
    """Two results, one of them on two nodes, from raw data to metrics."""
    project = project_of(tmp_path_factory.mktemp("project"), VARIANTS)
    targets = [RESULT.format("one-node"), RESULT.format("two-nodes")]
    with snakemake(project, "--", *targets, name="study") as run:
        assert run.wait(600) == 0, run.words()
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
    with snakemake(studied, "--retries", "0", "--", RESULT.format("bad"), name="bad") as run:
        assert run.wait(300) != 0
    said = run.said.read_text()
    assert "has ended as FAILED" in said
    assert "logs/tiny/train/sudoku-6x6/bad/seed-0.log" in said
    log = (studied.root / "logs/tiny/train/sudoku-6x6/bad/seed-0.log").read_text()
    assert "A lower lr" in log and "A lower lr" in said
    assert not (studied.root / "checkpoints/tiny/sudoku-6x6/bad/seed-0/final").exists()
