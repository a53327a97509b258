"""compile=on: the same losses and gradients as the plain path, and compiled once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.runs import ALONE, config_of, one_thread
from trm.config import ArchConfig, ModelConfig
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.layers import compile_model
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.optim import AdamATan2
from trm.train import train

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile on the CPU needs g++"
)
ROWS, LENGTH, VOCAB = 8, 16, 6
MLP = {"mlp_t": True, "pos_encodings": "none"}


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch.compiler.reset()
    with one_thread():
        yield
    torch.compiler.set_stance("default")


def small(architecture: str, **changes: object) -> RecursiveModel:
    arch = ArchConfig(
        name=architecture, hidden_size=32, num_heads=2, puzzle_emb_ndim=32, puzzle_emb_len=1,
        H_cycles=2, L_cycles=2, H_layers=2, L_layers=2, halt_max_steps=4, forward_dtype="float32",
        **changes,
    )  # fmt: skip
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
    [("trm", MLP), ("trm", {}), ("trm_singlez", MLP), ("trm_hier6", {}), ("hrm", {}),
     ("transformers_baseline", {})],
    ids=lambda v: v if isinstance(v, str) else "mlp" * bool(v) or "att",
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("how", "mlp_t"),
    [("on", True), ("on", False), pytest.param("max", True, marks=pytest.mark.slow)],
)
def test_compiled_training_is_the_plain_one(
    sudoku_data: Path, tmp_path: Path, how: str, mlp_t: bool
) -> None:
    """A whole run, short enough for differences of rounding to stay small."""
    losses = []
    for compile in ("off", how):
        folder = tmp_path / compile
        train(config_of(sudoku_data, folder, compile=compile, arch__mlp_t=mlp_t, log_interval=1),
              ALONE)  # fmt: skip
        losses.append(pd.read_csv(folder / "history.csv").query("split == 'train'").loss)
    np.testing.assert_allclose(*losses, rtol=1e-5)
