"""`snakemake --profile slurm` on a Slurm with accounts, where an ended job is soon known to sacct
alone: jobs that end before their time, limits of an account, a controller and a Snakemake that go
away. None of them waits for ever.
"""

from __future__ import annotations

import itertools
import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.project import Project
from tests.slow.slurm.conftest import SECOND_USER, AccountingCluster, open_folder
from tests.slow.slurm.profile import (
    RESULT,
    Snakemake,
    command,
    minutes_that_leave,
    of_rule,
    project_of,
    run_folder,
    saved_steps,
    snakemake,
    started,
    variables,
    weights,
)

LONG = {"epochs": 320, "eval_interval": 160, "save_every_steps": 20}
SHORT = LONG | {"epochs": 160, "eval_interval": 80}
ON_A_GPU = {"ranks": 1, "gpus": 1, "threads": 1, "mem_mb": 1500, "runtime": 10}
VARIANTS = {
    "requeued": {"overrides": LONG, "resources": ON_A_GPU},
    "again": {"overrides": SHORT},
    "replaced": {"overrides": SHORT},
    "left": {"overrides": SHORT},
    "little-memory": {"resources": {"mem_mb": 100, "runtime": 10}},
    "bad": {"overrides": {"lr": 1e30, "puzzle_emb_lr": 1e30, "log_interval": 1}},
}
# Where and with which QOS the trainings run: each can be hit alone.
NODES = {"requeued": "n1", "again": "n2", "replaced": "n3"}
NODE_AFTER = NODES | {"again": "n3"}  # once Slurm has requeued it
QOS = {"requeued": "low", "replaced": "lowest"}


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, accounting_cluster: AccountingCluster
) -> Project:
    return project_of(tmp_path_factory.mktemp("project"), VARIANTS)


Event = Callable[[AccountingCluster, dict[str, str]], None]


def cancel(cluster: AccountingCluster, job: dict[str, str]) -> None:
    cluster.run("scancel", job["JobId"])


def lose_node(cluster: AccountingCluster, job: dict[str, str]) -> None:
    node = f"NodeName={job['NodeList']}"
    cluster.run("scontrol", "update", node, "State=DOWN", "Reason=test")  # it soon answers again


def preempt(cluster: AccountingCluster, job: dict[str, str]) -> None:
    words = ["--qos=high", f"--nodelist={job['NodeList']}", "--exclusive", "--wrap", "sleep 3"]
    cluster.run("sbatch", "--output=/dev/null", *words)


def time_out(cluster: AccountingCluster, job: dict[str, str]) -> None:
    limit = f"TimeLimit={minutes_that_leave(25, job['RunTime'])}"
    cluster.run("scontrol", "update", f"JobId={job['JobId']}", limit)


EVENTS: dict[str, list[Event]] = {
    "requeued": [preempt, time_out],
    "again": [cancel, lose_node],
    "replaced": [preempt],
}


def disturb(project: Project, cluster: AccountingCluster, run: Snakemake) -> None:
    """Let each training meet its events, the next one when it has made steps since the last."""
    todo = {name: [*events] for name, events in EVENTS.items()}
    hit: set[tuple[str, str]] = set()  # job and restarts that have met an event
    begun: dict[tuple[str, str], int] = {}  # steps that were saved when they were first seen
    deadline = time.monotonic() + 900
    while run.process.poll() is None:
        assert time.monotonic() < deadline, run.words()
        jobs = cluster.jobs()
        for name, events in todo.items():
            for job in of_rule(jobs, "train", name):
                if job["JobState"] == "PENDING" and job["Restarts"] != "0":
                    # Slurm holds a requeued job for two minutes; that wait is nobody's subject. Nor
                    # is a second limit, which a slow machine could meet before its first step.
                    # A node that has just lost a job does not start the same one again so soon.
                    change = ("StartTime=now", "TimeLimit=10", f"ReqNodeList={NODE_AFTER[name]}")
                    cluster.run("scontrol", "update", f"JobId={job['JobId']}", *change)
                if job["JobState"] != "RUNNING":
                    continue
                start, steps = (job["JobId"], job["Restarts"]), saved_steps(project, name)
                before = begun.setdefault(start, max(steps, default=0))
                # Other steps are saved by a training that ends, perhaps still the one before.
                regular = any(s > before and s % LONG["save_every_steps"] == 0 for s in steps)
                if events and start not in hit and regular:
                    hit.add(start)
                    events.pop(0)(cluster, job)
        time.sleep(0.5)
    assert not any(todo.values()), (todo, run.words())


def test_jobs_that_end_before_their_time_end_in_a_result_or_a_reason(
    project: Project, accounting_cluster: AccountingCluster
) -> None:
    """All at once: cancelled, timed out, preempted (requeued or not), a node and memory lost."""
    node = f"{NODES}.get(wildcards.variant, 'n3')"
    resources = [
        f"train:qos={QOS}.get(wildcards.variant, 'normal')",
        f"train:slurm_extra='--signal=TERM@90 --nodelist=' + {node}",
    ]
    targets = [RESULT.format(name) for name in (*EVENTS, "little-memory", "bad")]
    words = ("--set-resources", *resources, "--", *targets)
    with snakemake(project, *words, name="disturbed") as run:
        disturb(project, accounting_cluster, run)
    said = run.said.read_text()
    assert run.process.returncode != 0
    assert "has ended as CANCELLED" in said and "has ended as PREEMPTED" in said
    assert "logs/tiny/train/sudoku-6x6/little-memory/seed-0.log" in said
    assert "raise `mem_mb`" in said and "A lower lr" in said

    for name in EVENTS:
        provenance = (project.root / RESULT.format(name)).with_name("provenance.json")
        assert json.loads(provenance.read_text())["starts"] >= 2, name
    ours, theirs = weights(project, "again"), weights(project, "replaced")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    fields = ("JobID", "Comment", "State", "AllocTRES", "Timelimit", "QOS")
    jobs = accounting_cluster.sacct(*fields)
    trainings = {name: of_rule(jobs, "train", name) for name in VARIANTS}
    ends = {name: [job["State"].split()[0] for job in jobs] for name, jobs in trainings.items()}
    assert ends["again"][:2] == ["CANCELLED", "NODE_FAIL"] and ends["again"][-1] == "COMPLETED"
    assert ends["replaced"] == ["PREEMPTED", "COMPLETED"]
    assert ends["requeued"][-1] == "COMPLETED" and len(ends["requeued"]) == 3
    assert len({job["JobID"] for job in trainings["requeued"]}) == 1  # put back into the queue
    assert ends["little-memory"] == ends["bad"] == ["FAILED"] * 3  # `retries: 2`
    got = trainings["requeued"][0]
    assert {"cpu=1", "mem=1500M", "gres/gpu=1"} < {*got["AllocTRES"].split(",")}
    assert (got["Timelimit"], got["QOS"]) == ("00:10:00", "low")


def wait_until(reached: Callable[[], bool], run: Snakemake) -> None:
    deadline = time.monotonic() + 200
    while not reached():
        assert time.monotonic() < deadline and run.process.poll() is None, run.words()
        time.sleep(0.3)


def test_a_killed_snakemake_waits_for_its_jobs_and_a_controller_that_is_away_loses_none(
    project: Project, accounting_cluster: AccountingCluster
) -> None:
    target = str(Path(RESULT.format("left")).with_name("history.csv"))
    with snakemake(project, "--", target, name="first") as first:
        wait_until(lambda: bool(saved_steps(project, "left")), first)  # then it is killed
    unlock = command("--unlock")
    subprocess.run(unlock, cwd=project.root, env=variables(project), check=True)

    def dependent() -> bool:
        jobs = of_rule(accounting_cluster.jobs(), "train", "left")
        return any("afterany" in job["Dependency"] for job in jobs)

    with snakemake(project, "--", target, name="second") as second:
        wait_until(dependent, second)
        accounting_cluster.stop_controller()
        time.sleep(20)
        accounting_cluster.start_controller()
        assert second.wait(200) == 0, second.words()
    assert "of an earlier Snakemake has not ended" in second.said.read_text()
    provenance = run_folder(project, "left") / "provenance.json"
    assert json.loads(provenance.read_text())["starts"] == 1  # it was trained once
    assert len(of_rule(accounting_cluster.sacct("JobID", "Comment"), "train", "left")) == 2


def python_for(project: Project, process: dict[str, object]) -> str:
    """A Python that another user can run: ours may be in the home of root."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        words = [python, "-c", "import snakemake, trm"]
        with suppress(OSError):
            if subprocess.run(words, cwd=project.root, check=False, **process).returncode == 0:
                return python
    pytest.skip(f"no Python {version} that {SECOND_USER} can run")


def test_limits_of_an_account_make_its_jobs_wait(accounting_cluster: AccountingCluster) -> None:
    """A second user may have two jobs in the queue, and one of two CPUs running."""
    two_cpus = ON_A_GPU | {"gpus": 0, "threads": 2}
    variants = {f"limited-{i}": {"resources": two_cpus} for i in range(3)}
    with open_folder() as folder:
        project = project_of(folder / "project", variants)
        user = pwd.getpwnam(SECOND_USER)
        for path in (project.root, *project.root.rglob("*")):
            shutil.chown(path, user.pw_uid, user.pw_gid)
        own = {"HOME": str(project.root), "USER": SECOND_USER, "LOGNAME": SECOND_USER}
        own = variables(project) | own
        own["PYTHONPATH"] += f"{os.pathsep}{sysconfig.get_path('purelib')}"
        process = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "env": own}
        python = python_for(project, process)
        targets = [str(Path(RESULT.format(name)).with_name("history.csv")) for name in variants]
        with started(command("--", *targets, python=python), project, "limited", **process) as run:
            assert run.wait(400) == 0, run.words()
        said = run.said.read_text()
    assert "AssocMaxSubmitJobLimit" in said and "until Slurm accepts it" in said
    assert "wait because of AssocGrpCpuLimit" in said
    fields = ("User", "Comment", "State", "Start", "End")
    jobs = [job for job in accounting_cluster.sacct(*fields) if job["User"] == SECOND_USER]
    trainings = sorted((j for j in jobs if "rule_train" in j["Comment"]), key=lambda j: j["Start"])
    assert [job["State"] for job in trainings] == ["COMPLETED"] * 3
    for before, after in itertools.pairwise(trainings):
        assert before["End"] <= after["Start"]
