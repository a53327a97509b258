"""Dry runs of the real Snakefile: what every target would take, and what stops before any job."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.project import Project, jobs

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
ROWS = {
    f"{b}/{v}": r for b, row in CONFIG["benchmarks"].items() for v, r in row["variants"].items()
}
GIVEN = [name for name, row in ROWS.items() if "weights" in (row or {})]
RESULTS = [name for name in ROWS if name not in GIVEN]


def test_every_result_of_the_study_resolves_from_raw_files(project: Project) -> None:
    targets = [f"results/{name}/seed-7/metrics.json" for name in RESULTS]
    done = project.dry_run(*targets, tiny=False)
    assert done.returncode == 0, done.stderr
    count = jobs(done.stdout)
    assert count["train"] == len(RESULTS)
    assert count["evaluate"] + count["evaluate_arc"] == len(RESULTS)
    assert count["download_arc"] == 5
    assert count["dataset"] == len(CONFIG["datasets"])


def test_summary_takes_every_variant_that_is_trained(project: Project) -> None:
    done = project.dry_run("results/sudoku-extreme/summary.csv", tiny=False)
    trained = [name for name in RESULTS if name.startswith("sudoku-extreme/")]
    count = jobs(done.stdout)
    assert count["train"] == len(trained)
    assert "download_weights" not in count


def test_published_weights_are_downloaded_and_nothing_is_trained(project: Project) -> None:
    count = jobs(project.dry_run("published_weights", tiny=False).stdout)
    assert count["download_weights"] == count["weights"] == len(GIVEN) > 10
    assert count["evaluate"] + count["evaluate_arc"] == len(GIVEN)
    assert "train" not in count


def test_fine_tuning_makes_the_weights_that_it_starts_from(project: Project) -> None:
    variants = ("from-att", "from-trelis-frozen", "nvarc-from-att")
    targets = [f"results/arc-agi-2-tuned/{name}/seed-1/metrics.json" for name in variants]
    overlay = ROOT / "config/fine-tuning.yaml"
    done = project.dry_run("-p", *targets, tiny=False, configfile=overlay)
    count = jobs(done.stdout)
    assert (count["train"], count["weights"], count["download_weights"]) == (4, 1, 1)
    for start in ("arc-agi-2/att/seed-1/final", "arc-agi-2/weights-trelis/seed-0/final"):
        assert f'"load_checkpoint": "checkpoints/{start}"' in done.stdout


def test_a_file_of_a_training_is_not_made_for_given_weights(project: Project) -> None:
    folder = "results/arc-agi-1/weights-arcprize/seed-0"
    for file in ("history.csv", "pooled.csv", "figures/learning_curve.svg"):
        done = project.dry_run(f"{folder}/{file}", tiny=False)
        assert done.returncode != 0
        assert "are given (arcprize/trm_arc_prize_verification/" in done.stderr + done.stdout


def test_every_listed_target_is_made_by_a_rule(project: Project) -> None:
    listed = project.run("-m", "trm", "list", "--config", "config/tiny.yaml").stdout
    targets = re.findall(r"^ +((?:data|results)/\S+)", listed, re.MULTILINE)
    assert len(targets) > 40
    done = project.dry_run(*targets)
    assert done.returncode == 0, done.stderr


def test_the_report_asks_for_steps_and_votes_and_a_result_alone_does_not(project: Project) -> None:
    rows = [CONFIG["benchmarks"][name.split("/")[0]] for name in CONFIG["default"]]
    steps = sum(row.get("steps_in_report", False) for row in rows)
    votes = sum(row["kind"] == "arc" for row in rows)
    count = jobs(project.dry_run(tiny=False).stdout)
    assert (count["steps"], count["steps_figure"], count["votes"]) == (steps, steps, votes)
    assert steps and votes
    alone = [f"results/{result}/metrics.json" for result in CONFIG["default"]]
    assert not {"steps", "votes"} & set(jobs(project.dry_run(*alone, tiny=False).stdout))


def test_the_snakefile_in_workflow_is_that_of_the_root(project: Project) -> None:
    """The catalogue of Snakemake workflows looks for one there."""
    runs = [
        project.run("-m", "snakemake", "-n", *words, "--cores", "2")
        for words in ((), ("--snakefile", "workflow/Snakefile"))
    ]
    assert jobs(runs[1].stdout) == jobs(runs[0].stdout)


def test_a_benchmark_s_own_steps_are_looked_at(project: Project) -> None:
    targets = [f"results/{name}/mlp/seed-0/steps.csv" for name in ("sudoku-6x6", "sudoku-9x9")]
    done = project.dry_run("-p", *targets, tiny=False)
    for steps, target in zip(("1 2 4 8 16", "1 2 4 8 16 32 64"), targets, strict=True):
        assert f"--steps {steps} --out-steps {target}" in done.stdout


def test_mistyped_target_lists_what_exists(project: Project) -> None:
    """Which, and in what words: tests/unit/test_study.py."""
    for target, near in (
        ("results/sudoku-extrem/mlp/seed-0/metrics.json", "results/sudoku-extreme/mlp/seed-0/met"),
        ("tabels", "tables'?; targets are "),
    ):
        done = project.dry_run(target, tiny=False)
        assert done.returncode != 0
        assert f"did you mean '{near}" in done.stderr + done.stdout
    done = project.dry_run("README.md", tiny=False)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr


def test_mistake_in_the_table_stops_before_any_job(project: Project, tmp_path: Path) -> None:
    """Which, and in what words: tests/unit/test_study.py."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"benchmarks": {"sudoku-6x6": {"dataset": "nope"}}}))
    done = project.dry_run(tiny=False, configfile=path)
    assert done.returncode != 0
    assert "no dataset 'nope'" in done.stderr + done.stdout
    assert f"config/config.yaml with {os.path.relpath(path, project.root)}: " in done.stdout
    assert "Traceback" not in done.stderr


def resources_of(stdout: str) -> dict[tuple[str, str], dict[str, str]]:
    """(rule, benchmark) -> resources, from the jobs that a dry run lists."""
    found = re.findall(
        r"^rule (\w+):\n(?:    .+\n)*?    wildcards: benchmark=([\w-]+).*\n"
        r"(?:    .+\n)*?    resources: (.+)$",
        stdout,
        re.MULTILINE,
    )
    return {
        (rule, benchmark): dict(re.findall(r"(\w+)=([^,\s]*)", words))
        for rule, benchmark, words in found
    }


def test_slurm_profile_resolves_with_its_resources(project: Project) -> None:
    files = ("metrics.json", "steps.csv", "thinking.json", "task-ids.csv", "pooled.csv")
    done = project.run(
        "-m",
        "snakemake",
        "--profile",
        "slurm",
        "-n",
        "results/sudoku-extreme/mlp/seed-0/metrics.json",
        *(f"results/arc-agi-1/att/seed-0/{file}" for file in files),
    )
    assert done.returncode == 0, done.stderr
    jobs = resources_of(done.stdout)
    train = jobs["train", "sudoku-extreme"]
    assert (train["gpu"], train["runtime"], train["mem_mb"]) == ("1", "2880", "64000")
    assert jobs["evaluate_arc", "arc-agi-1"]["runtime"] == "240"
    assert jobs["thinking", "arc-agi-1"]["runtime"] == "30"
    gpus = {rule: job for (rule, _), job in jobs.items() if "gpu" in job}
    assert {*gpus} == {
        "train",
        "evaluate",
        "evaluate_arc",
        "steps",
        "thinking",
        "task_ids",
        "pooled",
    }
    profile = (ROOT / "slurm/config.yaml").read_text()
    assert [rule for rule in gpus if f"  {rule}:\n" not in profile.replace("# ", "")] == []
    # Without it the plugin up to 2.6 asks for tasks per GPU, which newer Slurm refuses.
    assert [rule for rule, job in gpus.items() if job.get("tasks_per_gpu") != "0"] == []


def test_shards_ask_for_gpus_and_the_job_that_puts_them_together_does_not(
    project: Project, tmp_path: Path
) -> None:
    shared = {"ranks": 8, "gpus": 8, "nodes": 2, "runtime": 600, "evaluate_shards": 3}
    path = tmp_path / "shards.yaml"
    path.write_text(yaml.safe_dump({"benchmarks": {"arc-agi-1": {"resources": shared}}}))
    target = "results/arc-agi-1/att/seed-0/metrics.json"
    done = project.dry_run("-p", target, tiny=False, configfile=path)
    assert jobs(done.stdout)["evaluate_shard"] == 3
    asked = resources_of(done.stdout)
    shard, together = (asked[rule, "arc-agi-1"] for rule in ("evaluate_shard", "evaluate_arc"))
    assert (shard["gres"], shard["nodes"], shard["ranks"]) == ("gpu:4", "2", "8")
    assert shard["runtime"] == together["runtime"] == "240"
    assert (together["gpu"], together["ranks"]) == ("0", "1") and "nodes" not in together
    files = [f"checkpoints/arc-agi-1/att/seed-0/shards/{n}-of-3.npz" for n in (1, 2, 3)]
    assert f"--shards {' '.join(files)}" in done.stdout
    for number, file in enumerate(files, start=1):
        assert f"--shard {number}/3 --out {file}" in done.stdout
