"""Compiled nets: the same losses and gradients as the plain path, compiled once, where it pays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.runs import ALONE, config_of
from tests.unit.test_compiled import (
    assert_compiled_training_is_the_plain_one,
    nothing_compiled_before,
    pytestmark,
)
from trm.config.types import ArchConfig, ModelConfig
from trm.model import compiling
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.layers import compile_model
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.runtime import processor
from trm.study.run_folder import newest_facts
from trm.training.optim import AdamATan2
from trm.training.records import Records
from trm.training.step import Averages
from trm.training.trainer import train

__all__ = ["nothing_compiled_before", "pytestmark"]  # what holds for every compiling test

ROWS, LENGTH, VOCAB = 8, 16, 6
MLP = {"mlp_t": True, "pos_encodings": "none"}


def small(architecture: str, **changes: object) -> RecursiveModel:
    arch = ArchConfig(
        name=architecture,
        hidden_size=32,
        num_heads=2,
        puzzle_emb_ndim=32,
        puzzle_emb_len=1,
        H_cycles=2,
        L_cycles=2,
        H_layers=2,
        L_layers=2,
        halt_max_steps=4,
        forward_dtype="float32",
        **changes,
    )
    torch.manual_seed(0)
    return build_model(ModelConfig.of(arch, LENGTH, VOCAB, 3)).train()


def loss_and_gradient(
    model: RecursiveModel, carry: tuple, batch: Batch
) -> tuple[tuple, float, torch.Tensor]:
    carry, output = act_step(model, carry, batch)
    loss, _, _ = act_loss("stablemax_cross_entropy", carry, output)
    model.zero_grad()
    (loss / ROWS).backward()
    return carry, loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("trm", MLP),
        ("trm", {}),
        ("trm_singlez", MLP),
        ("trm_hier6", {}),
        ("hrm", {}),
        ("transformers_baseline", {}),
        ("urm", {}),
        ("eqr", MLP),
        ("trm_wta", MLP | {"num_chains": 2, "bounded_glu": True}),
        ("se_rrm", {"head_dim": 16, "head_dim_t": 16, "pos_encodings": "rope2d"}),
        ("se_rrm", {"head_dim": 16, "dropout": 0.1}),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(v) or "att",
)
def test_fifty_steps_have_the_plain_losses(architecture: str, changes: dict) -> None:
    """Each from where the plain path is, since the recursion amplifies any difference of rounding
    (one thread instead of two moves a loss by 5e-3 within twelve steps of the golden figures)."""
    plain, compiled = small(architecture, **changes), small(architecture, **changes)
    compile_model(compiled, torch.device("cpu"))
    optimizer = AdamATan2(plain.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    draw = torch.Generator().manual_seed(0)
    carry = None
    for step in range(50):
        if step == 3:  # with gradient and without, for all layers: nothing more to compile
            torch.compiler.set_stance("fail_on_recompile")
        inputs, labels = torch.randint(1, VOCAB, (2, ROWS, LENGTH), generator=draw)
        batch = Batch(inputs, labels, torch.randint(0, 3, (ROWS,), generator=draw))
        before = carry or initial_carry(plain, batch)
        carry, loss, gradient = loss_and_gradient(plain, before, batch)
        _, compiled_loss, compiled_gradient = loss_and_gradient(compiled, before, batch)
        assert compiled_loss == pytest.approx(loss, rel=1e-5)
        assert (compiled_gradient - gradient).norm() < 1e-4 * gradient.norm()
        optimizer.step()
        compiled.load_state_dict(plain.state_dict())


@pytest.mark.parametrize(("how", "mlp_t"), [("on", False), ("max", True)])
def test_compiled_training_is_the_plain_one(
    sudoku_data: Path, tmp_path: Path, how: str, mlp_t: bool
) -> None:
    assert_compiled_training_is_the_plain_one(sudoku_data, tmp_path, how, mlp_t)


@pytest.fixture
def every_training_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "FLOP_THAT_PAY", 0)
    monkeypatch.delenv("DISABLE_COMPILE", raising=False)


def in_a_process_of_its_own(code: str, **environment: str) -> subprocess.CompletedProcess:
    """torch remembers what it has found out about the compiler."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        check=False,
    )


TRAIN_AUTO_AND_OFF = """
import sys
from pathlib import Path
import pandas as pd
from tests.runs import ALONE, config_of
from trm.model import compiling
from trm.training.trainer import train
compiling.FLOP_THAT_PAY = 0
data, folder = map(Path, sys.argv[1:])
losses = []
for compile in ("auto", "off"):
    settings = {"compile": compile, "arch__mlp_t": True, "log_interval": 1}
    train(config_of(data, folder / compile, **settings), ALONE)
    losses.append(pd.read_csv(folder / compile / "history.csv").loss.to_list()[:2])
assert losses[0] == losses[1], losses
"""


def test_nets_that_cannot_be_compiled_run_eagerly(sudoku_data: Path, tmp_path: Path) -> None:
    """A compiler that fails at everything; the losses are those of a run that never tried."""
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    broken.chmod(0o755)
    code = TRAIN_AUTO_AND_OFF.replace("sys.argv[1:]", f"({str(sudoku_data)!r}, {str(tmp_path)!r})")
    environment = {"CXX": str(broken), processor.CACHE: str(tmp_path / "cache")}
    done = in_a_process_of_its_own(code, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiling the nets, for a training of about") == 1
    assert done.stderr.count("note: the nets cannot be compiled here, and run eagerly: ") == 1
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_stays_compiled_to_the_last_bit(
    sudoku_data, tmp_path, monkeypatch, every_training_pays
) -> None:
    """Also where the rest alone would not pay."""
    settings = {"compile": "auto", "log_interval": 1, "save_every_steps": 1, "keep_snapshots": 1}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config_of(sudoku_data, whole, **settings), ALONE)

    class Interrupting(Records):
        def stepped(self, averages: Averages | None) -> None:
            super().stepped(averages)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        train(config_of(sudoku_data, parts, **settings), ALONE, Interrupting)
    assert newest_facts(parts)["compiled"]
    monkeypatch.setattr(compiling, "FLOP_THAT_PAY", float("inf"))
    torch.compiler.reset()
    train(config_of(sudoku_data, parts, **settings), ALONE)
    assert newest_facts(parts)["compiled"]
    last = max(whole.glob("step_*")).name
    one, other = (torch.load(folder / last) for folder in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


ONE_STEP = """
import torch
from tests.slow.unit.test_compiled import MLP, VOCAB, ROWS, LENGTH, small, loss_and_gradient
from trm.model.act import Batch, initial_carry
from trm.model.layers import compile_model
model = small("trm", **MLP)
compile_model(model, torch.device("cpu"))
draw = torch.Generator().manual_seed(0)
inputs, labels = torch.randint(1, VOCAB, (2, ROWS, LENGTH), generator=draw)
batch = Batch(inputs, labels, torch.zeros(ROWS, dtype=torch.int32))
print(torch.backends.cpu.get_cpu_capability().replace(" ", "-"))
print(loss_and_gradient(model, initial_carry(model, batch), batch)[1])
"""


def test_one_cache_serves_processors_of_two_kinds(tmp_path) -> None:
    """As of a home folder that a cluster's nodes share; one machine stands in for another."""
    kinds, losses = set(), []
    for capability in ("avx2", "default"):
        environment = {processor.CACHE: str(tmp_path), "ATEN_CPU_CAPABILITY": capability}
        done = in_a_process_of_its_own(ONE_STEP, **environment)
        assert done.returncode == 0, done.stderr[-2000:]
        kind, loss = done.stdout.split()
        kinds.add(kind)
        losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(list(tmp_path.iterdir())) == len(kinds)
