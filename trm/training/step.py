"""One training step: a supervision step, its gradients, an update; and the metrics it leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from trm.config.types import TrainConfig
from trm.data.batches import rank_rows
from trm.model.act import (
    Batch,
    Carry,
    Exploration,
    StepOutput,
    act_step,
    draw_keys,
    initial_carry,
)
from trm.model.base import Depth, RecursiveModel
from trm.model.loss import act_loss, decaying_weights
from trm.runtime.ranks import Ranks
from trm.training.ema import EMA
from trm.training.optim import MuonForMatrices, SignSGD, scheduled_lr


@dataclass
class TrainState:
    """Everything that changes from step to step."""

    model: RecursiveModel
    optimizer: torch.optim.Optimizer | MuonForMatrices | None  # None with freeze_weights
    puzzle_optimizer: SignSGD | None  # None without a puzzle embedding
    ema: EMA | None
    generator: torch.Generator  # draws exploration and keys, the same on every rank
    total_steps: int
    saved: list[int] = field(default_factory=list)  # steps with a checkpoint of this run
    # Of each batch in flight, by its turn: one per slice of micro_batch_size rows.
    carries: dict[int, list[Carry]] = field(default_factory=dict)
    step: int = 0
    iteration: int = 1  # of eval_interval epochs
    batches: int = 0  # of this iteration that are done
    evaluating: bool = False  # all of them, and the evaluation is next


def train_step(
    config: TrainConfig, state: TrainState, batch: Batch, ranks: Ranks
) -> dict[str, Tensor]:
    """One supervision step, its gradients, one update; returns metrics as sums over rows."""
    model = state.model
    depth = depth_at(config, state)
    slices = batch.split(config.micro_batch_size)
    turn = state.step % config.batches_in_flight
    if turn not in state.carries:
        state.carries[turn] = [initial_carry(model, part) for part in slices]
    carries = state.carries[turn]
    explorations = _draw_explorations(config, state, ranks, len(slices))
    keys = _draw_keys(config, state, ranks, len(slices))
    sums: dict[str, Tensor] = {}
    outputs: list[StepOutput] = []
    for i, (part, exploration) in enumerate(zip(slices, explorations, strict=True)):
        carries[i], output = act_step(model, carries[i], part, exploration, depth, keys[i])
        loss, metrics, _ = act_loss(
            config.arch.loss.loss_type,
            carries[i],
            output,
            config.arch.loss.label_smoothing,
            _weights(config, carries[i]),
            config.arch.loss.halting_weight,
        )
        # Already divided by the global batch size: slices and ranks only add up.
        (loss / config.global_batch_size).backward()
        outputs.append(output)
        for name, value in (metrics | {"loss": loss.detach()}).items():
            sums[name] = sums[name] + value if name in sums else value
    state.step += 1
    _update(config, state, carries, outputs, ranks)
    return sums


def depth_at(config: TrainConfig, state: TrainState) -> Depth:
    """The depth of the step to come."""
    depth = Depth(config.arch.H_cycles, config.arch.L_cycles)
    for stage in config.depth_schedule:
        if state.step >= stage.start * state.total_steps:
            depth = Depth(stage.H_cycles, stage.L_cycles)
    return depth


def lr_at(config: TrainConfig, state: TrainState, base: float) -> float:
    """The learning rate of the step that `state.step` counts last."""
    return scheduled_lr(
        state.step, base, config.lr_warmup_steps, state.total_steps, config.lr_min_ratio
    )


def _weights(config: TrainConfig, carry: Carry) -> Tensor | None:
    """Weights [B] of the rows in the loss; None where each counts fully."""
    if config.supervision_decay is None:
        return None
    return decaying_weights(carry.steps, config.supervision_decay, config.arch.halt_max_steps)


def _draw_explorations(
    config: TrainConfig, state: TrainState, ranks: Ranks, slices: int
) -> Sequence[Exploration | None]:
    explores, leaves = config.arch.halt_exploration_prob, config.random_halt_prob
    if (explores == 0 and leaves == 0) or config.arch.halt_max_steps == 1:
        return [None] * slices
    if state.model.halts_by_chance:
        explores, leaves = 0, 1 - (1 - explores) * (1 - leaves)
    drawn = Exploration.draw(
        state.generator,
        config.global_batch_size,
        _own_rows(config, ranks),
        explores,
        config.arch.halt_max_steps,
        leaves,
    )
    return drawn.to(ranks.device).split(config.micro_batch_size)


def _draw_keys(
    config: TrainConfig, state: TrainState, ranks: Ranks, slices: int
) -> Sequence[Tensor | None]:
    """Keys of rows that start, where the model draws."""
    if not state.model.draws:
        return [None] * slices
    drawn = draw_keys(state.generator, config.global_batch_size, _own_rows(config, ranks))
    keys = drawn.to(ranks.device, non_blocking=True)
    return keys.split(config.micro_batch_size or len(keys))


def _own_rows(config: TrainConfig, ranks: Ranks) -> slice:
    return rank_rows(ranks.rank, ranks.world_size, config.global_batch_size)


def _update(
    config: TrainConfig,
    state: TrainState,
    carries: list[Carry],
    outputs: list[StepOutput],
    ranks: Ranks,
) -> None:
    """One update of embedding, weights and average from the gathered gradients."""
    model = state.model
    if state.puzzle_optimizer is not None:
        state.puzzle_optimizer.step(
            lr_at(config, state, config.puzzle_emb_lr),
            torch.cat([carry.current.puzzle_identifiers for carry in carries]),
            torch.cat([output.puzzle_rows.grad for output in outputs]),
        )
    if state.optimizer is not None and state.step <= config.freeze_weights_for * state.total_steps:
        state.optimizer.zero_grad(set_to_none=True)
    elif state.optimizer is not None:
        trained = [p for p in model.parameters() if p.grad is not None]
        ranks.sum_([p.grad for p in trained])
        if config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        for group in state.optimizer.param_groups:
            group["lr"] = lr_at(config, state, group.get("initial_lr", config.lr))
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(model, state.step)


class Averages(NamedTuple):
    """Metrics of a training over some of its steps."""

    metrics: dict[str, float]
    examples_per_s: float


class Meter:
    """Sums metrics on the device and reads them, over all ranks, only when a record is due."""

    def __init__(self, ranks: Ranks, global_batch_size: int) -> None:
        self.ranks, self.global_batch_size = ranks, global_batch_size
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}  # of this rank
        self.steps = 0
        self.began = time.monotonic()

    def add(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            value = value.float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1

    def read(self) -> Averages:
        """The averages since the last reading; accuracies of halted rows."""
        names = sorted(self.sums)
        values = torch.stack([self.sums[name] for name in names])
        self.ranks.sum_([values])
        totals = dict(zip(names, values.tolist(), strict=True))
        count = totals.pop("count")
        rows = self.steps * self.global_batch_size
        averages = {
            name: total / (rows if name.endswith("loss") else count)
            for name, total in totals.items()
            if name.endswith("loss") or count > 0  # where no row halted, accuracy is not 0 %
        }
        rate = rows / max(time.monotonic() - self.began, 1e-9)
        self._reset()
        return Averages(averages | {"count": count}, rate)
