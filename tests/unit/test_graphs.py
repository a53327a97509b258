"""How a model is laid out to be compiled: with positions first, and in few graphs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo import config as dynamo
from torch._dynamo.utils import counters

from tests.unit.test_model import small as small_config
from trm.config.architectures import architecture_names, options_of
from trm.model.act import Batch, act_step, initial_carry, supervision_steps
from trm.model.base import RecursiveModel
from trm.model.kernels import choose_kernels
from trm.model.layers import compile_model, in_aligned_rows, put_positions_first
from trm.model.loss import act_loss
from trm.model.registry import build_model

ROWS, LENGTH, VOCAB = 3, 5, 7
MLP = {"mlp_t": True, "pos_encodings": "none"}
MIXING = [name for name in architecture_names() if "mlp_t" in options_of(name)]


def small(architecture: str, length: int = LENGTH, **changes: object) -> RecursiveModel:
    deeper = {"L_cycles": 3, "H_layers": 2, "L_layers": 2, "forward_dtype": "float64"}
    torch.manual_seed(0)
    return build_model(small_config(architecture, length, **(deeper | changes)))


def three_steps(model: RecursiveModel) -> list[Tensor]:
    """Losses and gradients of three training steps, then the logits of an evaluation."""
    draw = torch.Generator().manual_seed(1)
    inputs, labels = torch.randint(1, VOCAB, (2, ROWS, LENGTH), generator=draw)
    batch = Batch(inputs, labels, torch.arange(ROWS, dtype=torch.int32))
    figures: list[Tensor] = []
    model.train()
    carry = initial_carry(model, batch)
    for _ in range(3):
        carry, output = act_step(model, carry, batch)
        loss, _, _ = act_loss("stablemax_cross_entropy", carry, output)
        model.zero_grad()
        loss.backward()
        assert output.puzzle_rows is not None
        grads = [p.grad for p in (*model.parameters(), output.puzzle_rows)]
        figures += [loss.detach(), *(grad for grad in grads if grad is not None)]
    model.eval()
    with torch.no_grad():
        figures += [output.logits for _, output in supervision_steps(model, batch)]
    return figures


@pytest.fixture
def graphs() -> Iterator[None]:
    """Nothing is compiled before, and more graphs than torch takes are an error."""
    torch.compiler.reset()
    counters.clear()
    with dynamo.patch(fail_on_recompile_limit_hit=True):
        yield
    torch.compiler.reset()


@pytest.mark.parametrize("positions_first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("architecture", architecture_names())
def test_training_and_evaluation_are_few_graphs(
    graphs: None, architecture: str, positions_first: bool
) -> None:
    """torch compiles a function for eight kinds of input; the ninth runs eagerly, without a word.

    What is compiled on a GPU can be counted without one.
    """
    model = small(architecture, **(MLP if architecture in MIXING else {}))
    put_positions_first(model, positions_first)
    compile_model(model, torch.device("cuda"), backend="eager")
    three_steps(model)
    assert 0 < counters["stats"]["unique_graphs"] < dynamo.recompile_limit


@pytest.mark.parametrize("changes", [{}, {"pos_encodings": "learned"}], ids=["none", "learned"])
@pytest.mark.parametrize("architecture", MIXING)
def test_positions_first_changes_no_number(architecture: str, changes: dict) -> None:
    """In double precision, within 1e-9 of an array's largest value, as in tests/golden."""
    plain, other = (small(architecture, **{**MLP, **changes}) for _ in range(2))
    put_positions_first(other)
    for a, b in zip(three_steps(plain), three_steps(other), strict=True):
        assert (a - b).abs().max() <= 1e-9 * a.abs().max()


def test_attention_stays_where_it_is() -> None:
    model = small("trm")
    put_positions_first(model)
    assert not model.positions_first


def test_positions_first_copies_no_state_within_a_step() -> None:
    model = small("trm", **MLP)
    put_positions_first(model)
    seen = []
    model.L_level.register_forward_pre_hook(lambda _, args: seen.append(args[:2]))
    three_steps(model)
    length = LENGTH + 1
    for tensor in (t for h_and_inject in seen for t in h_and_inject):
        assert tensor.shape[:2] == (length, ROWS)
        assert tensor.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("columns", [97, 96, 1])
def test_aligned_rows_hold_the_same_matrix(columns: int, dtype: torch.dtype) -> None:
    matrix = torch.randn(6, columns).to(dtype).requires_grad_()
    aligned = in_aligned_rows(matrix)
    assert torch.equal(aligned, matrix)
    assert aligned.stride(0) * aligned.element_size() % 16 == 0
    weights = torch.randn(6, columns).to(dtype)
    (aligned * weights).sum().backward()
    assert matrix.grad is not None
    assert torch.equal(matrix.grad, weights)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="they are possible")
def test_where_kernels_cannot_be_fused_plain_code_serves() -> None:
    other = choose_kernels(small("se_rrm"), "fused", torch.device("cuda"))
    assert other == "they are for TRM's blocks, and this architecture has others"
    model = small("trm", **MLP)
    assert choose_kernels(model, "fused", torch.device("cpu")) in (
        "Triton, which comes with torch's builds for CUDA, is not installed",
        "they are for NVIDIA GPUs",
    )
    assert model.positions_first
    assert not any(getattr(module, "fused", False) for module in model.modules())
    assert len(three_steps(model)[-1]) == ROWS
