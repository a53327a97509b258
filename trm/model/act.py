"""Adaptive computation time: rows of a batch halt, leave, and are replaced one by one
(docs/specification.md#adaptive-computation)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trm.data.batches import Rows
from trm.model.base import Depth, RecursiveModel, State
from trm.model.draws import KEYS, keys_of_puzzles


@dataclass(frozen=True)
class Batch:
    """Rows on one device: inputs [B, S], labels [B, S] (-100 = not scored), identifiers [B]."""

    inputs: Tensor
    labels: Tensor
    puzzle_identifiers: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(t.to(device, non_blocking=True) for t in self.tensors))

    def split(self, rows: int | None) -> list[Batch]:
        """Slices of at most `rows` rows; the whole where it is None."""
        if rows is None:
            return [self]
        return [Batch(*parts) for parts in zip(*(t.split(rows) for t in self.tensors), strict=True)]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.inputs, self.labels, self.puzzle_identifiers


def to_batch(rows: Rows, device: torch.device) -> Batch:
    return host_batch(rows, device).to(device)


def host_batch(rows: Rows, device: torch.device) -> Batch:
    """Rows in the CPU's memory, where `device` can copy them from without waiting."""
    tensors = [torch.from_numpy(a) for a in (rows.inputs, rows.labels, rows.puzzle_identifiers)]
    if device.type == "cuda":
        with torch.cuda.device(device):  # which a new thread has not chosen
            tensors = [t.pin_memory() for t in tensors]
    return Batch(*tensors)


@dataclass(frozen=True)
class Carry:
    """What a batch takes from one supervision step to the next."""

    state: State  # each [B, …]
    steps: Tensor  # [B] int32, supervision steps spent on the current row
    halted: Tensor  # [B] bool, rows to be replaced at the next step
    current: Batch  # the rows being worked on


@dataclass(frozen=True)
class StepOutput:
    """What one supervision step says about the rows of `Carry.current`."""

    logits: Tensor  # [B, S, vocab]
    q_halt: Tensor  # [B]
    q_continue: Tensor  # [B]
    target_q_continue: Tensor | None  # [B], probability; None where q_continue is not learned
    puzzle_rows: Tensor | None  # [B, puzzle_emb_width], the leaf whose .grad SignSGD takes
    certainty: Tensor  # [B], the logit of how likely the model takes a row to be right


@dataclass(frozen=True)
class Exploration:
    """What chance says about each row's halting: not before `min_steps` [B] int32; `leaves` [B]
    bool, at once. Drawn once per step for the whole global batch, so that the draw does not depend
    on the number of ranks."""

    min_steps: Tensor
    leaves: Tensor

    def to(self, device: torch.device) -> Exploration:
        move = {"device": device, "non_blocking": True}
        return Exploration(self.min_steps.to(**move), self.leaves.to(**move))

    def split(self, rows: int | None) -> list[Exploration]:
        if rows is None:
            return [self]
        parts = zip(self.min_steps.split(rows), self.leaves.split(rows), strict=True)
        return [Exploration(*part) for part in parts]

    @staticmethod
    def draw(
        generator: torch.Generator,
        global_batch: int,
        rows: slice,
        probability: float,
        maximum: int,
        leave_probability: float = 0,
    ) -> Exploration:
        """With `probability` a row must reach a uniform step in 2..maximum; with
        `leave_probability` it leaves after this step, right or wrong."""
        explore = torch.rand(global_batch, generator=generator) < probability
        least = torch.randint(2, maximum + 1, (global_batch,), generator=generator)
        leaves = torch.zeros(global_batch, dtype=torch.bool)
        if leave_probability > 0:  # else nothing is drawn: the published stream
            leaves = torch.rand(global_batch, generator=generator) < leave_probability
        return Exploration((explore * least)[rows].to(torch.int32), leaves[rows])


def draw_keys(generator: torch.Generator, global_batch: int, rows: slice) -> Tensor:
    """Keys of rows that start, for a model that draws; of the whole global batch, as `Exploration`
    is."""
    return torch.randint(KEYS, (global_batch,), generator=generator)[rows]


def initial_carry(model: RecursiveModel, batch: Batch) -> Carry:
    """All rows halted, so that the first step takes every row from its batch."""
    size, device = batch.inputs.shape[0], batch.inputs.device
    return Carry(
        state=model.initial_state(size, _keys_of(model, batch)),
        steps=torch.zeros(size, dtype=torch.int32, device=device),
        halted=torch.ones(size, dtype=torch.bool, device=device),
        current=batch,
    )


def _keys_of(model: RecursiveModel, batch: Batch) -> Tensor | None:
    """Keys that follow from the puzzles, for a model that draws."""
    if not model.draws:
        return None
    return keys_of_puzzles(batch.inputs)


def _replace_halted(
    model: RecursiveModel, carry: Carry, batch: Batch, keys: Tensor | None
) -> Carry:
    halted = carry.halted

    def of_each_row(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(halted.view(-1, *[1] * (new.ndim - 1)), new, old)

    fresh = model.initial_state(halted.shape[0], keys)
    return Carry(
        state=tuple(map(of_each_row, fresh, carry.state)),
        steps=carry.steps.masked_fill(halted, 0),
        halted=halted,
        current=Batch(*map(of_each_row, batch.tensors, carry.current.tensors)),
    )


def wants_to_halt(model: RecursiveModel, q_halt: Tensor, q_continue: Tensor) -> Tensor:
    """Rows [B] whose halting head says that they are solved."""
    against = model.halts_against_continue or not model.config.no_ACT_continue
    return q_halt > q_continue if against else q_halt > 0


def learns_continue(model: RecursiveModel) -> bool:
    """Whether q_continue has a target in training."""
    if model.learns_continue is None:
        return not model.config.no_ACT_continue
    return model.learns_continue


def act_step(
    model: RecursiveModel,
    carry: Carry,
    batch: Batch,
    exploration: Exploration | None = None,
    depth: Depth | None = None,
    keys: Tensor | None = None,
) -> tuple[Carry, StepOutput]:
    """One supervision step. In training mode rows may halt early; in evaluation all run to the end.

    `exploration` may be left out where chance has no say, `depth` where it is the model's own, and
    `keys` [B], of rows that start, where what a model draws follows from the puzzles.
    """
    config = model.config
    carry = _replace_halted(model, carry, batch, _keys_of(model, batch) if keys is None else keys)
    current = carry.current
    rows = model.puzzle_rows(current.puzzle_identifiers, requires_grad=torch.is_grad_enabled())
    state, (logits, q_halt, q_continue) = model(
        carry.state, current.inputs, rows, depth, current.labels
    )

    target = None
    with torch.no_grad():
        steps = carry.steps + 1
        last = steps >= config.halt_max_steps
        halted = last
        if model.training and config.halt_max_steps > 1:
            if not model.halts_by_chance:
                halted = last | wants_to_halt(model, q_halt, q_continue)
            if exploration is not None:
                halted = halted & (steps >= exploration.min_steps) | exploration.leaves
            if learns_continue(model):
                # Q-learning without a replay buffer: the value of continuing is the better of the
                # two choices at the next step, where only halting is left at the last.
                _, (_, next_halt, next_continue) = model(state, current.inputs, rows, depth)
                best = torch.where(last, next_halt, torch.maximum(next_halt, next_continue))
                target = torch.sigmoid(best)
    new_carry = Carry(state=state, steps=steps, halted=halted, current=current)
    return new_carry, StepOutput(logits, q_halt, q_continue, target, rows, model.certainty(q_halt))


def supervision_steps(
    model: RecursiveModel, batch: Batch, steps: int | None = None
) -> Iterator[tuple[Carry, StepOutput]]:
    """What each of `steps` supervision steps (default: halt_max_steps) makes of a batch whose rows
    all stay to the end.

    The model is in evaluation mode. Where rows leave and are replaced (in training, and in
    evaluation with early exit), the loop is the caller's, by `act_step`.
    """
    carry = initial_carry(model, batch)
    for _ in range(steps or model.config.halt_max_steps):
        carry, output = act_step(model, carry, batch)
        yield carry, output
        # More steps than in training do not begin a new puzzle.
        carry = replace(carry, halted=torch.zeros_like(carry.halted))
