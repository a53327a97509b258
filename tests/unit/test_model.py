from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from trm.config.architectures import architecture_names
from trm.config.types import ArchConfig, ModelConfig
from trm.model.act import Batch, Exploration, act_step, initial_carry, supervision_steps
from trm.model.base import Depth, RecursiveModel
from trm.model.kernels import choose_kernels
from trm.model.layers import BoundedGLU, RotaryPositions, SwiGLU, truncated_normal_
from trm.model.loss import IGNORE_LABEL, act_loss, softmax_cross_entropy, stablemax_cross_entropy
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks
from trm.training.ema import EMA
from trm.training.memory import estimate
from trm.training.optim import AdamATan2, SignSGD, scheduled_lr, sums, sums_in_order

CPU = Ranks(0, 1, torch.device("cpu"))


def small(architecture: str = "trm", length: int = 5, **changes: object) -> ModelConfig:
    base = {
        "name": architecture,
        "hidden_size": 16,
        "num_heads": 2,
        "puzzle_emb_ndim": 16,
        "puzzle_emb_len": 1,
        "H_cycles": 2,
        "L_cycles": 2,
        "H_layers": 1,
        "L_layers": 1,
        "halt_max_steps": 3,
        "forward_dtype": "float32",
    }
    arch = ArchConfig(**(base | changes))
    return ModelConfig.of(arch, seq_len=length, vocab_size=7, num_puzzle_identifiers=4)


def batch(rows: int = 3, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randint(0, 7, (rows, 5), generator=g),
        torch.randint(1, 7, (rows, 5), generator=g),
        torch.randint(0, 4, (rows,), generator=g),
    )


def test_truncated_normal_has_the_deviation_asked_for() -> None:
    torch.manual_seed(0)
    x = truncated_normal_(torch.empty(400_000), 0.5)
    assert x.std().item() == pytest.approx(0.5, rel=5e-3)
    cut = 2 * 0.5 / 0.87962566103423978  # the bound grows with the corrected σ
    assert x.abs().max().item() <= cut
    assert x.abs().max().item() > 0.99 * cut


def test_initial_heads_and_embedding() -> None:
    model = build_model(small())
    assert torch.equal(model.q_head.bias, torch.tensor([-5.0, -5.0]))
    assert not model.q_head.weight.any()
    assert not model.puzzle_emb.weights.any()
    assert model.H_init.dtype == torch.float32
    assert build_model(small(forward_dtype="bfloat16")).H_init.dtype == torch.bfloat16


def test_published_sizes() -> None:
    """5M and 7M parameters (paper table 1), puzzle embedding apart."""

    def count(**changes: object) -> float:
        arch = ArchConfig(**changes)
        model = build_model(
            ModelConfig.of(arch, seq_len=81, vocab_size=11, num_puzzle_identifiers=1)
        )
        return sum(p.numel() for p in model.parameters()) / 1e6

    assert count(mlp_t=True, pos_encodings="none") == pytest.approx(5.0, abs=0.1)
    assert count() == pytest.approx(6.8, abs=0.1)


def test_swiglu_width_is_a_multiple_of_256() -> None:
    assert SwiGLU(512, 4).down_proj.weight.shape == (512, 1536)
    assert SwiGLU(97, 4).down_proj.weight.shape == (97, 512)


@pytest.mark.parametrize("first", [False, True])
def test_a_bounded_unit_is_its_formula(first: bool) -> None:
    """Over the last axis, as the nets call it, and over the first."""
    unit = BoundedGLU(24, 4, eps=1e-5).double()
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    g, v = (unit.gate_up_proj.weight @ x.t()).chunk(2)  # [I, 5] each
    rms = (g * v) / ((g * v).square().mean(0) + 1e-5).sqrt()
    wanted = unit.down_proj.weight @ (rms / (1 + torch.exp(-g)))
    got = unit.over_first(x.t()) if first else unit(x).t()
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


def test_bounded_units_take_the_place_of_all_others() -> None:
    for changes in ({"mlp_t": True}, {}):
        model = build_model(small(bounded_glu=True, **changes))
        units = [m for m in model.modules() if isinstance(m, SwiGLU)]
        assert len(units) == 2 * model.config.L_layers - (not changes) * model.config.L_layers
        assert all(isinstance(unit, BoundedGLU) for unit in units)
        assert choose_kernels(model, "fused", CPU.device) == (
            "they are for SwiGLU, which arch.bounded_glu replaces"
        )
        assert not any(unit.fused for unit in units)
    with pytest.raises(ValueError, match="bounded_glu is an option of arch=trm"):
        ArchConfig(name="hrm", bounded_glu=True)


def test_rotary_keeps_lengths_and_depends_on_distance_only() -> None:
    rotary = RotaryPositions(8, 10, 10000.0, torch.float32)
    g = torch.Generator().manual_seed(0)
    q = torch.randn(8, generator=g).expand(1, 1, 10, 8)
    k = torch.randn(8, generator=g).expand(1, 1, 10, 8)
    rq, rk = rotary(q)[0, 0], rotary(k)[0, 0]
    torch.testing.assert_close(rq.norm(dim=-1), q[0, 0].norm(dim=-1))
    torch.testing.assert_close(rq[2] @ rk[5], rq[4] @ rk[7])
    assert not torch.isclose(rq[2] @ rk[5], rq[2] @ rk[6])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6), st.integers(0, 5))
def test_stablemax_is_its_formula(logits: list[float], label: int) -> None:
    label %= len(logits)
    x = torch.tensor(logits)  # what the function sees: rounded to fp32
    s = [v + 1 if v >= 0 else 1 / (1 - v) for v in x.double().tolist()]
    wanted = -math.log(s[label] / sum(s))
    got = stablemax_cross_entropy(x[None, None], torch.tensor([[label]]))
    assert got.item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_stablemax_has_a_gradient_everywhere() -> None:
    """At x = 1 the branch not taken divides by zero; bf16 logits hit it within a few steps."""
    x = torch.tensor([[[1.0, 0.0, -1.0, 2.0]]], requires_grad=True)
    stablemax_cross_entropy(x, torch.tensor([[0]])).sum().backward()
    s, slope = torch.tensor([2.0, 1.0, 0.5, 3.0]), torch.tensor([1.0, 1.0, 0.25, 1.0])
    wanted = slope * (1 / s.sum() - torch.tensor([1 / s[0], 0, 0, 0]))
    torch.testing.assert_close(x.grad[0, 0], wanted)


def test_losses_pass_over_ignored_positions() -> None:
    logits = torch.randn(2, 3, 7)
    labels = torch.tensor([[1, IGNORE_LABEL, 2], [IGNORE_LABEL] * 3])
    for loss in (stablemax_cross_entropy, softmax_cross_entropy):
        out = loss(logits, labels)
        assert (out != 0).tolist() == [[True, False, True], [False] * 3]


@pytest.mark.parametrize("architecture", architecture_names())
def test_every_architecture_learns_a_batch(architecture: str) -> None:
    """120 steps on one batch halve the loss: gradients flow through every part."""
    torch.manual_seed(0)
    # Symbols that are alike to a model, and not in the question, cannot be learned by heart.
    own = {"equivariant_symbols": False} if architecture == "se_rrm" else {}
    model = build_model(small(architecture, **own)).train()
    optimizer = AdamATan2(model.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    rows = batch()
    carry = initial_carry(model, rows)
    losses = []
    for _ in range(120):
        carry, output = act_step(model, carry, rows)
        loss, metrics, _ = act_loss("stablemax_cross_entropy", carry, output)
        loss.backward()
        assert output.puzzle_rows.grad is not None
        untouched = [n for n, p in model.named_parameters() if p.grad is None]
        # Only the q_continue half of q_head may lack a loss, and it shares a tensor with q_halt.
        assert untouched == []
        optimizer.step()
        optimizer.zero_grad()
        losses.append(metrics["lm_loss"].item())
    assert losses[-1] < losses[0] / 2


def test_gradient_goes_through_the_last_cycle_only() -> None:
    """The first T−1 cycles are without gradient: the state they start from gets none."""
    model = build_model(small()).train()
    rows = batch()
    state = tuple(s.clone().requires_grad_() for s in model.initial_state(3))
    _, (logits, _, _) = model(state, rows.inputs, model.puzzle_rows(rows.puzzle_identifiers))
    logits.sum().backward()
    assert all(s.grad is None for s in state)


def test_activation_estimate_is_what_autograd_keeps() -> None:
    """Twice the rows, twice the bytes: the estimate of one row holds for a batch of forty."""
    model = build_model(small()).train()
    rows = batch(40)
    one = Batch(*(t[:1] for t in rows.tensors))
    per_row = estimate(model, one, "stablemax_cross_entropy").bytes_per_row
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        carry, output = act_step(model, initial_carry(model, rows), rows)
        graph = act_loss("stablemax_cross_entropy", carry, output)  # kept alive while counting
    assert graph
    weights = sum(p.untyped_storage().nbytes() for p in model.parameters())
    assert 40 * per_row <= sum(kept.values()) <= 40 * per_row + weights + 10_000
    assert per_row > 10_000


def test_one_step_gradient_reaches_the_last_updates_only() -> None:
    """Same answers, fewer gradients: with n = 2 the first refinement of z is cut off."""
    torch.manual_seed(0)
    full, cut = build_model(small()), build_model(small(one_step_gradient=True))
    cut.load_state_dict(full.state_dict())
    rows = batch()
    grads = []
    for model in (full, cut):
        _, (logits, _, _) = model(
            model.initial_state(3), rows.inputs, model.puzzle_rows(rows.puzzle_identifiers)
        )
        logits.square().sum().backward()
        grads.append((logits.detach(), model.L_level.layers[0].mlp.down_proj.weight.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    assert not torch.allclose(grads[0][1], grads[1][1])


@pytest.mark.parametrize(
    ("architecture", "sums"),
    [("trm", 2), ("trm_separate", 2), ("trm_hier6", 2), ("hrm", 3)],
)
def test_what_a_cycle_does_not_change_is_summed_once(architecture: str, sums: int) -> None:
    """y + x, in each of the two cycles; HRM's once more for its last update, with a gradient."""
    model = build_model(small(architecture, L_cycles=5))
    added = []
    model.L_level.register_forward_pre_hook(lambda _, args: added.append(args[1]))
    b = batch()
    model(model.initial_state(3), b.inputs, model.puzzle_rows(b.puzzle_identifiers))
    of_y = 2 if architecture in ("trm", "trm_hier6") else 0  # by the same net
    assert len({id(inject) for inject in added}) == sums + of_y
    assert len(added) == 2 * 5 + of_y


def test_separate_nets_double_the_parameters() -> None:
    one = sum(p.numel() for p in build_model(small()).L_level.parameters())
    two = build_model(small("trm_separate"))
    assert sum(p.numel() for p in two.H_level.parameters()) == one


def test_rows_leave_when_they_halt_and_new_ones_start_afresh() -> None:
    model = build_model(small()).train()
    with torch.no_grad():
        model.q_head.bias[0] = 5.0  # everything wants to halt
    first, second = batch(seed=1), batch(seed=2)
    carry = initial_carry(model, first)
    may_halt = Exploration(torch.tensor([0, 2, 3], dtype=torch.int32), torch.zeros(3).bool())
    carry, _ = act_step(model, carry, first, may_halt)
    assert carry.halted.tolist() == [True, False, False]
    carry, _ = act_step(model, carry, second, may_halt)
    assert carry.steps.tolist() == [1, 2, 2]
    assert torch.equal(carry.current.inputs[0], second.inputs[0])
    assert torch.equal(carry.current.inputs[1:], first.inputs[1:])
    assert carry.halted.tolist() == [True, True, False]


def test_evaluation_never_halts_early() -> None:
    model = build_model(small()).eval()
    with torch.no_grad():
        model.q_head.bias[0] = 5.0
    carry = initial_carry(model, batch())
    with torch.no_grad():
        for step in range(1, 4):
            carry, output = act_step(model, carry, batch())
            assert carry.halted.tolist() == [step == 3] * 3
    assert output.target_q_continue is None


@torch.inference_mode()
def test_rows_stay_for_more_steps_than_in_training() -> None:
    config = small()
    usual, longer = (build_model(c).eval() for c in (config, small(halt_max_steps=5)))
    longer.load_state_dict(usual.state_dict())
    taken = [[out.logits for _, out in supervision_steps(m, batch(), 5)] for m in (usual, longer)]
    for ours, theirs in zip(*taken, strict=True):
        assert torch.equal(ours, theirs)
    assert len([*supervision_steps(usual, batch())]) == 3


@pytest.mark.parametrize("architecture", ["trm", "trm_singlez", "trm_hier6", "hrm"])
def test_a_step_has_the_depth_that_it_is_given(architecture: str) -> None:
    shallow, deep = (build_model(small(architecture, L_cycles=n)).train() for n in (2, 3))
    deep.load_state_dict(shallow.state_dict())

    def logits(model: RecursiveModel, depth: Depth | None) -> torch.Tensor:
        _, output = act_step(model, initial_carry(model, batch()), batch(), depth=depth)
        return output.logits

    assert torch.equal(logits(shallow, Depth(2, 3)), logits(deep, None))
    assert torch.equal(logits(shallow, None), logits(deep, Depth(2, 2)))


def test_exploration_does_not_depend_on_the_ranks() -> None:
    def draws(rows: slice) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return torch.stack(
            [Exploration.draw(generator, 8, rows, 0.5, 16).min_steps for _ in range(5)]
        )

    whole = draws(slice(0, 8))
    assert torch.equal(torch.cat([draws(slice(0, 4)), draws(slice(4, 8))], dim=1), whole)
    drawn = whole[whole > 0]
    assert drawn.min() >= 2
    assert drawn.max() <= 16
    assert 0.2 < (whole > 0).float().mean() < 0.8


def test_metrics_count_halted_and_labelled_rows_only() -> None:
    model = build_model(small()).eval()
    rows = batch()
    blank = Batch(
        rows.inputs,
        rows.labels.clone().index_fill_(0, torch.tensor([2]), IGNORE_LABEL),
        rows.puzzle_identifiers,
    )
    carry = initial_carry(model, blank)
    with torch.no_grad():
        for _ in range(3):
            carry, output = act_step(model, carry, blank)
    _, metrics, preds = act_loss("stablemax_cross_entropy", carry, output)
    assert metrics["count"] == 2
    assert metrics["steps"] == 6
    share = (preds[:2] == blank.labels[:2]).float().mean(-1).sum()
    torch.testing.assert_close(metrics["accuracy"], share)


def test_sign_sgd_sums_by_identifier_and_leaves_other_rows() -> None:
    weights = torch.ones(5, 2)
    SignSGD(weights, weight_decay=0.5, ranks=CPU).step(
        0.1,
        torch.tensor([3, 1, 3]),
        torch.tensor([[1.0, -1.0], [0.0, 2.0], [-3.0, -1.0]]),
    )
    decayed = 1 - 0.1 * 0.5
    wanted = torch.ones(5, 2)
    wanted[3] = torch.tensor([decayed + 0.1, decayed + 0.1])
    wanted[1] = torch.tensor([decayed, decayed - 0.1])
    torch.testing.assert_close(weights, wanted)


@pytest.mark.parametrize("draw", range(40))
def test_sums_by_identifier_have_the_bits_of_a_sum_in_order(draw: int) -> None:
    """Which is what all ranks must agree on, whatever they add by; rows of wide range, so that
    another order is other bits."""
    rng = torch.Generator().manual_seed(draw)
    rows, ids, width = (int(torch.randint(1, most, (), generator=rng)) for most in (200, 100, 40))
    identifiers = torch.randint(0, ids, (rows,), generator=rng, dtype=torch.int32)
    scales = 10 ** torch.randn(rows, 1, generator=rng)
    grads = torch.randn(rows, width, generator=rng) * scales
    unique, inverse = identifiers.long().unique(return_inverse=True)
    wanted = torch.zeros(len(unique), width).index_add_(0, inverse, grads)
    ordered, order = identifiers.long().sort(stable=True)
    for sum_up in (sums, sums_in_order):
        assert torch.equal(sum_up(ordered, grads[order]), wanted[inverse][order])
    weights = torch.randn(ids, width, generator=rng)
    updated = weights.clone()
    updated[unique] = weights[unique] * (1 - 0.1 * 0.5) - 0.1 * wanted.sign()
    SignSGD(weights, 0.5, CPU).step(0.1, identifiers, grads)
    assert torch.equal(weights, updated)


def test_adam_atan2_is_its_formula() -> None:
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = AdamATan2([p], lr=0.1, betas=(0.9, 0.95), weight_decay=0.5)
    x, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for t in range(1, 5):
        g = np.array([0.3 * t, -1.0])
        p.grad = torch.tensor(g, dtype=torch.float32)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        x = x * (1 - 0.1 * 0.5)
        x = x - 0.1 / (1 - 0.9**t) * np.arctan2(m, np.sqrt(v) / np.sqrt(1 - 0.95**t))
    np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-6)


def test_schedule_warms_up_then_falls_to_the_minimum() -> None:
    def lr(step: int, ratio: float) -> float:
        return scheduled_lr(step, 2.0, warmup_steps=10, total_steps=110, min_ratio=ratio)

    assert lr(1, 1.0) == pytest.approx(0.2)
    assert lr(10, 0.1) == pytest.approx(2.0)
    assert lr(60, 0.1) == pytest.approx(2.0 * 0.55)
    assert lr(110, 0.1) == pytest.approx(0.2)
    assert lr(90, 1.0) == 2.0


def test_ema_averages_and_gives_the_weights_back() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.register_buffer("fixed", torch.ones(1))
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema = EMA(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(2.0)
    ema.update(model, step=1)
    with ema.applied(model):
        assert model.weight.item() == pytest.approx(1.1)
    assert model.weight.item() == 2.0
    assert list(ema.shadow) == ["weight"]


def in_a_fresh_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_library_import_is_light() -> None:
    """Checking a config or a table of experiments must not load torch."""
    in_a_fresh_python(
        "import sys, trm, trm.config.types, trm.study.table; assert 'torch' not in sys.modules"
    )


def test_a_training_starts_without_compilers() -> None:
    """Neither torch.compile's nor numba, which take seconds to import, for what is not compiled."""
    in_a_fresh_python("""if True:
        import sys, torch
        import trm.training.trainer, trm.report.examples, trm.scoring.gallery
        from trm.model.layers import eagerly
        from trm.training.optim import make_optimizer
        layer = torch.nn.Linear(2, 2)
        optimizer = make_optimizer("adam_atan2", layer, (0.9, 0.95), 0.1)
        for _ in range(2):
            layer(torch.ones(2)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert layer.weight.grad is None
        optimizer.load_state_dict(optimizer.state_dict())
        assert optimizer.state[layer.weight]["step"] == 2
        with eagerly(layer):  # as an evaluation with early exit
            layer(torch.ones(2))
        loaded = {"torch._dynamo", "numba"} & set(sys.modules)
        assert not loaded, loaded
    """)
