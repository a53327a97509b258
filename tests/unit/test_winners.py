"""TRM with chains that compete in training (`trm_wta`), against plain TRM run chain by chain.

What it shares with the other successors (resuming, micro-batches, solving) is tested with them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.unit.test_model import batch, small
from trm.config.types import LossConfig
from trm.model.act import Batch, Carry, act_step, initial_carry, supervision_steps
from trm.model.base import Depth, RecursiveModel
from trm.model.flop import flop_of_training_row, model_on_meta
from trm.model.loss import IGNORE_LABEL, act_loss
from trm.model.registry import build_model
from trm.training.memory import estimate

DEPTH = Depth(2, 2)
MLP = {"mlp_t": True, "pos_encodings": "none"}


def model_of(architecture: str, **changes: object) -> RecursiveModel:
    """A model in training, whose halting head is not the same for all rows."""
    torch.manual_seed(0)
    model = build_model(small(architecture, **({"forward_dtype": "float64"} | MLP | changes)))
    torch.nn.init.normal_(model.q_head.weight, generator=torch.Generator().manual_seed(1))
    model.puzzle_emb.weights.normal_(generator=torch.Generator().manual_seed(2))
    return model.train()


def chain_of(model: RecursiveModel, number: int) -> RecursiveModel:
    """Plain TRM with the weights of a model and the start of its chain of this number, from 1."""
    plain = model_of("trm")
    weights = model.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    start = weights["L_init" if number == 1 else f"L{number}_init"]
    plain.L_init.copy_(start)
    return plain


def loss_by_row(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The mean cross-entropy [B] of labelled tokens, written out."""
    log_p = logits - logits.exp().sum(-1, keepdim=True).log()
    target = torch.nn.functional.one_hot(labels.clamp_min(0).long(), logits.shape[-1]).double()
    target = (1 - smoothing) * target + smoothing / logits.shape[-1]
    scored = labels != IGNORE_LABEL
    return ((-log_p * target).sum(-1) * scored).sum(-1) / scored.sum(-1)


def rows_to_learn(count: int = 12) -> Batch:
    rows = batch(count)
    labels = rows.labels.clone()
    labels[0, 2:] = IGNORE_LABEL
    return replace(rows, labels=labels)


@pytest.mark.parametrize("bounded", [False, True])
def test_one_chain_is_trm_to_the_last_bit(bounded: bool) -> None:
    changes = {"forward_dtype": "float32", "bounded_glu": bounded}
    models = [model_of("trm_wta", num_chains=1, **changes), model_of("trm", **changes)]
    rows = [batch(6, seed) for seed in range(4)]
    ends = []
    for model in models:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        carry = initial_carry(model, rows[0])
        for step in range(6):
            carry, output = act_step(model, carry, rows[step % 4])
            act_loss("softmax_cross_entropy", carry, output)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
        answers = [output.logits for _, output in supervision_steps(model.eval(), rows[0])]
        ends.append(
            [*model.parameters(), *carry.state, carry.steps, output.puzzle_rows.grad, *answers]
        )
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)


def test_the_chain_with_the_least_loss_is_learned_from() -> None:
    """Three supervision steps: loss, gradients and next state are those of three plain TRMs."""
    smoothing = 0.2
    loss = LossConfig(loss_type="softmax_cross_entropy", label_smoothing=smoothing)
    model = model_of("trm_wta", num_chains=3, halt_max_steps=4, loss=loss)
    plain = [chain_of(model, number) for number in (1, 2, 3)]
    rows, place = rows_to_learn(), torch.arange(12)
    carry = initial_carry(model, rows)
    theirs = [initial_carry(p, rows) for p in plain]
    seen = set()
    for _ in range(3):
        carry, output = act_step(model, carry, rows)
        got, _, _ = act_loss(loss.loss_type, carry, output, smoothing)
        chains = [act_step(p, c, rows) for p, c in zip(plain, theirs, strict=True)]
        logits = torch.stack([out.logits for _, out in chains])
        q_halt = torch.stack([out.q_halt for _, out in chains])
        losses = torch.stack([loss_by_row(each, rows.labels, smoothing) for each in logits])
        winners = losses.argmin(0)
        seen |= set(winners.tolist())
        answers, halting = logits[winners, place], q_halt[winners, place]
        right = ((answers.argmax(-1) == rows.labels) | (rows.labels == IGNORE_LABEL)).all(-1)
        of_halting = torch.nn.functional.binary_cross_entropy_with_logits(
            halting, right.double(), reduction="sum"
        )
        wanted = losses[winners, place].sum() + 0.5 * of_halting
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=0)
        torch.testing.assert_close(output.logits, answers, rtol=1e-9, atol=1e-12)
        check_gradients(model, got, plain, wanted)

        states = [c.state for c, _ in chains]
        y = torch.stack([y for y, _ in states])[winners, place]
        for state, own in zip(carry.state, (y, *(z for _, z in states)), strict=True):
            torch.testing.assert_close(state, own, rtol=1e-9, atol=1e-12)
        stays = torch.zeros_like(carry.halted)
        carry = replace(carry, halted=stays)
        theirs = [Carry((y, z), carry.steps, stays, rows) for _, z in states]
    assert seen == {0, 1, 2}


def check_gradients(
    model: RecursiveModel, loss: Tensor, plain: list[RecursiveModel], wanted: Tensor
) -> None:
    """Those of the winners alone, which several models share here."""
    for m in (model, *plain):
        m.zero_grad()
    loss.backward()
    wanted.backward()
    for name, p in model.named_parameters():
        parts = [dict(m.named_parameters())[name].grad for m in plain]
        torch.testing.assert_close(p.grad, sum(parts), rtol=1e-9, atol=1e-12)


def test_losers_have_no_gradient() -> None:
    model = model_of("trm_wta", num_chains=3, H_cycles=1)
    rows, count = rows_to_learn(), 12
    state = tuple(
        s + torch.randn(s.shape, generator=torch.Generator().manual_seed(i), dtype=s.dtype)
        for i, s in enumerate(model.initial_state(count))
    )
    state = tuple(s.requires_grad_() for s in state)
    puzzles = model.puzzle_rows(rows.puzzle_identifiers)
    _, (logits, _, _) = model(state, rows.inputs, puzzles, labels=rows.labels)
    logits.square().sum().backward()
    reached = torch.stack([z.grad.flatten(1).abs().sum(1) > 0 for z in state[1:]])  # [K, B]
    assert (reached.sum(0) == 1).all()
    assert (reached.sum(1) > 0).all()


def test_an_evaluation_is_that_of_the_first_chain() -> None:
    model = model_of("trm_wta", num_chains=3)
    assert len(model.initial_state(2)) == 4
    assert len(model.eval().initial_state(2)) == 2
    plain, rows = chain_of(model, 1).eval(), batch(5)
    with torch.no_grad():
        for (_, one), (_, other) in zip(
            supervision_steps(model, rows), supervision_steps(plain, rows), strict=True
        ):
            assert torch.equal(one.logits, other.logits)
            assert torch.equal(one.q_halt, other.q_halt)


def test_the_estimate_counts_all_chains() -> None:
    one, four = (
        estimate(model_of("trm_wta", num_chains=chains), batch(1), "softmax_cross_entropy")
        for chains in (1, 4)
    )
    assert 3.5 < four.bytes_per_row / one.bytes_per_row <= 4
    one, four = (
        flop_of_training_row(model_on_meta(small("trm_wta", **MLP, num_chains=chains)), DEPTH)
        for chains in (1, 4)
    )
    assert four == 4 * one


def test_chains_begin_differently_and_beside_the_same_weights() -> None:
    """The weights are those that plain TRM draws with the same seed."""
    drawn = []
    for config in (small("trm_wta", num_chains=3), small("trm")):
        torch.manual_seed(0)
        drawn.append(build_model(config).state_dict())
    three, plain = drawn
    assert all(torch.equal(three[name], value) for name, value in plain.items())
    assert set(three) - set(plain) == {"L2_init", "L3_init"}
    starts = torch.stack([three["L_init"], three["L2_init"], three["L3_init"]])
    assert len(starts.unique(dim=0)) == 3
