"""Two real processes of one training: they end together when one of them is not as the other."""

from __future__ import annotations

import os
from pathlib import Path

from tests.trainings import Run, words
from trm.study.run_folder import snapshots_of


def with_another_embedding() -> None:
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


def test_processes_that_hold_different_tables_end(sudoku_data: Path, tmp_path: Path) -> None:
    run = Run(words(sudoku_data, tmp_path), 2, with_another_embedding)
    assert run.wait(120) == [2, 2]
    wrong = "error: process 1 of this run holds other weights or puzzle embeddings than process 0"
    assert run.said.count(f"{wrong} at step 6; what is saved in {tmp_path} is from before") == 2
    assert [folder.name for folder in snapshots_of(tmp_path)] == ["step_00000003"]
    assert "Traceback" not in run.said
