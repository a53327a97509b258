"""The published commands, as typed: a process of their own, alone and under torchrun."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import SOURCES, overrides
from tests.project import Project
from trm.model.checkpoint import read_state_dict


def torchrun(ranks: int) -> tuple[str, ...]:
    return (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(ranks),
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=localhost:0",
        "--nnodes=1",
    )


@pytest.fixture(scope="module")
def data(project: Project) -> str:
    done = project.run(
        "-m",
        "dataset.build_sudoku_dataset",
        "--output-dir",
        "data/sudoku-test",
        "--subsample-size",
        "24",
        "--num-aug",
        "2",
        "--source-repo",
        str(SOURCES / "sudoku"),
    )
    assert done.returncode == 0, done.stderr
    return "data/sudoku-test"


def published(data: str, run_name: str) -> list[str]:
    """The words of the published Sudoku command, the sizes apart."""
    sizes = [
        w
        for w in overrides(weight_decay=1.0, puzzle_emb_weight_decay=1.0)
        if not w.startswith("arch.L_layers")
    ]
    return [
        "arch=trm",
        f"data_paths=[{data}]",
        "evaluators=[]",
        "arch.mlp_t=True",
        "arch.pos_encodings=none",
        "arch.L_layers=1",
        f"+run_name={run_name}",
        "ema=True",
        *sizes,
    ]


@pytest.fixture(scope="module")
def alone(project: Project, data: str) -> Path:
    done = project.run("pretrain.py", *published(data, "alone"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"training \d+/12 .* steps/s .* left  loss \d", done.stderr)
    return project.root / "checkpoints" / "Sudoku-test-ACT-torch" / "alone"


def test_published_paths(alone: Path) -> None:
    assert (alone / "all_config.yaml").is_file()
    assert (alone / "step_12").is_file()


def assert_ranks_train_as_one(project: Project, data: str, alone: Path, ranks: int) -> None:
    done = project.run(*torchrun(ranks), "pretrain.py", *published(data, f"ranks-{ranks}"))
    assert done.returncode == 0, done.stderr
    # Several ranks report once.
    for once in (r"parameters, 24 groups", r"training 12/12 \(100%\)"):
        assert len(re.findall(once, done.stderr)) == 1
    assert len(re.findall(r"evaluating 100/100", done.stderr)) == 2  # evaluations
    several = alone.with_name(f"ranks-{ranks}")
    one, other = (pd.read_csv(p / "history.csv") for p in (alone, several))
    for column in ("loss", "accuracy", "count", "steps"):
        np.testing.assert_allclose(one[column], other[column], rtol=1e-6, err_msg=column)
    a, b = read_state_dict(alone / "step_12"), read_state_dict(several / "step_12")
    assert torch.equal(a["puzzle_emb.weights"], b["puzzle_emb.weights"])


def test_two_ranks_train_as_one(project: Project, data: str, alone: Path) -> None:
    assert_ranks_train_as_one(project, data, alone, 2)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["pretrain.py", "lr_warmpu_steps=1"], "did you mean 'lr_warmup_steps'"),
        (["-m", "trm.evaluate", "checkpoint=nowhere/step_1"], "nowhere/step_1 does not exist"),
    ],
)
def test_mistakes_end_in_one_sentence(project: Project, command: list[str], words: str) -> None:
    """More of them: tests/unit/test_config.py."""
    done = project.run(*command)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.root / "checkpoints" / "none").exists()
