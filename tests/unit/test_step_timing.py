"""benchmarks/train_step.py times two paths so that neither is in the way of the other."""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import nn

from tests.conftest import ROOT

WORDS = ("arch.hidden_size=16", "arch.num_heads=2", "arch.H_cycles=1", "arch.L_cycles=1")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(
        "benchmark_of_steps", ROOT / "benchmarks" / "train_step.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    yield module


def test_on_a_gpu_one_path_is_gone_before_the_other_begins(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """On the CPU they take turns; here the CPU is timed in the order of a GPU."""
    in_order = benchmark.order_of_steps
    assert in_order(["a", "b"], 2, torch.device("cpu")) == ["a", "b", "a", "b"]
    monkeypatch.setattr(
        benchmark,
        "order_of_steps",
        lambda paths, steps, device: in_order(paths, steps, torch.device("cuda")),
    )
    models: list[weakref.ref[nn.Module]] = []
    alive: list[bool] = []

    def prepare(model: nn.Module, *_: object) -> None:
        alive.extend(model() is not None for model in models)
        models.append(weakref.ref(model))

    monkeypatch.setattr(benchmark, "leave_eager", prepare)
    monkeypatch.setattr(benchmark, "compile_model", prepare)
    case = benchmark.Case(WORDS, seq_len=4, vocab=5, batch=2)
    benchmark.compare(case, 2, "float32", 1, torch.device("cpu"), 1e9, tuned=False)
    assert len(models) == 2 and alive == [False]
    assert "eager / compiled" in capsys.readouterr().out
