"""Which tests are slow and in which order they run; what many of them share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import settings

if TYPE_CHECKING:
    from tests.project import Project

# Set before torch is imported: the workers share the cores, and sums this small wait for a second
# thread longer than it helps.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test asserts a time: a busy machine is no failure.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

pytest.register_assert_rewrite("tests.project", "tests.runs", "tests.trainings")

ROOT = Path(__file__).resolve().parents[1]
SLOW = Path(__file__).parent / "slow"
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is slow because of its folder. The longest files come first, as the workers take them
    in this order: so they end at about the same time. Of the two that start a Slurm cluster, one
    at a time, the second comes later.
    """
    for item in items:
        if item.path.is_relative_to(SLOW):
            item.add_marker("slow")
    short = ("unit", "golden")
    items.sort(key=lambda i: (i.path.parent.name in short, i.path.name == "test_slurm.py"))


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


def as_settings(words: list[str]) -> str:
    """Command-line words (key=value) as the JSON that the rule for training passes on."""
    pairs = (word.partition("=") for word in words)
    return json.dumps({key: yaml.safe_load(value) for key, _, value in pairs})


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """For dry runs and single commands: nothing is built in it yet."""
    from tests.project import copy_project

    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The default target, run end to end on the tiny settings for two results, one of two ranks.

    A test that changes it takes a copy.
    """
    from tests.project import finish_project

    return finish_project(tmp_path_factory.mktemp("finished"))
