"""bfloat16 on a CPU without instructions for it: every product in fp32, rounded afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.test_model import batch, small
from trm.config.architectures import architecture_names, options_of
from trm.model import layers
from trm.model.act import act_step, initial_carry
from trm.model.layers import Linear, SwiGLU, product
from trm.model.loss import act_loss
from trm.model.registry import build_model

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "mv", "attention")


@pytest.fixture
def no_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "TYPES_TO_WIDEN", frozenset({torch.bfloat16}))


class TypesOfProducts(TorchDispatchMode):
    """Notes the types that matrices are multiplied in, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if any(word in name for word in PRODUCTS):
            self.seen.setdefault(name, set()).update(a.dtype for a in args if isinstance(a, Tensor))
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("no_instructions")
@pytest.mark.parametrize(
    ("architecture", "mlp_t"),
    [
        (name, mlp_t)
        for name in architecture_names()
        for mlp_t in ([False, True] if "mlp_t" in options_of(name) else [False])
    ],
)
def test_no_product_of_a_step_is_left_in_bfloat16(architecture: str, mlp_t: bool) -> None:
    model = build_model(small(architecture, forward_dtype="bfloat16", mlp_t=mlp_t))
    with TypesOfProducts() as noted:
        carry, output = act_step(model.train(), initial_carry(model, batch()), batch())
        loss, _, _ = act_loss("stablemax_cross_entropy", carry, output)
        loss.backward()
        with torch.inference_mode():
            act_step(model.eval(), initial_carry(model, batch()), batch())
    assert output.logits.dtype == carry.state[0].dtype == torch.bfloat16
    assert noted.seen and set.union(*noted.seen.values()) == {torch.float32}


@pytest.mark.usefixtures("no_instructions")
def test_a_product_is_the_exact_one_rounded_once() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 6, 50).bfloat16(), torch.randn(50, 8).bfloat16()
    grad = torch.randn(4, 6, 8).bfloat16()
    got = [t.clone().requires_grad_() for t in (a, b)]
    exact = [t.double().requires_grad_() for t in (a, b)]
    y = product(*got)
    y.backward(grad)
    z = exact[0] @ exact[1]
    z.backward(grad.double())
    for ours, theirs in [(y, z), *((g.grad, e.grad) for g, e in zip(got, exact, strict=True))]:
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.double(), theirs, rtol=2**-8, atol=1e-5)


def test_the_layers_say_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linear, swiglu = Linear(24, 2, bias=True), SwiGLU(24, 4)
    torch.nn.init.normal_(linear.bias)
    x = torch.randn(5, 3, 24).bfloat16()
    said = []
    for widened in (frozenset({torch.bfloat16}), frozenset()):
        monkeypatch.setattr(layers, "TYPES_TO_WIDEN", widened)
        said.append((linear(x), swiglu(x), swiglu.over_first(x.flatten(0, 1).t()).t()))
    for ours, theirs in zip(*said, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2**-6, atol=2e-2)
