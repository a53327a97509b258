"""The real Snakefile: dry runs of the whole study, and the tiny study end to end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.conftest import FULL, TINY, Project, copy_project, environment
from trm.scoring.gallery import load_gallery

CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
RESULTS = [f"{b}/{v}" for b, row in CONFIG["benchmarks"].items() for v in row["variants"]]
DEFAULT = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())["default"]


def jobs(stdout: str) -> dict[str, int]:
    """Rule -> number of jobs, from the job stats of a dry run."""
    table = stdout.split("Job stats:")[1].split("Reasons:")[0]
    found = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
    return {name: int(n) for name, n in found if name != "total"}


# --- dry runs -------------------------------------------------------------------------------------


def test_every_result_of_the_study_resolves_from_raw_files(project: Project) -> None:
    targets = [f"results/{name}/seed-7/metrics.json" for name in RESULTS]
    done = project.dry_run(*targets, tiny=False)
    assert done.returncode == 0, done.stderr
    count = jobs(done.stdout)
    assert count["train"] == len(RESULTS)
    assert count["evaluate"] + count["evaluate_arc"] == len(RESULTS)
    assert count["download_arc"] == 5
    assert count["dataset"] == len(CONFIG["datasets"])


def test_summary_takes_every_variant(project: Project) -> None:
    done = project.dry_run("results/sudoku-extreme/summary.csv", tiny=False)
    assert jobs(done.stdout)["train"] == len(CONFIG["benchmarks"]["sudoku-extreme"]["variants"])


def test_the_report_asks_for_steps_and_votes_and_a_result_alone_does_not(project: Project) -> None:
    count = jobs(project.dry_run(tiny=False).stdout)
    assert (count["steps"], count["steps_figure"], count["votes"]) == (2, 2, 1)
    for target in ("sudoku-6x6/mlp", "arc-agi-1-6x6/att"):
        alone = jobs(project.dry_run(f"results/{target}/seed-0/metrics.json", tiny=False).stdout)
        assert not {"steps", "votes"} & set(alone)


def test_a_benchmark_s_own_steps_are_looked_at(project: Project) -> None:
    for name, steps in (("sudoku-6x6", "1 2 4 8 16"), ("sudoku-9x9", "1 2 4 8 16 32 64")):
        done = project.dry_run("-p", f"results/{name}/mlp/seed-0/steps.csv", tiny=False)
        assert f"--steps {steps} --out-steps" in done.stdout


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/sudoku-extrem/mlp/seed-0/metrics.json", "did you mean 'sudoku-extreme/mlp'"),
        ("results/sudoku-6x6/att/seed-0/metrics.json", "sudoku-6x6/mlp"),
        ("results/sudoku-6x6/mlp/seed-0/metric.json", "FILE of metrics.json"),
        ("results/sudoku-6x6/mlp/seed-x/metrics.json", "seed-N"),
        ("data/arc1concept", "there are arc1concept-aug-1000"),
    ],
)
def test_mistyped_target_lists_what_exists(project: Project, target: str, words: str) -> None:
    done = project.dry_run(target, tiny=False)
    assert done.returncode != 0
    assert words in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"benchmarks": {"sudoku-6x6": {"dataset": "nope"}}}, "no dataset 'nope'"),
        ({"benchmarks": {"sudoku-6x6": {"overrides": {"learning_rate": 1}}}}, "learning_rate"),
        ({"benchmarks": {"sudoku-6x6": {"overrides": {"arch.L_cycle": 1}}}}, "arch.L_cycles"),
        ({"benchmarks": {"sudoku-6x6": {"overrides": {"epochs": 70}}}}, "not a multiple of"),
        ({"benchmarks": {"sudoku-6x6": {"metric": "exact_acc"}}}, "'exact_accuracy'"),
        ({"benchmarks": {"sudoku-6x6": {"kind": "arc"}}}, "is built by sudoku"),
        ({"benchmarks": {"sudoku-6x6": {"resources": {"ranks": 3}}}}, "not divisible by the 3"),
        ({"benchmraks": {}}, "did you mean 'benchmarks'"),
        ({"default": ["sudoku-6x6/mpl/seed-0"]}, "did you mean 'sudoku-6x6/mlp'"),
        ({"datasets": {"arc1concept-aug-1000": {"num_aug": -1}}}, "num_aug"),
        ({"benchmarks": {"maze-hard": {"resources": {"gpu": 1}}}}, "resources.gpu"),
    ],
)
def test_mistake_in_the_table_stops_before_any_job(
    project: Project, tmp_path: Path, change: dict, words: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(change))
    done = project.dry_run(tiny=False, configfile=path)
    assert done.returncode != 0
    assert words in done.stderr + done.stdout
    assert f"config/config.yaml with {os.path.relpath(path, project.root)}: " in done.stdout
    assert "Traceback" not in done.stderr


# --- end to end -----------------------------------------------------------------------------------


def test_the_chain_ends_in_a_report(finished: Project) -> None:
    page = (finished.root / "results" / "tiny" / "report.html").read_text()
    for title in ("Tiny Sudoku 6x6", "Tiny ARC-AGI-1, grids up to 5x5"):
        assert title in page
    of_arc = sum("arc" in name for name in DEFAULT)
    assert page.count("Accuracy against supervision steps</h4>") == len(DEFAULT)
    assert page.count("Accuracy against votes</h4>") == of_arc > 0
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def test_what_is_thought_last_is_what_was_predicted(finished: Project) -> None:
    for name in ("sudoku-6x6/mlp", "maze-hard/att", "arc-agi-1-6x6/att"):
        folder = finished.root / "results/tiny" / name / "seed-0"
        gallery, thinking = (load_gallery(folder / f"{n}.json") for n in ("gallery", "thinking"))
        by_name = {puzzle.name: puzzle for puzzle in gallery.puzzles}
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for puzzle in thinking.puzzles:
            assert len(puzzle.answers) == config["arch"]["halt_max_steps"]
            if gallery.kind != "arc":
                assert puzzle.answers[-1] == by_name[puzzle.name].answers[0]
        assert thinking.puzzles
        assert (folder / "figures" / "thinking.gif").read_bytes().startswith(b"GIF89a")


def test_the_report_needs_nothing_but_results(finished: Project, tmp_path: Path) -> None:
    """No dataset, no checkpoint, no project around it."""
    shutil.copytree(finished.root / "results/tiny", tmp_path / "results/tiny")
    folders = sorted(str(p.parent) for p in tmp_path.glob("results/tiny/*/*/seed-*/metrics.json"))
    script = finished.root / "workflow/scripts/report.py"
    done = subprocess.run(
        [sys.executable, script, "--config", "results/tiny/study.json", "--results", *folders,
         "--out", "alone.html"],
        cwd=tmp_path, env=environment(finished.root), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "alone.html").read_text()
    for part in ("gallery", "thinking"):  # which not every target makes
        having = [folder for folder in folders if (tmp_path / folder / f"{part}.json").exists()]
        assert page.count(f'<section class="puzzles" data-start="{part}"') == len(having) > 0


def test_numbers_in_metrics_are_those_of_the_predictions(finished: Project) -> None:
    folder = finished.root / "results/tiny/sudoku-6x6/mlp/seed-0"
    metrics = json.loads((folder / "metrics.json").read_text())
    with np.load(folder / "predictions.npz") as file:
        preds = file["preds"]
    labels = np.load(finished.root / "data/tiny/sudoku-6x6-1k-aug-50/test/all__labels.npy")
    assert preds.shape == labels.shape == (24, 36)
    assert metrics["count"] == 24
    assert metrics["accuracy"] == pytest.approx((preds == labels).mean())
    assert metrics["exact_accuracy"] == pytest.approx((preds == labels).all(axis=1).mean())


def test_a_shorter_run_is_not_scored_by_an_earlier_ones_weights(finished: Project) -> None:
    """The run folder still holds a later step of an earlier, longer run."""
    run = finished.root / "checkpoints/tiny/sudoku-6x6/mlp/seed-0"
    result = finished.root / "results/tiny/sudoku-6x6/mlp/seed-0"
    own = (result / "metrics.json").read_bytes()
    shutil.copy(run / "final", run / "step_999")
    steps = json.loads((run / "provenance.json").read_text())["checkpoints"]
    assert (run / "final").read_bytes() == (run / steps[-1]).read_bytes()
    (run / "step_999").write_bytes(b"of an earlier run")
    (run / "final").unlink()
    (result / "metrics.json").unlink()
    done = finished.snakemake("results/tiny/sudoku-6x6/mlp/seed-0/metrics.json")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (result / "metrics.json").read_bytes() == own
    assert finished.snakemake().returncode == 0  # what hangs on it, for the tests that follow


def test_submission_answers_every_task_that_fits(finished: Project) -> None:
    folder = finished.root / "results/tiny/arc-agi-1-6x6/att/seed-0"
    submission = json.loads((folder / "submission.json").read_text())
    tasks = json.loads((finished.root / "data/tiny/arc1-6x6-aug-7/test_puzzles.json").read_text())
    assert set(submission) == set(tasks)
    raw = {
        name: task
        for subset in ("training", "evaluation")
        for name, task in json.loads(
            (finished.root / f"raw/arc/arc-agi_{subset}_challenges.json").read_text()
        ).items()
    }
    for name, attempts in submission.items():
        assert len(attempts) == len(raw[name]["test"])
        assert all(set(a) == {"attempt_1", "attempt_2"} for a in attempts)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["ARC/tasks"] == len(tasks)
    assert 0 <= metrics["ARC/pass@1"] <= metrics["ARC/pass@2"] <= 1


def test_history_and_provenance_stand_beside(finished: Project) -> None:
    folder = finished.root / "results/tiny/arc-agi-1-6x6/att/seed-0"
    history = pd.read_csv(folder / "history.csv")
    assert set(history.split) == {"train", "test"}
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["world_size"] == 2
    assert (provenance["benchmark"], provenance["variant"]) == ("arc-agi-1-6x6", "att")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["arch"]["hidden_size"] == 32
    assert (folder / "figures" / "examples.svg").stat().st_size > 1000


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


def test_nothing_is_left_to_do(finished: Project) -> None:
    done = finished.dry_run()
    assert "Nothing to be done" in done.stdout + done.stderr


def test_snakemake_looks_for_jobs_when_one_has_ended_and_not_every_second(
    finished: Project,
) -> None:
    done = finished.snakemake("--verbose", "--forcerun=steps_figure")
    assert done.returncode == 0, done.stderr[-4000:]
    ended = done.stderr.count("Finished jobid")
    assert ended >= 6
    assert 0 < done.stderr.count("Ready jobs: ") <= ended + 1


def test_what_a_change_makes_again(finished: Project, tmp_path: Path) -> None:
    """A plot's setting does not retrain; a training option does; README retrains nothing."""

    def planned(change: dict) -> dict[str, int]:
        path = tmp_path / "change.yaml"
        path.write_text(yaml.safe_dump(change))
        done = finished.dry_run(configfile=path)
        return jobs(done.stdout) if "Job stats" in done.stdout else {}

    (finished.root / "README.md").touch()
    assert planned({}) == {}
    retitled = planned({"benchmarks": {"sudoku-6x6": {"title": "Another title"}}})
    assert set(retitled) == {"all", "study", "report"}
    retrained = planned({"benchmarks": {"sudoku-6x6": {"overrides": {"lr": 0.002}}}})
    assert retrained["train"] == 1
    assert "dataset" not in retrained
    for file in ("report.html", "sudoku-6x6/mlp/seed-0/figures/examples.svg"):
        (finished.root / "results/tiny" / file).unlink()
    assert set(planned({})) == {"all", "figures", "report"}
    assert finished.snakemake().returncode == 0


def test_a_failed_retraining_does_not_leave_the_old_result_for_the_new(
    finished: Project, tmp_path: Path
) -> None:
    change = tmp_path / "change.yaml"
    change.write_text(
        yaml.safe_dump(
            {"benchmarks": {"sudoku-6x6": {"overrides": {"lr": 1e30, "log_interval": 1}}}}
        )
    )
    target = "results/tiny/sudoku-6x6/mlp/seed-0/metrics.json"
    failed = finished.snakemake(target, configfile=change)
    assert failed.returncode != 0
    assert "A lower lr" in failed.stdout + failed.stderr
    planned = jobs(finished.dry_run(target, configfile=change).stdout)
    assert planned["train"] == planned["evaluate"] == 1
    assert finished.snakemake().returncode == 0  # as it was, for the tests that follow


def test_report_script_alone_takes_what_is_there(finished: Project) -> None:
    """The README's command, over a glob of results, without Snakemake."""
    folders = sorted(
        str(p.parent) for p in finished.root.glob("results/tiny/*/*/seed-*/metrics.json")
    )
    done = finished.run(
        "workflow/scripts/report.py", "--config", "results/tiny/study.json", "--results", *folders,
        "--out", "alone.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (finished.root / "alone.html").read_text()
    assert "not run" in page  # the published benchmarks, which stand in the same table
    assert "Sudoku 6x6" in page


def resources_of(stdout: str) -> dict[tuple[str, str], dict[str, str]]:
    """(rule, benchmark) -> resources, from the jobs that a dry run lists."""
    found = re.findall(
        r"^rule (\w+):\n(?:    .+\n)*?    wildcards: benchmark=([\w-]+).*\n"
        r"(?:    .+\n)*?    resources: (.+)$",
        stdout, re.MULTILINE,
    )  # fmt: skip
    return {
        (rule, benchmark): dict(re.findall(r"(\w+)=([^,\s]*)", words))
        for rule, benchmark, words in found
    }


def test_slurm_profile_resolves_with_its_resources(project: Project) -> None:
    files = ("metrics.json", "steps.csv", "thinking.json", "task-ids.csv", "pooled.csv")
    done = project.run(
        "-m", "snakemake", "--profile", "slurm", "-n",
        "results/sudoku-extreme/mlp/seed-0/metrics.json",
        *(f"results/arc-agi-1/att/seed-0/{file}" for file in files),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = resources_of(done.stdout)
    train = jobs["train", "sudoku-extreme"]
    assert (train["gpu"], train["runtime"], train["mem_mb"]) == ("1", "2880", "64000")
    gpus = {rule: job for (rule, _), job in jobs.items() if "gpu" in job}
    assert {*gpus} == {
        "train", "evaluate", "evaluate_arc", "steps", "thinking", "task_ids", "pooled",
    }  # fmt: skip
    # Without it the plugin up to 2.6 asks for tasks per GPU, which newer Slurm refuses.
    assert [rule for rule, job in gpus.items() if job.get("tasks_per_gpu") != "0"] == []


@pytest.mark.slow
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
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(FULL),
               str(TINY), "--", target]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=project.root, start_new_session=True, env=environment(project.root),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = project.root / f"checkpoints/tiny/sudoku-6x6/mlp/seed-{seed}"
    deadline = time.monotonic() + 120
    while not [*(run / "snapshots").glob("step_*")] and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    return target, run, process.wait(timeout=120)


def test_interrupted_training_leaves_no_target(project: Project) -> None:
    """Ctrl-C in the middle: no declared output stays, and the same command goes on from there."""
    target, run, status = stop_in_the_middle(project, 3, signal.SIGINT)
    assert status != 0
    assert not (run / "final").exists()
    assert not (project.root / target).exists()
    done = project.snakemake(target)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (project.root / target).exists()
    assert (
        "going on from step"
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


# --- every target of the study --------------------------------------------------------------------


def test_tables_fill_what_is_there_and_train_nothing(finished: Project, tmp_path: Path) -> None:
    """Results copied from another machine, without data and checkpoints."""
    elsewhere = copy_project(tmp_path / "elsewhere")
    for metrics in finished.root.glob("results/tiny/*/*/seed-*/metrics.json"):
        target = elsewhere.root / metrics.relative_to(finished.root)
        target.parent.mkdir(parents=True)
        shutil.copy(metrics, target)
    existing = tmp_path / "existing.yaml"
    existing.write_text("tables_take: existing\n")
    planned = jobs(elsewhere.dry_run("tables", configfile=existing).stdout)
    assert set(planned) == {"study", "table", "tables"}
    done = elsewhere.snakemake("tables", configfile=existing)
    assert done.returncode == 0, done.stdout[-3000:]
    table = pd.read_csv(elsewhere.root / "results/tiny/tables/table1.csv").set_index("variant")
    assert table.verdict["no-ema"] == "not run"
    assert pd.isna(table.ours_percent["no-ema"])
    assert 0 <= table.ours_percent["mlp"] <= 100
    assert table.verdict["mlp"] == "no published figure"  # what is tiny is not compared with it
    compared = tmp_path / "compared.yaml"
    compared.write_text("tables_take: existing\nbenchmarks: {sudoku-extreme: {stand_in: false}}\n")
    assert elsewhere.snakemake("tables", configfile=compared).returncode == 0
    table = pd.read_csv(elsewhere.root / "results/tiny/tables/table1.csv").set_index("variant")
    assert table.published_percent["mlp"] == 87.4
    assert table.verdict["mlp"] == "not reproduced"
    text = (elsewhere.root / "results/tiny/tables/table1.md").read_text()
    assert "not run" in text


def test_the_report_shows_what_is_there_and_trains_nothing(finished: Project) -> None:
    """Results copied from another machine, without checkpoints."""
    results = finished.root / "results/tiny"
    added = {"sudoku-6x6/mlp/seed-1": "sudoku-6x6/mlp/seed-0",
             "maze-hard/mlp/seed-0": "maze-hard/att/seed-0"}  # fmt: skip
    for name, source in added.items():
        (results / name).mkdir(parents=True)
        for file in ("metrics.json", "history.csv"):
            shutil.copy(results / source / file, results / name)
    assert set(jobs(finished.dry_run().stdout)) == {"all", "report"}
    assert finished.snakemake().returncode == 0
    page = (results / "report.html").read_text()
    for name in added:
        section = page.split(f'id="{name.replace("/", "-")}"')[1]
        assert "Learning curves" in section.split("<article")[0]
    assert "Nothing to be done" in finished.dry_run().stdout
    (results / "maze-hard/mlp/seed-0/metrics.json").write_text('{"exact_accuracy": 1, "count": 24}')
    assert set(jobs(finished.dry_run().stdout)) == {"all", "report"}
    for name in added:  # for the tests that follow
        shutil.rmtree(results / name)
    assert finished.snakemake().returncode == 0


@pytest.mark.slow
def test_every_target_of_the_study_runs(finished: Project) -> None:
    done = finished.snakemake("complete")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    root = finished.root / "results/tiny"
    for name in RESULTS:
        folder = root / name / "seed-0"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert 0 <= metrics["accuracy"] <= 1
        steps = pd.read_csv(folder / "steps.csv")
        assert list(steps.supervision_steps) == [1, 2, 4]
        assert (steps["count"] == metrics["count"]).all()
        ids = pd.read_csv(folder / "task-ids.csv")
        assert list(ids.task_ids) == ["own", "blank", "other"]
        assert ids.accuracy[0] == pytest.approx(metrics["accuracy"], rel=1e-5)
        if CONFIG["benchmarks"][name.split("/")[0]]["kind"] == "maze":
            assert 0 <= metrics["valid_path"] <= 1
        if CONFIG["benchmarks"][name.split("/")[0]]["kind"] == "arc":
            pooled = pd.read_csv(folder / "pooled.csv")
            assert len(pooled) == 2
            assert (pooled["ARC/pooled_pass@2"].iloc[0]) == pooled["ARC/pass@2"].iloc[0]
            votes = pd.read_csv(folder / "votes.csv")
            assert votes.n_augmentations[0] == 1
            assert votes["pass@2"].iloc[-1] == pytest.approx(metrics["ARC/pass@2"])
    for table in CONFIG["tables"]:
        rows = pd.read_csv(root / "tables" / f"{table}.csv")
        assert (rows.verdict != "not run").all(), table
        assert rows.ours_percent.notna().all()
    summary = pd.read_csv(root / "sudoku-extreme" / "summary.csv")
    assert len(summary) == len(CONFIG["benchmarks"]["sudoku-extreme"]["variants"])
