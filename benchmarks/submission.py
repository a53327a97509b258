"""Count what a study asks of Slurm while its jobs wait: calls of sbatch, squeue and others.

    python benchmarks/submission.py

It needs root and Slurm (apt-get install slurm-wlm munge). It starts a Slurm of its own on this
machine, all of whose nodes are drained, so that jobs wait as on a busy cluster. Then it asks for
the real trainings of a tiny study by `snakemake --profile slurm`, and counts calls for --seconds.
While a test has a cluster of its own, it waits for that test to end.
Arguments that it does not know are Snakemake's, as in `--max-jobs-per-timespan 5/1s`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.project import FULL, TINY, Project, copy_project, environment  # noqa: E402
from tests.slow.slurm.conftest import Cluster, alone, why_no_cluster  # noqa: E402

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "scancel")
DATASET = "data/tiny/sudoku-6x6-1k-aug-50"
NOTED = """#!/bin/sh
echo "$(date +%s.%N) {name}" >> {log}
exec {program} "$@"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120)
    args, words = parser.parse_known_args()
    if reason := why_no_cluster():
        raise SystemExit(f"no Slurm here: {reason}")
    with alone(), tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        project = copy_project(root / "project")
        seeds = {"benchmarks": {"sudoku-6x6": {"seeds": [*range(args.trainings)]}}}
        (project.root / "seeds.yaml").write_text(yaml.safe_dump(seeds))
        made = project.snakemake(DATASET)
        if made.returncode:
            raise SystemExit(made.stderr[-2000:])
        cluster = Cluster(root / "cluster")
        try:
            cluster.up()
            for node in cluster.nodes:
                cluster.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=full")
            calls = watch(project, args, words)
        finally:
            cluster.down()
    report(calls, args, words)


def watch(project: Project, args: argparse.Namespace, words: list[str]) -> list[tuple[float, str]]:
    """(seconds since the start, program) of each call, in order, those of the end included."""
    folder, log = project.root / "noted", project.root / "calls.log"
    folder.mkdir()
    for name in PROGRAMS:
        if program := shutil.which(name):
            (folder / name).write_text(NOTED.format(name=name, log=log, program=program))
            (folder / name).chmod(0o755)
    variables = environment(project.root)
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm"]
    command += ["--configfile", str(FULL), str(TINY), "seeds.yaml", *words]
    targets = [
        f"results/tiny/sudoku-6x6/mlp/seed-{seed}/metrics.json" for seed in range(args.trainings)
    ]
    began = time.time()
    with (project.root / "said.log").open("w") as said:
        process = subprocess.Popen(
            [*command, "--", *targets],
            cwd=project.root,
            env=variables | {"PATH": f"{folder}{os.pathsep}{variables['PATH']}"},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(args.seconds)
            raise SystemExit((project.root / "said.log").read_text()[-3000:])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: it cancels its jobs
        process.wait(120)
    lines = (line.split() for line in log.read_text().splitlines())
    return sorted((float(when) - began, name) for when, name in lines)


def report(calls: list[tuple[float, str]], args: argparse.Namespace, words: list[str]) -> None:
    print(f"{date.today()}: {args.trainings} trainings, {args.seconds:g} s {' '.join(words)}")
    submitted = [when for when, name in calls if name == "sbatch"]
    a_second = max(Counter(int(when) for when in submitted).values())
    print(
        f"sbatch: {len(submitted)} calls, at {submitted[0]:.1f} to {submitted[-1]:.1f} s, at most "
        f"{a_second} in a second"
    )
    for name in PROGRAMS[1:]:
        called = [when for when, program in calls if program == name]
        waiting = sum(when < args.seconds for when in called)
        a_minute = waiting / args.seconds * 60
        print(
            f"{name}: {waiting} calls ({a_minute:.1f} a minute), {len(called) - waiting} at the end"
        )


if __name__ == "__main__":
    main()
