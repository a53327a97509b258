"""Compiled nets train as the plain ones, where it pays, and are kept by kind of processor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.runs import ALONE, config_of
from trm.runtime import processor
from trm.training import compiling
from trm.training.trainer import train

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile on the CPU needs g++"
)


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.set_stance("default")


def assert_compiled_training_is_the_plain_one(
    data: Path, folder: Path, how: str, mlp_t: bool
) -> None:
    """A whole run, short enough for differences of rounding to stay small."""
    losses = []
    for compile in ("off", how):
        run = folder / compile
        train(config_of(data, run, compile=compile, arch__mlp_t=mlp_t, log_interval=1), ALONE)
        losses.append(pd.read_csv(run / "history.csv").query("split == 'train'").loss)
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_compiled_training_is_the_plain_one(sudoku_data: Path, tmp_path: Path) -> None:
    """Of the other nets and settings: tests/slow/unit/test_compiled.py."""
    assert_compiled_training_is_the_plain_one(sudoku_data, tmp_path, "on", True)


def test_auto_compiles_long_trainings_where_there_is_a_compiler(monkeypatch) -> None:
    much, little = 2 * compiling.FLOP_THAT_PAY, compiling.FLOP_THAT_PAY / 2
    assert compiling.worth_compiling(CPU, much)
    assert not compiling.worth_compiling(CPU, little)
    assert compiling.worth_compiling(torch.device("cuda"), little)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not compiling.worth_compiling(CPU, much)


def test_compiled_code_is_kept_by_kind_of_processor(monkeypatch, tmp_path) -> None:
    folders = set()
    for base in (tmp_path / "own", None):
        for capability in ("AVX2", "NO AVX"):
            monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
            monkeypatch.setenv(processor.CACHE, str(base or ""))
            processor.keep_code_by_processor()
            folder = Path(os.environ[processor.CACHE])
            processor.keep_code_by_processor()  # as a process that this one starts
            assert Path(os.environ[processor.CACHE]) == folder
            assert (base is None) == ("torchinductor_" in folder.parent.name)
            assert folder.name.startswith("avx2-" if capability == "AVX2" else "no-avx-")
            folders.add(folder)
    assert len(folders) == 4
