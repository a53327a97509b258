"""Two real processes: they answer as one does, and end together when one is not as the other."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.trainings import Run, train_as, words
from trm.study.run_folder import snapshots_of


def train_with_another_embedding(arguments: list[str]) -> None:
    """In one process only, flip the last bit of one number of the table after the sixth step."""
    from torch import Tensor, int32

    from trm.training.optim import SignSGD

    step, steps = SignSGD.step, []

    def corrupting(self: SignSGD, lr: float, identifiers: Tensor, grads: Tensor) -> None:
        step(self, lr, identifiers, grads)
        steps.append(lr)
        if len(steps) == 6:
            self.weights.view(int32)[0, 0] += 1

    if os.environ["RANK"] == "1":
        SignSGD.step = corrupting
    train_as(arguments)


def test_processes_that_hold_different_tables_end(sudoku_data: Path, tmp_path: Path) -> None:
    run = Run(words(sudoku_data, tmp_path), 2, train_with_another_embedding)
    assert run.wait(120) == [2, 2]
    wrong = "error: process 1 of this run holds other weights or puzzle embeddings than process 0"
    assert run.said.count(f"{wrong} at step 6; what is saved in {tmp_path} is from before") == 2
    assert [folder.name for folder in snapshots_of(tmp_path)] == ["step_00000003"]
    assert "Traceback" not in run.said


def answer_until_sure(arguments: list[str]) -> None:
    """Let sure examples go, of batches of each size; arguments: dataset, file of the answers."""
    from tests.unit.test_training import halting_model
    from trm.data.batches import PuzzleData
    from trm.evaluate.loop import evaluate
    from trm.evaluate.settings import Settings
    from trm.runtime.ranks import start

    ranks, data = start("cpu"), PuzzleData.load(arguments[:1], "test")
    model = halting_model(data)
    answers = []
    for size in (2, 14, 100):
        settings = Settings("stablemax_cross_entropy", size, halting="act", halting_threshold=0.0)
        result = evaluate(model, data, settings, ranks)
        if result.predictions is not None:
            answers.append(result.predictions.preds)
    if ranks.is_main:
        np.save(arguments[1], np.stack(answers))


def test_two_processes_let_examples_go_with_the_answers_of_one(
    sudoku_data: Path, tmp_path: Path
) -> None:
    """At their own pace, and with batches of other sizes."""
    answers = []
    for processes in (1, 2):
        file = tmp_path / f"{processes}.npy"
        assert (
            Run([str(sudoku_data), str(file)], processes, answer_until_sure).wait(120)
            == [0] * processes
        )
        answers.append(np.load(file))
    assert all(np.array_equal(answers[0][0], of_size) for both in answers for of_size in both)


def leave_with_a_compiler(arguments: list[str]) -> None:
    """Import what a training may import, part from the others, and write which threads are left."""
    from trm.runtime.ranks import joined

    with joined("cpu") as ranks:
        import_module("torch._dynamo")
        ranks.barrier()
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    Path(arguments[0], str(ranks.rank)).write_text("\n".join(threads))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are read from /proc")
def test_no_thread_of_gloo_outlives_the_group(tmp_path: Path) -> None:
    """One that ends with the interpreter aborts the process."""
    assert Run([str(tmp_path)], 2, leave_with_a_compiler).wait(120) == [0, 0]
    for rank in ("0", "1"):
        assert "gloo" not in (tmp_path / rank).read_text()
