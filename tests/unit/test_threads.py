"""Idle threads sleep soon, in every way to start, unless the user's environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from trm.runtime.processor import SPINS, WAITING


def python(*words: str, **environment: str) -> subprocess.CompletedProcess:
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=plain | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_torch_waits_as_long_as_trm_says() -> None:
    """What torch's OpenMP says itself, in a command that imports torch at once."""
    done = python("-m", "trm.evaluate", "--help", OMP_DISPLAY_ENV="VERBOSE")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr


SHOW = "import os, sys; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    "module", ["trm", "pretrain", "trm.runtime.launch", "dataset.build_sudoku_dataset"]
)
def test_it_is_set_before_torch_is_imported(module: str) -> None:
    assert python("-c", f"import {module}; {SHOW}").stdout.strip() == SPINS


@pytest.mark.parametrize(
    ("setting", "seen"),
    [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_the_users_own_setting_stays(setting: dict[str, str], seen: str) -> None:
    assert python("-c", f"import trm; {SHOW}", **setting).stdout.strip() == seen
