"""Options that the published code does not have: each does what it says, and nothing when off."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import TINY, overrides
from trm.config.compose import compose
from trm.config.types import TrainConfig
from trm.data.batches import PuzzleData, rank_rows, train_batches
from trm.errors import TrmError
from trm.model.act import Exploration, to_batch
from trm.model.loss import IGNORE_LABEL, softmax_cross_entropy, stablemax_cross_entropy
from trm.model.registry import build_model, model_for
from trm.runtime.ranks import Ranks
from trm.training.ema import EMA
from trm.training.optim import AdamATan2, MuonForMatrices, MuonSettings, make_optimizer
from trm.training.step import TrainState, depth_at, train_step

ALONE = Ranks(0, 1, torch.device("cpu"))


def config_of(**changes: object) -> TrainConfig:
    words = overrides(data_paths="[none]", **changes)
    return compose([w if w.startswith("arch") else f"++{w}" for w in words])


def state_of(config: TrainConfig, data: PuzzleData, total_steps: int = 10) -> TrainState:
    torch.manual_seed(0)
    model = build_model(model_for(config, data)).train()
    muon = MuonSettings(config.muon_lr, config.muon_weight_decay)
    optimizer = make_optimizer(config.optimizer, model, (0.9, 0.95), config.weight_decay, muon)
    return TrainState(
        model, optimizer, None, None, torch.Generator().manual_seed(0), total_steps=total_steps
    )


@pytest.fixture(scope="module")
def data(sudoku_data) -> PuzzleData:
    return PuzzleData.load([str(sudoku_data)], "train")


@contextmanager
def gradients_of(model: torch.nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Within the block, the gradients of the weights by name, as a training step adds them up."""
    grads = dict.fromkeys(name for name, _ in model.named_parameters())
    handles = [
        p.register_post_accumulate_grad_hook(
            lambda p, name=name: grads.update({name: p.grad.clone()})
        )
        for name, p in model.named_parameters()
    ]
    yield grads
    for handle in handles:
        handle.remove()


def batch_of(data: PuzzleData):
    rows = next(train_batches(data, 0, 1, 2, TINY["global_batch_size"], rank_rows(0, 1, 8)))
    return to_batch(rows, ALONE.device)


# --- depth ----------------------------------------------------------------------------------------

STAGES = (
    "[{start:0,H_cycles:1,L_cycles:1},{start:0.25,H_cycles:1,L_cycles:2},"
    "{start:0.5,H_cycles:3,L_cycles:2}]"
)


def test_a_schedule_deepens_at_its_shares(data: PuzzleData) -> None:
    config = config_of(depth_schedule=STAGES)
    state = state_of(config, data, total_steps=8)
    depths = []
    for state.step in range(8):
        depths.append(depth_at(config, state))
    assert depths == [(1, 1)] * 2 + [(1, 2)] * 2 + [(3, 2)] * 4


@pytest.mark.parametrize("arch", ["trm", "trm_separate"])
def test_a_stage_trains_as_a_model_of_that_depth(data: PuzzleData, arch: str) -> None:
    deep = {"arch": arch, "arch__H_cycles": 3, "arch__L_cycles": 2}
    scheduled = config_of(depth_schedule="[{start:0,H_cycles:2,L_cycles:1}]", **deep)
    plain = config_of(**{**deep, "arch__H_cycles": 2, "arch__L_cycles": 1})
    batch = batch_of(data)
    states = [state_of(config, data) for config in (scheduled, plain)]
    losses = [
        train_step(config, state, batch, ALONE)["loss"].item()
        for config, state in zip((scheduled, plain), states, strict=True)
    ]
    assert losses[0] == losses[1]
    for a, b in zip(*(s.model.parameters() for s in states), strict=True):
        assert torch.equal(a, b)
    # Without a depth of its own, as in evaluation, a step goes as deep as the architecture says.
    assert states[0].model.depth == (3, 2)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("[{start:0.1,H_cycles:1,L_cycles:1}]", "its first stage starts at 0"),
        ("[{start:0,H_cycles:1,L_cycles:1},{start:0,H_cycles:1,L_cycles:2}]", "each other after"),
        ("[{start:0,H_cycles:0,L_cycles:1}]", "greater than or equal to 1"),
        ("[{start:0,H_cycles:1}]", "L_cycles"),
    ],
)
def test_a_wrong_schedule_is_refused(schedule: str, message: str) -> None:
    with pytest.raises(TrmError, match=message):
        config_of(depth_schedule=schedule)


def test_a_schedule_is_refused_where_the_net_does_not_follow_it() -> None:
    with pytest.raises(TrmError, match="option of arch=eqr and arch=trm and"):
        compose(["arch=hrm", "depth_schedule=[{start:0,H_cycles:1,L_cycles:1}]"])


# --- optimiser and average ------------------------------------------------------------------------


def test_muon_takes_the_matrices_of_the_nets_and_adam_the_rest(data: PuzzleData) -> None:
    state = state_of(config_of(optimizer="muon"), data)
    muon, adam = state.optimizer.parts
    names = {id(p): name for name, p in state.model.named_parameters()}
    of_muon, of_adam = (
        {names[id(p)] for g in part.param_groups for p in g["params"]} for part in (muon, adam)
    )
    assert isinstance(muon, torch.optim.Muon) and isinstance(adam, AdamATan2)
    assert of_muon | of_adam == set(names.values()) and not of_muon & of_adam
    assert of_muon == {n for n in names.values() if n.endswith("proj.weight")}
    assert "lm_head.weight" in of_adam and "embed_tokens.embedding_weight" in of_adam


SPLIT = {
    "optimizer": "muon_adamw",
    "lr": 1e-3,
    "weight_decay": 1.0,
    "muon_lr": 2e-2,
    "muon_weight_decay": 5e-3,
    "lr_warmup_steps": 0,
    "lr_min_ratio": 0.0,
}


def test_muon_and_adamw_have_rates_and_decays_of_their_own(data: PuzzleData) -> None:
    """The weights are those of torch's two optimisers; the rates end at 0 with the training."""
    config, batch = config_of(**SPLIT), batch_of(data)
    state = state_of(config, data, total_steps=3)
    copies = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    matrices = [p for name, p in copies.items() if "proj" in name]
    others = [p for name, p in copies.items() if "proj" not in name]
    muon = torch.optim.Muon(matrices, weight_decay=5e-3, momentum=0.6, ns_steps=3)
    adamw = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=1.0)
    for step in (1, 2, 3):
        before = [p.detach().clone() for p in state.model.parameters()]
        with gradients_of(state.model) as grads:
            train_step(config, state, batch, ALONE)
        share = 0.5 * (1 + math.cos(math.pi * step / 3))
        for optimizer, rate in ((muon, 2e-2), (adamw, 1e-3)):
            optimizer.param_groups[0]["lr"] = rate * share
        for name, p in copies.items():
            p.grad = grads[name]
        muon.step()
        adamw.step()
        for p, wanted, old in zip(state.model.parameters(), copies.values(), before, strict=True):
            torch.testing.assert_close(p, wanted, rtol=1e-6, atol=1e-7)
            assert torch.equal(p, old) == (step == 3)


def test_settings_of_muon_need_muon() -> None:
    for key in ("muon_lr", "muon_weight_decay"):
        with pytest.raises(TrmError, match=f"{key} is an option of optimizer=muon and"):
            config_of(**{key: 0.1})


@pytest.mark.parametrize("limit", [None, 1e-3, 1e3])
def test_a_long_gradient_is_shortened(data: PuzzleData, limit: float | None) -> None:
    """All of it together, after the slices of a batch are added up."""
    config = config_of(arch__forward_dtype="float64", lr=1.0, lr_warmup_steps=0, micro_batch_size=4)
    config = config.model_copy(update={"max_grad_norm": limit})
    state = state_of(config, data)
    state.optimizer = torch.optim.SGD(state.model.parameters(), lr=1.0)
    before = [p.detach().clone() for p in state.model.parameters()]
    with gradients_of(state.model) as grads:
        train_step(config, state, batch_of(data), ALONE)
    norm = math.sqrt(sum(g.square().sum().item() for g in grads.values()))
    assert 1e-3 < norm < 1e3
    share = min(1.0, limit / (norm + 1e-6)) if limit else 1.0
    for p, old, grad in zip(state.model.parameters(), before, grads.values(), strict=True):
        torch.testing.assert_close(p.detach(), old - share * grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("optimizer", ["muon", "muon_adamw"])
def test_muon_goes_on_from_its_saved_state(data: PuzzleData, optimizer: str) -> None:
    config = config_of(optimizer=optimizer, lr=1e-2, lr_warmup_steps=0)
    batch = batch_of(data)
    one, other = state_of(config, data), state_of(config, data)
    for _ in range(2):
        train_step(config, one, batch, ALONE)
    other.model.load_state_dict(one.model.state_dict())
    other.generator.set_state(one.generator.get_state())
    other.carries, other.step = {0: list(one.carries[0])}, one.step
    other.optimizer.load_state_dict(copy.deepcopy(one.optimizer.state_dict()))
    before = [p.clone() for p in one.model.parameters()]
    for state in (one, other):
        train_step(config, state, batch, ALONE)
    for a, b, old in zip(one.model.parameters(), other.model.parameters(), before, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, old)


def test_muon_is_of_these_parameters_only(data: PuzzleData) -> None:
    assert isinstance(state_of(config_of(), data).optimizer, AdamATan2)
    assert isinstance(state_of(config_of(optimizer="muon"), data).optimizer, MuonForMatrices)


def test_a_young_average_forgets_its_start() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    ema = EMA(model, 0.999, warmup=True)
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema.update(model, step=1)
    assert ema.shadow["weight"].item() == pytest.approx(1 - 2 / 11)
    ema.shadow["weight"].zero_()
    ema.update(model, step=10**6)
    assert ema.shadow["weight"].item() == pytest.approx(0.001, rel=1e-4)


def test_an_average_begins_where_it_is_told_to() -> None:
    model = torch.nn.Linear(1, 1, bias=False).double()
    ema = EMA(model, 0.9, start=2)
    weights = (5.0, -3.0, 1.0, 2.0)
    averages = []
    for step, weight in enumerate(weights, start=1):
        with torch.no_grad():
            model.weight.fill_(weight)
        ema.update(model, step)
        averages.append(ema.shadow["weight"].item())
    third = 0.9 * -3 + 0.1 * 1
    assert averages == pytest.approx([5, -3, third, 0.9 * third + 0.1 * 2], rel=1e-15)


# --- halting by chance ----------------------------------------------------------------------------


def test_rows_leave_by_chance_at_the_rate_asked_for() -> None:
    draw = Exploration.draw(torch.Generator().manual_seed(0), 20_000, slice(0, 20_000), 0, 16, 0.2)
    assert draw.leaves.float().mean().item() == pytest.approx(0.2, abs=0.01)
    whole, part = (
        Exploration.draw(torch.Generator().manual_seed(1), 8, rows, 0.5, 16, 0.5)
        for rows in (slice(0, 8), slice(4, 8))
    )
    assert torch.equal(whole.leaves[4:], part.leaves)


def test_without_it_the_published_stream_is_drawn() -> None:
    one, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    drawn = Exploration.draw(one, 64, slice(0, 64), 0.5, 16)
    explore, least = (
        torch.rand(64, generator=other) < 0.5,
        torch.randint(2, 17, (64,), generator=other),
    )
    assert torch.equal(drawn.min_steps, (explore * least).to(torch.int32))
    assert not drawn.leaves.any()
    assert torch.equal(one.get_state(), other.get_state())


def test_a_row_that_leaves_is_replaced(data: PuzzleData) -> None:
    config = config_of(random_halt_prob=0.999, arch__halt_max_steps=4)
    state = state_of(config, data)
    train_step(config, state, batch_of(data), ALONE)
    assert state.carries[0][0].halted.all()
    stays = state_of(config_of(arch__halt_max_steps=4), data)
    train_step(config_of(arch__halt_max_steps=4), stays, batch_of(data), ALONE)
    assert not stays.carries[0][0].halted.any()


def test_batches_in_flight_take_turns(data: PuzzleData) -> None:
    config = config_of(batches_in_flight=2, arch__halt_max_steps=3)
    state = state_of(config, data)
    drawn = train_batches(data, 0, 1, 3, 8, rank_rows(0, 1, 8))
    batches = [to_batch(rows, ALONE.device) for rows, _ in zip(drawn, range(3), strict=False)]
    for batch in batches:
        train_step(config, state, batch, ALONE)
    for turn, steps in enumerate((2, 1)):  # the third step went on with the rows of the first
        carry = state.carries[turn][0]
        assert torch.equal(carry.steps, torch.full((8,), steps, dtype=torch.int32))
        assert torch.equal(carry.current.inputs, batches[turn].inputs)
    assert not torch.equal(batches[0].inputs, batches[1].inputs)


# --- label smoothing ------------------------------------------------------------------------------


def test_smoothing_is_a_mixture_of_targets() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 4, IGNORE_LABEL], [1, 1, 2]])
    every = torch.stack(
        [stablemax_cross_entropy(logits, torch.full_like(labels, v)) for v in range(5)]
    )
    plain = stablemax_cross_entropy(logits, labels)
    wanted = torch.where(labels == IGNORE_LABEL, 0.0, 0.9 * plain + 0.1 * every.mean(0))
    torch.testing.assert_close(stablemax_cross_entropy(logits, labels, 0.1), wanted)
    torch.testing.assert_close(
        softmax_cross_entropy(logits, labels, 0.1),
        F.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORE_LABEL,
            reduction="none",
            label_smoothing=0.1,
        ).view(2, 3),
    )


def test_smoothing_changes_training_but_not_what_evaluation_reports(data: PuzzleData) -> None:
    batch = batch_of(data)
    losses = []
    for smoothing in (0.0, 0.1):
        config = config_of(arch__loss__label_smoothing=smoothing)
        losses.append(train_step(config, state_of(config, data), batch, ALONE)["loss"].item())
    assert not np.isclose(losses[0], losses[1])


# --- the halting head's share of the loss ---------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"supervision_decay": 0.7}, {"arch__no_ACT_continue": False}]
)
def test_the_loss_of_halting_is_weighed(data: PuzzleData, changes: dict[str, object]) -> None:
    """The losses are lm + weight * q, which two weights give and a third one confirms."""
    batch, double = batch_of(data), {"arch__forward_dtype": "float64", **changes}
    losses = {}
    for weight in (0.0, 0.05, 1.0):
        config = config_of(arch__loss__halting_weight=weight, **double)
        metrics = train_step(config, state_of(config, data), batch, ALONE)
        losses[weight] = metrics["loss"].item()
    halting = losses[1.0] - losses[0.0]
    assert halting > 0.01
    assert losses[0.05] == pytest.approx(losses[0.0] + 0.05 * halting, rel=1e-12)
    if not changes:
        assert losses[0.0] == pytest.approx(metrics["lm_loss"].item(), rel=1e-12)
        assert halting == pytest.approx(metrics["q_halt_loss"].item(), rel=1e-6)


def test_settings_of_an_older_run_have_their_defaults() -> None:
    """A snapshot of a version without these options is gone on with."""
    config = config_of()
    older = config.model_dump(mode="json")
    for key in ("depth_schedule", "random_halt_prob", "ema_warmup", "muon_lr", "max_grad_norm"):
        del older[key]
    for key in ("label_smoothing", "halting_weight"):
        del older["arch"]["loss"][key]
    assert config.differences(older) == []
    assert config.model_copy(update={"random_halt_prob": 0.5}).differences(older)
