"""Where the casts are: what is computed in the forward type, and what in fp32 or float64.

Seen by the types that every operation is given, so that no processor's rounding has a say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trm.config.architectures import architecture_names, options_of
from trm.config.types import ArchConfig, ModelConfig
from trm.model import layers
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks
from trm.training.ema import EMA
from trm.training.optim import AdamATan2, SignSGD

FORWARD = {"bfloat16": torch.float32, "float32": torch.float32, "float64": torch.float64}
"""The type of all that is not in the forward type, by the forward type."""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class TypesSeen(TorchDispatchMode):
    """Types of the floating inputs of every operation, and all operations on chosen tensors."""

    def __init__(self, *watched: Tensor) -> None:
        super().__init__()
        self.watched = watched
        self.inputs: dict[str, set[torch.dtype]] = defaultdict(set)
        self.of_watched: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        found = {t.dtype for t in tensors if t.is_floating_point()}
        name = func.overloadpacket.__name__
        self.inputs[name] |= found
        if any(t is w for t in tensors for w in self.watched):
            self.of_watched |= found
        return func(*args, **(kwargs or {}))

    def of(self, *names: str) -> set[torch.dtype]:
        return set().union(*(self.inputs[name] for name in names))

    @property
    def attention(self) -> set[torch.dtype]:
        return self.of(*(name for name in self.inputs if "scaled_dot_product" in name))


@pytest.fixture(autouse=True)
def products_in_their_own_type(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a processor with instructions for bfloat16 (tests/unit/test_widened.py: without)."""
    monkeypatch.setattr(layers, "TYPES_TO_WIDEN", frozenset())
    yield


def small(architecture: str, forward_dtype: str, **changes: Any) -> RecursiveModel:
    arch = ArchConfig(
        name=architecture,
        hidden_size=16,
        num_heads=2,
        puzzle_emb_ndim=16,
        puzzle_emb_len=1,
        H_cycles=2,
        L_cycles=1,
        H_layers=1,
        L_layers=1,
        halt_max_steps=2,
        forward_dtype=forward_dtype,
        **changes,
    )
    return build_model(ModelConfig.of(arch, 4, 5, 3)).train()


def batch() -> Batch:
    tokens = torch.randint(1, 5, (2, 2, 4), generator=torch.Generator().manual_seed(0))
    return Batch(tokens[0], tokens[1], torch.tensor([1, 2]))


WITH_MLP = [name for name in architecture_names() if "mlp_t" in options_of(name)]


@pytest.mark.parametrize("forward_dtype", FORWARD)
@pytest.mark.parametrize(
    ("architecture", "mlp_t"),
    [*((name, False) for name in architecture_names()), *((name, True) for name in WITH_MLP)],
)
def test_a_step_casts_where_the_published_code_does(
    architecture: str, forward_dtype: str, mlp_t: bool
) -> None:
    forward, wide = getattr(torch, forward_dtype), FORWARD[forward_dtype]
    positions = "none" if mlp_t else "rope"
    model = small(architecture, forward_dtype, mlp_t=mlp_t, pos_encodings=positions)
    assert {t.dtype for t in model.parameters()} == {wide}
    assert {start.dtype for start in model.starts} <= {forward}
    tables = () if model.rotary is None else (model.rotary.cos, model.rotary.sin)
    with TypesSeen(*tables) as seen:
        carry, output = act_step(model, initial_carry(model, batch()), batch())
    states = carry.state[:-1] if model.draws else carry.state  # the last are keys
    assert {state.dtype for state in states} == {forward}
    assert output.logits.dtype == forward
    assert {output.q_halt.dtype, output.q_continue.dtype, output.puzzle_rows.dtype} == {wide}
    assert seen.of(*PRODUCTS) == {forward}  # the projections, the heads
    assert seen.of("silu") == {forward}
    assert seen.of("rsqrt") == {wide}  # the norms
    assert seen.attention == (set() if mlp_t else {forward})
    assert seen.of_watched == (set() if mlp_t else {wide})  # the rotation


@pytest.mark.parametrize("forward_dtype", FORWARD)
def test_learned_positions_are_added_in_the_forward_type(forward_dtype: str) -> None:
    model = small("trm", forward_dtype, pos_encodings="learned")
    with TypesSeen() as seen:
        x = model.embed(batch().inputs, model.puzzle_rows(torch.tensor([1, 2])))
    assert x.dtype == getattr(torch, forward_dtype)
    assert seen.of("add", "cat", "mul") == {x.dtype}


@pytest.mark.parametrize("forward_dtype", FORWARD)
@pytest.mark.parametrize(
    ("loss_type", "operation"),
    [("stablemax_cross_entropy", "log"), ("softmax_cross_entropy", "_log_softmax")],
)
def test_losses_are_taken_in_a_wide_type(forward_dtype, loss_type, operation) -> None:
    model = small("trm", forward_dtype)
    carry, output = act_step(model, initial_carry(model, batch()), batch())
    with TypesSeen() as seen:
        loss, _, _ = act_loss(loss_type, carry, output)
    stablemax = loss_type == "stablemax_cross_entropy"
    assert seen.of(operation) == {torch.float64 if stablemax else FORWARD[forward_dtype]}
    assert seen.of("binary_cross_entropy_with_logits") <= {FORWARD[forward_dtype]}
    assert loss.dtype in (torch.float64, FORWARD[forward_dtype])


@pytest.mark.parametrize("forward_dtype", FORWARD)
def test_gradients_optimiser_and_average_have_the_type_of_the_weights(forward_dtype: str) -> None:
    wide = FORWARD[forward_dtype]
    model = small("trm", forward_dtype)
    optimizer = AdamATan2(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    carry, output = act_step(model, initial_carry(model, batch()), batch())
    loss, _, _ = act_loss("stablemax_cross_entropy", carry, output)
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} | {output.puzzle_rows.grad.dtype} == {wide}
    with TypesSeen() as seen:
        optimizer.step()
        SignSGD(model.puzzle_emb.weights, 0.1, Ranks(0, 1, torch.device("cpu"))).step(
            1e-2, carry.current.puzzle_identifiers, output.puzzle_rows.grad
        )
        EMA(model, 0.9).update(model, 1)
    assert set().union(*seen.inputs.values()) == {wide}


@pytest.mark.parametrize("architecture", architecture_names())
def test_every_type_starts_from_the_same_weights(architecture: str) -> None:
    states = []
    for forward_dtype in ("float32", "float64"):
        torch.manual_seed(0)
        states.append(small(architecture, forward_dtype).state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor.double(), states[1][name]), name
