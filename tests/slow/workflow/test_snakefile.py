"""The real Snakefile: what a change, a failure or an interruption makes again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.project import FULL, TINY, Project, jobs

CONFIG = yaml.safe_load(FULL.read_text())


@pytest.fixture
def own(finished: Project, tmp_path: Path) -> Project:
    """A finished project that the test may change."""
    return finished.copied_to(tmp_path / "own")


def test_a_shorter_run_is_not_scored_by_an_earlier_ones_weights(own: Project) -> None:
    """The run folder still holds a later step of an earlier, longer run."""
    run = own.root / "checkpoints/tiny/sudoku-6x6/mlp/seed-0"
    result = own.root / "results/tiny/sudoku-6x6/mlp/seed-0"
    scored = (result / "metrics.json").read_bytes()
    shutil.copy(run / "final", run / "step_999")
    steps = json.loads((run / "provenance.json").read_text())["checkpoints"]
    assert (run / "final").read_bytes() == (run / steps[-1]).read_bytes()
    (run / "step_999").write_bytes(b"of an earlier run")
    (run / "final").unlink()
    (result / "metrics.json").unlink()
    done = own.snakemake("results/tiny/sudoku-6x6/mlp/seed-0/metrics.json")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (result / "metrics.json").read_bytes() == scored


def test_a_dataset_with_a_file_of_the_users_is_not_built_again(project: Project) -> None:
    """Snakemake deletes a folder that is an output before it runs the rule."""
    dataset = "data/tiny/sudoku-6x6-1k-aug-50"
    assert project.snakemake(dataset).returncode == 0
    (project.root / dataset / "notes.txt").write_text("mine")
    refused = project.snakemake(dataset, "--force")
    assert refused.returncode and "holds notes.txt" in refused.stdout + refused.stderr
    assert (project.root / dataset / "notes.txt").read_text() == "mine"
    (project.root / dataset / "notes.txt").unlink()
    assert project.snakemake(dataset, "--force").returncode == 0


def test_snakemake_looks_for_jobs_when_one_has_ended_and_not_every_second(own: Project) -> None:
    done = own.snakemake("--verbose", "--forcerun=thinking")
    assert done.returncode == 0, done.stderr[-4000:]
    ended = done.stderr.count("Finished jobid")
    assert ended >= 6
    assert 0 < done.stderr.count("Ready jobs: ") <= ended + 1


def test_what_a_change_makes_again(own: Project, tmp_path: Path) -> None:
    """A plot's setting does not retrain; a training option does; README retrains nothing."""

    def planned(change: dict) -> dict[str, int]:
        path = tmp_path / "change.yaml"
        path.write_text(yaml.safe_dump(change))
        done = own.dry_run(configfile=path)
        return jobs(done.stdout) if "Job stats" in done.stdout else {}

    (own.root / "README.md").touch()
    assert planned({}) == {}
    retitled = planned({"benchmarks": {"sudoku-6x6": {"title": "Another title"}}})
    assert set(retitled) == {"all", "study", "report"}
    retrained = planned({"benchmarks": {"sudoku-6x6": {"overrides": {"lr": 0.002}}}})
    assert retrained["train"] == 1
    assert "dataset" not in retrained
    for file in ("report.html", "sudoku-6x6/mlp/seed-0/figures/examples.svg"):
        (own.root / "results/tiny" / file).unlink()
    assert set(planned({})) == {"all", "figures", "report"}
    assert own.snakemake().returncode == 0


def test_a_failed_retraining_does_not_leave_the_old_result_for_the_new(
    own: Project, tmp_path: Path
) -> None:
    change = tmp_path / "change.yaml"
    change.write_text(
        yaml.safe_dump(
            {"benchmarks": {"sudoku-6x6": {"overrides": {"lr": 1e30, "log_interval": 1}}}}
        )
    )
    target = "results/tiny/sudoku-6x6/mlp/seed-0/metrics.json"
    failed = own.snakemake(target, configfile=change)
    assert failed.returncode != 0
    assert "A lower lr" in failed.stdout + failed.stderr
    planned = jobs(own.dry_run(target, configfile=change).stdout)
    assert planned["train"] == planned["evaluate"] == 1
    assert own.snakemake().returncode == 0  # by the settings as they were


def test_the_report_shows_what_is_there_and_trains_nothing(own: Project) -> None:
    """Results copied from another machine, without checkpoints."""
    results = own.root / "results/tiny"
    added = {
        "sudoku-6x6/mlp/seed-1": "sudoku-6x6/mlp/seed-0",
        "maze-hard/mlp/seed-0": "sudoku-6x6/mlp/seed-0",
    }
    for name, source in added.items():
        (results / name).mkdir(parents=True)
        for file in ("metrics.json", "history.csv"):
            shutil.copy(results / source / file, results / name)
    assert set(jobs(own.dry_run().stdout)) == {"all", "report"}
    assert own.snakemake().returncode == 0
    page = (results / "report.html").read_text()
    for name in added:
        section = page.split(f'id="{name.replace("/", "-")}"')[1]
        assert "Learning curves" in section.split("<article")[0]
    assert "Nothing to be done" in own.dry_run().stdout
    (results / "maze-hard/mlp/seed-0/metrics.json").write_text('{"exact_accuracy": 1, "count": 24}')
    assert set(jobs(own.dry_run().stdout)) == {"all", "report"}


def test_names_with_signs_and_letters_of_any_language_run(project: Project, tmp_path) -> None:
    """Through the shell, Hydra and YAML."""
    tiny = yaml.safe_load(TINY.read_text())
    name = "sudoku-6x6-1k-aug-50"
    table = CONFIG["datasets"][name] | tiny["datasets"][name]
    variants = {"lr=1e-4#2é": CONFIG["benchmarks"]["sudoku-6x6"]["variants"]["mlp"]}
    change = {
        "datasets": {"数据=1#2": table},
        "benchmarks": {"sudoku-6x6": {"dataset": "数据=1#2", "variants": variants}},
    }
    (tmp_path / "names.yaml").write_text(yaml.safe_dump(change, allow_unicode=True))
    target = "results/tiny/sudoku-6x6/lr=1e-4#2é/seed-0/metrics.json"
    done = project.snakemake(target, configfile=tmp_path / "names.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (project.root / target).is_file()


def stop_in_the_middle(project: Project, seed: int, number: int) -> tuple[str, Path, int]:
    """Ask for a result, and signal Snakemake's whole process group once a snapshot is there.

    Gives the target, the run folder and Snakemake's exit status.
    """
    target = f"results/tiny/sudoku-6x6/mlp/seed-{seed}/metrics.json"
    process = project.start_snakemake(target)
    run = project.root / f"checkpoints/tiny/sudoku-6x6/mlp/seed-{seed}"
    deadline = time.monotonic() + 120
    while not [*(run / "snapshots").glob("step_*")] and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    return target, run, process.wait(timeout=120)


def test_interrupted_training_leaves_no_target(project: Project) -> None:
    """After Ctrl-C in the middle there is no declared output, and the same command resumes."""
    target, run, status = stop_in_the_middle(project, 3, signal.SIGINT)
    assert status != 0
    assert not (run / "final").exists()
    assert not (project.root / target).exists()
    done = project.snakemake(target)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (project.root / target).exists()
    assert (
        "resuming from step"
        in (project.root / "logs/tiny/train/sudoku-6x6/mlp/seed-3.log").read_text()
    )
    assert not (run / "snapshots").exists()  # gigabytes that nobody needs any more
    assert json.loads((run / "provenance.json").read_text())["starts"] == 2


def test_killed_snakemake_goes_on_from_the_checkpoint(project: Project) -> None:
    """SIGKILL for everything at once, as of a node that dies: --unlock, and the same command."""
    target, run, _ = stop_in_the_middle(project, 4, signal.SIGKILL)
    assert project.snakemake("--unlock").returncode == 0
    done = project.snakemake(target)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads((run / "provenance.json").read_text())["starts"] == 2
