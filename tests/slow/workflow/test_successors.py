"""What is drawn at random within a step is the same for any number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainings import Run, words

CHANGES = {
    "eqr": {"arch__noise_scale": 0.1},
    "trm_wta": {"arch__num_chains": 3, "max_grad_norm": 0.1},
    "se_rrm": {"arch__dropout": 0.2, "arch__head_dim": 8, "arch__halt_exploration_prob": 0.3},
}


@pytest.mark.parametrize("name", CHANGES)
def test_two_ranks_draw_as_one(sudoku_data: Path, tmp_path: Path, name: str) -> None:
    histories = []
    for ranks in (1, 2):
        changes = {"epochs": 1, "eval_interval": 1, "log_interval": 1} | CHANGES[name]
        changes |= {"arch__forward_dtype": "float64", "arch__H_cycles": 1}
        arguments = words(sudoku_data, tmp_path / str(ranks), **changes)
        composed = [f"arch={name}", *(f"++{word}" for word in arguments)]
        assert Run(composed, ranks).wait() == [0] * ranks
        histories.append(pd.read_csv(tmp_path / str(ranks) / "history.csv"))
    one, two = (h[["loss", "lm_loss", "accuracy", "steps"]].to_numpy() for h in histories)
    np.testing.assert_allclose(two, one, rtol=1e-6)
