"""What the parts of benchmarks/gpu/run compare with: the published layout, the FLOP of a step."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

sys.path[:0] = [str(ROOT / "benchmarks" / "gpu"), str(ROOT / "benchmarks")]

from cases import ROWS, Sized, flop_of_step, sized  # noqa: E402
from job import Job  # noqa: E402
from published import published_state  # noqa: E402

from trm.training.step import train_step  # noqa: E402


def a_job(folder: Path, device: str) -> Job:
    return Job("part", device, time.time() + 60, folder / "results.jsonl", folder, None, ())


def in_float64(case: Sized) -> Sized:
    arch = case.config.arch.model_copy(update={"forward_dtype": "float64"})
    return replace(case, config=case.config.model_copy(update={"arch": arch}))


@pytest.mark.parametrize("name", ROWS)
def test_the_published_layout_computes_what_ours_does(name: str, tmp_path: Path) -> None:
    """Three training steps: losses and weights, in double precision."""
    case = in_float64(sized(a_job(tmp_path, "cpu"), name))
    batches = case.batches()
    states = {"published": published_state(case), "ours": case.state()}
    losses = {
        layout: [
            train_step(case.config, state, batch, case.ranks)["loss"].item()
            for batch in batches[:3]
        ]
        for layout, state in states.items()
    }
    assert losses["published"] == pytest.approx(losses["ours"], rel=1e-12)
    published, ours = (states[layout].model.state_dict() for layout in states)
    assert published.keys() == ours.keys()
    for key, value in ours.items():
        torch.testing.assert_close(published[key], value, rtol=1e-9, atol=1e-12)


def test_flop_of_a_step_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published Sudoku step at its full size, without data."""
    monkeypatch.setattr("cases.choose_device", lambda _: torch.device("meta"))
    case = sized(a_job(tmp_path, "cuda"), "sudoku-mlp")
    assert case.rows == 768
    assert flop_of_step(case) == pytest.approx(32.8e12, rel=2e-3)
