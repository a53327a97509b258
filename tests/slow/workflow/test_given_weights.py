"""Weights that were trained elsewhere, through Snakemake: from the download to every file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from tests.project import FULL, TINY, Project, jobs
from tests.server import Server, breaks_off, serving
from tests.workflow.test_snakefile import assert_last_thought_is_the_prediction
from trm.files import file_sha256
from trm.model.checkpoint import read_state_dict
from trm.study.table import Study

SUDOKU, ARC = "sudoku-6x6/theirs", "arc-agi-1-6x6/theirs"
PUBLISHED = {SUDOKU: "sudoku-6x6/mlp/seed-0", ARC: "arc-agi-1-6x6/att/seed-0"}
WEIGHTS = {SUDOKU: {"hub": "owner/name", "file": "folder/step_7"}, ARC: {"path": "mine.pt"}}


@pytest.fixture(scope="module")
def hub() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def project(
    finished: Project, hub: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """Two rows whose weights are those of the two trained results, as their code would save them;
    every file of both is made. The hub breaks off once."""
    root = tmp_path_factory.mktemp("given")
    project = finished.copied_to(root)
    states = {
        name: {
            f"_orig_mod.model.inner.{key}": tensor
            for key, tensor in read_state_dict(
                root / "checkpoints/tiny" / trained / "final"
            ).items()
        }
        for name, trained in PUBLISHED.items()
    }
    torch.save(states[SUDOKU], root / "published")
    torch.save({"model": states[ARC], "optimizer": {"lr": 1e-4}}, root / "mine.pt")
    hub.add_to_hub("owner/name", "folder/step_7", (root / "published").read_bytes())
    hub.faults = [breaks_off(1000)]
    rows = {
        benchmark: {"variants": {"theirs": {"weights": WEIGHTS[f"{benchmark}/theirs"]}}}
        for benchmark in ("sudoku-6x6", "arc-agi-1-6x6")
    }
    rows["sudoku-6x6"]["variants"]["theirs"] |= {
        "published": 50.0,
        "published_source": "model card",
        "overrides": {"arch.mlp_t": True, "arch.pos_encodings": "none"},
    }
    rows["sudoku-6x6"]["variants"]["tuned"] = {
        "starts_from": SUDOKU,
        "overrides": {"arch.mlp_t": True, "arch.pos_encodings": "none", "freeze_weights_for": 0.5},
    }
    overlay = root / "given.yaml"
    overlay.write_text(yaml.safe_dump({"benchmarks": rows}))
    study = Study.load(FULL, TINY, overlay)
    project = Project(root, (*project.overlays, overlay))
    files = [
        f"results/tiny/{name}/seed-0/{file}"
        for name in PUBLISHED
        for file in study.files_of(*name.split("/"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(root / "hub"))
        done = project.snakemake(*files)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        assert "rule train:" not in done.stderr + done.stdout
        assert project.snakemake("results/tiny/report.html").returncode == 0
        yield project


@pytest.mark.parametrize("name", PUBLISHED)
def test_given_weights_have_the_result_of_their_training(project: Project, name: str) -> None:
    results = project.root / "results/tiny"
    own, trained = (
        json.loads((results / result / "metrics.json").read_text())
        for result in (f"{name}/seed-0", PUBLISHED[name])
    )
    assert own == pytest.approx(trained, abs=1e-6)
    assert_last_thought_is_the_prediction(results / name / "seed-0")
    facts = json.loads((results / name / "seed-0/provenance.json").read_text())
    assert facts["variant"] == "theirs" and facts["evaluate_wall_s"] > 0
    weights = project.root / f"raw/weights/tiny/{name}/weights"
    assert facts["weights_sha256"] == file_sha256(weights)
    assert facts["dataset_sha256"]
    assert not (results / name / "seed-0/history.csv").exists()


def test_the_download_is_resumed_and_recorded(project: Project, hub: Server) -> None:
    assert hub.asked_from == [None, "bytes=1000-"]
    folder = project.root / f"raw/weights/tiny/{SUDOKU}"
    assert sorted(p.name for p in folder.iterdir()) == ["SHA256SUMS", "weights"]
    log = project.root / f"logs/tiny/download_weights/{SUDOKU}.log"
    assert "the connection ended after 1,000 of" in log.read_text()


def test_nothing_is_left_to_do(project: Project) -> None:
    targets = [f"results/tiny/{name}/seed-0/metrics.json" for name in PUBLISHED]
    done = project.dry_run(*targets, "published_weights")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_report_and_the_summary_show_them(project: Project) -> None:
    page = (project.root / "results/tiny/report.html").read_text()
    assert "owner/name/folder/step_7, revision main" in page
    assert 'id="sudoku-6x6-theirs-seed-0"' in page
    study = project.root / "results/tiny/study.json"
    done = project.run(
        "workflow/scripts/summary.py",
        *("--config", str(study), "--benchmark", "sudoku-6x6", "--out", "summary.csv"),
        *("--results", *(f"results/tiny/sudoku-6x6/{v}/seed-0" for v in ("mlp", "theirs"))),
    )
    assert done.returncode == 0, done.stderr
    rows = (project.root / "summary.csv").read_text().splitlines()
    assert any("theirs" in row and "50.0" in row for row in rows)


def test_status_and_list_name_them(project: Project) -> None:
    words = ("--config", "config/tiny.yaml", "given.yaml", "--", SUDOKU)
    status = project.run("-m", "trm", "status", "--json", *words)
    (row,) = json.loads(status.stdout)
    assert (row["state"], row["published_percent"]) == ("done", 50.0)
    assert row["hours"]["expected_is"] == "spent"
    listed = project.run("-m", "trm", "list", *words).stdout
    assert "weights owner/name/folder/step_7, revision main" in listed


def test_a_given_model_solves_and_is_exported(project: Project) -> None:
    run = f"checkpoints/tiny/{SUDOKU}/seed-0"
    done = project.run("-m", "trm", "export", "--checkpoint", run, "--out", "exported")
    assert done.returncode == 0, done.stderr
    assert (
        "published as | owner/name/folder/step_7"
        in (project.root / "exported/README.md").read_text()
    )
    for checkpoint in ("exported", f"results/tiny/{SUDOKU}/seed-0"):
        done = project.run(
            "-m", "trm", "solve", "--checkpoint", checkpoint, "--sudoku", "1" + "." * 35
        )
        assert done.returncode == 0, done.stderr
        assert "confidence" in done.stdout


def test_a_training_starts_from_them(project: Project) -> None:
    done = project.snakemake("results/tiny/sudoku-6x6/tuned/seed-3/config.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    runs = project.root / "checkpoints/tiny/sudoku-6x6"
    config = yaml.safe_load((runs / "tuned/seed-3/all_config.yaml").read_text())
    assert config["load_checkpoint"] == f"checkpoints/tiny/{SUDOKU}/seed-0/final"
    given, tuned = (
        read_state_dict(runs / name / "final") for name in ("theirs/seed-0", "tuned/seed-3")
    )
    assert {*given} == {*tuned}
    assert not torch.equal(given["lm_head.weight"], tuned["lm_head.weight"])
    torch.testing.assert_close(given["lm_head.weight"], tuned["lm_head.weight"], atol=0.1, rtol=0)


def test_other_weights_of_the_row_are_evaluated_again(project: Project, tmp_path: Path) -> None:
    """Another source is another download; weights that do not fit the dataset stop there."""
    copy = project.copied_to(tmp_path / "copy")
    shutil.copy(copy.root / "mine.pt", copy.root / "other.pt")
    content = torch.load(copy.root / "other.pt")
    key = "_orig_mod.model.inner.puzzle_emb.weights"
    content["model"][key] = content["model"][key][:-1].clone()
    torch.save(content, copy.root / "other.pt")
    other = tmp_path / "other.yaml"
    variants = {"theirs": {"weights": {"path": "other.pt"}}}
    other.write_text(yaml.safe_dump({"benchmarks": {"arc-agi-1-6x6": {"variants": variants}}}))
    target = f"results/tiny/{ARC}/seed-0/metrics.json"
    planned = jobs(copy.dry_run(target, configfile=other).stdout)
    assert {*planned} == {"download_weights", "weights", "evaluate_arc"}
    done = copy.snakemake(target, configfile=other)
    assert done.returncode != 0
    assert "were trained on another dataset. Give the row a dataset with the" in done.stderr
    words = ("--config", "config/tiny.yaml", "given.yaml", str(other), "--", ARC)
    status = copy.run("-m", "trm", "status", *words)
    assert "failed" in status.stdout and "trained on another dataset" in status.stdout
