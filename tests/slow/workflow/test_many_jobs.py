"""A dry run of the whole study with five seeds: what it costs, in calls and not in seconds."""

from __future__ import annotations

import pstats
from pathlib import Path

import yaml

from tests.project import FULL, Project, jobs
from trm.study.table import Study

SEEDS = 5
CALLS_PER_JOB = 40  # of functions of the rules and of trm: a dozen resources, each of a row


def test_the_rules_do_little_for_each_of_a_thousand_jobs(project: Project, tmp_path: Path) -> None:
    study = Study.load(FULL)
    seeds = {name: {"seeds": [*range(SEEDS)]} for name in study.benchmarks}
    (tmp_path / "seeds.yaml").write_text(yaml.safe_dump({"benchmarks": seeds}))
    words = ["-m", "snakemake", "-n", "--quiet", "rules", "--cores", "2"]
    words += ["--configfile", str(FULL), str(tmp_path / "seeds.yaml"), "--", "complete"]
    done = project.run("-m", "cProfile", "-o", str(tmp_path / "calls"), *words)
    assert done.returncode == 0, done.stderr
    count = jobs(done.stdout)
    trained = [name for name in study.result_names() if name not in study.weights_names()]
    assert count["train"] == SEEDS * len(trained)

    profile = pstats.Stats(str(tmp_path / "calls")).stats
    calls = [
        (function, number)
        for (file, _, function), (_, number, *_) in profile.items()
        if file.startswith(str(project.root))
    ]
    assert sum(number for _, number in calls) < CALLS_PER_JOB * sum(count.values())
    # Each variant once, whatever the seeds.
    assert ("resolve", len(study.result_names())) in calls
