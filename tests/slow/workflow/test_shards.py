"""An evaluation in two shards, as jobs of the real Snakefile, each of two processes."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.project import Project, jobs

RESULT = "arc-agi-1-6x6/att/seed-0"
SAME = ("metrics.json", "predictions.npz", "submission.json")


def test_two_shards_are_the_whole_evaluation_to_the_byte(finished: Project, tmp_path: Path) -> None:
    project = finished.copied_to(tmp_path / "project")
    result, run = (project.root / top / "tiny" / RESULT for top in ("results", "checkpoints"))
    whole = {name: (result / name).read_bytes() for name in SAME}
    for name in SAME:
        (result / name).unlink()
    resources = {"ranks": 2, "threads": 2, "mem_mb": 2000, "runtime": 10, "evaluate_shards": 2}
    overlay = tmp_path / "shards.yaml"
    overlay.write_text(yaml.safe_dump({"benchmarks": {"arc-agi-1-6x6": {"resources": resources}}}))
    target = f"results/tiny/{RESULT}/metrics.json"
    planned = jobs(project.dry_run(target, configfile=overlay).stdout)
    assert planned == {"evaluate_shard": 2, "evaluate_arc": 1}

    done = project.snakemake(target, configfile=overlay)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {name: (result / name).read_bytes() for name in SAME} == whole
    assert not list(run.rglob("*-of-2.npz"))  # they are in the predictions
    for number in (1, 2):
        log = project.root / f"logs/tiny/evaluate_shard/{RESULT}/{number}-of-2.log"
        assert f"evaluated shard {number} of 2" in log.read_text()
    cost = json.loads((result / "provenance.json").read_text())
    assert cost["evaluate_wall_s"] > 0
    again = project.dry_run(target, configfile=overlay)
    assert "Nothing to be done" in again.stdout + again.stderr
