"""Shared fixtures: small real datasets, built by the real builders, and a tiny training config."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts a time: a busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROOT = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).parent / "golden" / "source"

TINY = {
    "arch.hidden_size": 32,
    "arch.num_heads": 2,
    "arch.puzzle_emb_len": 1,
    "arch.H_cycles": 2,
    "arch.L_cycles": 2,
    "arch.L_layers": 1,
    "arch.halt_max_steps": 3,
    "arch.forward_dtype": "float32",
    "global_batch_size": 8,
    "lr": 1e-3,
    "lr_warmup_steps": 2,
    "puzzle_emb_lr": 1e-2,
    "epochs": 4,
    "eval_interval": 2,
    "log_interval": 2,
    "wandb": "disabled",
    "device": "cpu",
}


@pytest.fixture(scope="session")
def sudoku_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 of the committed 9x9 sudokus with two shuffles each; 100 test boards, all rows plain."""
    from trm.data.specs import SudokuSpec
    from trm.data.sudoku import build_sudoku

    folder = tmp_path_factory.mktemp("data") / "sudoku"
    spec = SudokuSpec(builder="sudoku", table="golden", subsample_size=24, num_aug=2)
    build_sudoku(spec, SOURCES / "sudoku", folder)
    return folder


def overrides(**changes: object) -> list[str]:
    """TINY as command-line words; a key's dots are written `__`."""
    values = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return [f"{key}={value}" for key, value in values.items()]
