"""The fused kernels against plain code: TRITON_INTERPRET=1 pytest -n 0 tests/unit/test_fused.py.

Triton's interpreter runs them on the CPU. It cannot multiply in bfloat16; float16 takes its place.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs Triton, and TRITON_INTERPRET=1 in the environment", allow_module_level=True)

import torch
from torch import Tensor

from tests.unit.test_graphs import MLP, small, three_steps
from trm.model.fused import gated_product, mix_positions
from trm.model.kernels import choose_kernels
from trm.model.layers import compile_model, gated, rms_norm

CPU = torch.device("cpu")
EPS = 1e-5
# How far a kernel may be off, as a share of the largest value. In float16 plain code rounds more
# often: it is itself 2e-3 away from the truth.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 1e-2}


def drawn(*size: int, dtype: torch.dtype, scale: float = 1) -> Tensor:
    return (torch.randn(*size) * scale).to(dtype).requires_grad_()


def plainly_mixed(x: Tensor, w_gate_up: Tensor, w_down: Tensor) -> Tensor:
    return rms_norm(x + w_down @ gated(w_gate_up @ x, dim=0), EPS, dim=0)


def with_gradients(result: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    torch.manual_seed(1)
    grad = torch.randn(result.shape).to(result.dtype)
    return [result.detach(), *torch.autograd.grad(result, inputs, grad)]


def assert_close(one: list[Tensor], other: list[Tensor], tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("length", "columns", "inner"), [(97, 130, 256), (81, 40, 256), (5, 33, 256), (128, 1, 256)]
)
def test_positions_are_mixed_as_by_plain_code(
    length: int, columns: int, inner: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    inputs = (
        drawn(length, columns, dtype=dtype),
        drawn(2 * inner, length, dtype=dtype, scale=length**-0.5),
        drawn(length, inner, dtype=dtype, scale=inner**-0.5),
    )
    fused = with_gradients(mix_positions(*inputs, EPS)[0], inputs)
    assert_close(fused, with_gradients(plainly_mixed(*inputs), inputs), TOLERANCE[dtype])
    again = with_gradients(mix_positions(*inputs, EPS)[0], inputs)
    assert all(torch.equal(a, b) for a, b in zip(fused, again, strict=True))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("rows", "width", "inner"), [(130, 64, 256), (33, 40, 256), (1, 100, 256)])
def test_products_are_gated_as_by_plain_code(
    rows: int, width: int, inner: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    inputs = (
        drawn(rows, width, dtype=dtype),
        drawn(2 * inner, width, dtype=dtype, scale=width**-0.5),
    )
    fused = with_gradients(gated_product(*inputs), inputs)
    plain = with_gradients(gated(inputs[0] @ inputs[1].t()), inputs)
    assert_close(fused, plain, TOLERANCE[dtype])


def test_weights_in_fp32_get_gradients_in_fp32() -> None:
    """As a model's, whose activations are in another type."""
    x, w_gate_up, w_down = (
        drawn(5, 33, dtype=torch.float16),
        drawn(512, 5, dtype=torch.float32),
        drawn(5, 256, dtype=torch.float32, scale=0.1),
    )
    mixed, _ = mix_positions(x, w_gate_up, w_down, EPS)
    mixed.float().sum().backward()
    assert (mixed.dtype, x.grad.dtype, w_gate_up.grad.dtype) == (
        torch.float16,
        torch.float16,
        torch.float32,
    )


def test_torch_may_trace_the_kernels() -> None:
    single = torch.float32
    weights = drawn(512, 5, dtype=single), drawn(5, 256, dtype=single)
    torch.library.opcheck(mix_positions, (drawn(5, 33, dtype=single), *weights, EPS))
    torch.library.opcheck(gated_product, (drawn(6, 5, dtype=single), weights[0]))


@pytest.mark.parametrize("changes", [MLP, {}], ids=["mlp", "att"])
def test_a_model_with_fused_kernels_is_the_plain_one(changes: dict) -> None:
    """Also where torch.compile traces it."""
    sizes = {"H_cycles": 1, "L_cycles": 1, "L_layers": 1, **changes}
    plain = three_steps(small("trm", **sizes))
    for compiled in (False, True):
        model = small("trm", **sizes)
        assert choose_kernels(model, "fused", CPU) is None
        if compiled:
            compile_model(model, torch.device("cuda"), backend="aot_eager")
        calls = []
        model.L_level.layers[0].mlp.down_proj.register_forward_pre_hook(
            lambda _, args, calls=calls: calls.append(args[0].shape)
        )
        for a, b in zip(three_steps(model), plain, strict=True):
            assert (a - b).abs().max() <= 1e-9 * b.abs().max()
        assert calls
        torch.compiler.reset()


def test_the_interpreter_is_not_given_bfloat16() -> None:
    """It would multiply the bits as integers."""
    model = small("trm", forward_dtype="bfloat16", **MLP)
    assert choose_kernels(model, "fused", CPU) == "Triton's interpreter has no bfloat16"
    assert not model.L_level.layers[0].mlp.fused


def test_more_positions_than_a_tile_holds_are_mixed_by_plain_code() -> None:
    model = small("trm", length=128, **MLP)
    assert choose_kernels(model, "fused", CPU) is None
    block = model.L_level.layers[0]
    assert (block.mlp.fused, block.mlp_t.fused) == (True, False)
