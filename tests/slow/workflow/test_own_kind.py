"""A kind of one's own, made as docs/adding-a-benchmark.md says: one file, one table, two rows."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.project import Project, copy_project
from tests.unit.test_kinds import boards_of_four

RESULT = "results/binairo/mlp/seed-0"
SETTINGS = {
    "default": ["binairo/mlp/seed-0"],
    "raw": {"tables": {"binairo": {"path": "puzzles/binairo"}}},
    "datasets": {
        "binairo-4x4": {"builder": "boards", "kind": "binairo", "table": "binairo", "aug": True}
    },
    "benchmarks": {
        "binairo": {
            "title": "Binairo",
            "description": "Boards of 4x4.",
            "kind": "binairo",
            "dataset": "binairo-4x4",
            "metric": "valid",
            "resources": {"ranks": 1, "gpus": 0, "threads": 1, "mem_mb": 2000, "runtime": 10},
            "overrides": {
                "evaluators": [],
                "global_batch_size": 64,
                "epochs": 60,
                "eval_interval": 30,
                "lr": 3.0e-3,
                "lr_warmup_steps": 20,
                "weight_decay": 0.1,
                "arch.hidden_size": 64,
                "arch.num_heads": 2,
                "arch.puzzle_emb_len": 1,
                "arch.H_cycles": 1,
                "arch.L_cycles": 2,
                "arch.halt_max_steps": 2,
                "arch.forward_dtype": "float32",
                "arch.mlp_t": True,
                "arch.pos_encodings": "none",
            },
            "variants": {"mlp": {}},
        }
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("own-kind"))
    shutil.copy(ROOT / "tests/kinds/binairo.py", project.root / "trm/puzzles")
    write_table(project)
    (project.root / "own.yaml").write_text(yaml.safe_dump(SETTINGS))
    done = project.snakemake(tiny=False, configfile=project.root / "own.yaml")
    assert done.returncode == 0, done.stderr[-5000:]
    return project


def write_table(project: Project) -> None:
    from tests.kinds.binairo import KIND

    draw = np.random.default_rng(0)
    answers = boards_of_four(KIND)
    draw.shuffle(answers)
    folder = project.root / "puzzles/binairo"
    folder.mkdir(parents=True)
    for name, part in (("train", answers[:-12]), ("test", answers[-12:])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["source", "question", "answer", "rating"])
            for answer in part:
                question = "".join(c if draw.random() < 0.6 else "." for c in answer)
                table.writerow(["here", question, answer, 0])


def test_the_chain_ends_with_its_own_metric_and_pictures(finished: Project) -> None:
    folder = finished.root / RESULT
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["count"] == 12
    assert 0 <= metrics["exact_accuracy"] <= metrics["valid"] <= 1
    assert metrics["accuracy"] > 0.6  # half by chance
    assert json.loads((folder / "gallery.json").read_text())["kind"] == "binairo"
    assert "test puzzles, picked evenly" in (folder / "figures/examples.svg").read_text()
    page = (finished.root / "results/report.html").read_text()
    assert "answers by the rules" in page and "Bold on grey: given." in page


def test_the_model_is_asked_and_exported(finished: Project) -> None:
    words = ("--checkpoint", RESULT, "--binairo", "0.1.1..0........", "--device", "cpu")
    done = finished.run("-m", "trm.solve", *words, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["kind"], len(shown["answer"])) == ("binairo", 4)
    done = finished.run("-m", "trm.export", "--checkpoint", RESULT, "--out", "exported")
    assert done.returncode == 0, done.stderr
    card = (finished.root / "exported/README.md").read_text()
    assert "that answers binairos of 4x4" in card and "--binairo binairo.txt" in card
    again = finished.run("-m", "trm.solve", "--checkpoint", "exported", *words[2:], "--json")
    assert json.loads(again.stdout)["answer"] == shown["answer"]
