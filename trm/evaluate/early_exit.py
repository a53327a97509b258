"""Answer examples until their halting head is sure; who is done leaves its place to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from trm.data.batches import Rows
from trm.evaluate.settings import Settings
from trm.model.act import (
    Batch,
    Carry,
    StepOutput,
    act_step,
    initial_carry,
    to_batch,
    wants_to_halt,
)
from trm.model.base import RecursiveModel
from trm.model.loss import act_loss
from trm.progress import Progress
from trm.runtime.ranks import Ranks


@dataclass
class Answers:
    """Answers to N examples: preds [N, S] uint8, q_halt [N] fp32, sums of `act_loss`'s metrics."""

    preds: np.ndarray
    q_halt: np.ndarray
    sums: dict[str, float] = field(default_factory=dict)


def answer_until_sure(
    model: RecursiveModel,
    rows_of: Callable[[np.ndarray], Rows],
    count: int,
    settings: Settings,
    ranks: Ranks,
    progress: Progress,
    before_step: Callable[[], None],
) -> Answers:
    """Examples 0..count-1 of this rank, each until its halting logit is above the threshold of
    `settings`, or for halt_max_steps. The model is in evaluation mode; `rows_of` reads examples.

    Every rank makes as many steps as the one with the most work, since `before_step` is called on
    all alike.
    """
    answers = Answers(
        np.empty((count, model.config.seq_len), dtype=np.uint8), np.empty(count, np.float32)
    )
    waiting = min(settings.global_batch_size // ranks.world_size, count)
    examples = np.arange(waiting)  # by row
    working = np.ones(waiting, dtype=bool)  # rows; the others only fill the batch
    carry = initial_carry(model, to_batch(rows_of(examples), ranks.device))
    batch = carry.current
    while ranks.any([bool(working.any())])[0]:
        before_step()
        if not working.any():
            continue
        carry, output = act_step(model, carry, batch)
        lead = output.certainty - settings.halting_threshold
        leaves = carry.halted | wants_to_halt(model, lead, output.q_continue)
        places = (leaves.cpu().numpy() & working).nonzero()[0]
        if len(places) == 0:
            continue
        done = torch.from_numpy(places).to(ranks.device)
        _note(answers, examples[places], *_of_rows(carry, output, done), settings.loss_type)
        progress.update(len(places))
        fresh = np.arange(waiting, min(waiting + len(places), count))
        waiting += len(fresh)
        examples[places[: len(fresh)]] = fresh
        working[places[len(fresh) :]] = False
        batch = _with_rows(carry.current, done[: len(fresh)], rows_of(fresh), ranks.device)
        carry = replace(carry, halted=leaves)
        kept = _rows_to_keep(working)
        if len(kept) < len(working):
            rows = torch.from_numpy(kept).to(ranks.device)
            examples, working = examples[kept], working[kept]
            carry, batch = _carry_of_rows(carry, rows), _batch_of_rows(batch, rows)
    return answers


def _rows_to_keep(working: np.ndarray) -> np.ndarray:
    """Rows of the next batch: all, until half of them or fewer are at work; then half, as often as
    that holds. Rows that have been answered fill it up.

    Every size of a batch costs a GPU a plan of its kernels, and a compiled net a graph.
    """
    size = len(working)
    while size > 1 and working.sum() <= size // 2:
        size //= 2
    first = np.argsort(~working, kind="stable")[:size]
    return np.sort(first)


def _note(
    answers: Answers, examples: np.ndarray, carry: Carry, output: StepOutput, loss_type: str
) -> None:
    leaving = replace(carry, halted=torch.ones_like(carry.halted))
    _, metrics, preds = act_loss(loss_type, leaving, output)
    for name, value in metrics.items():
        answers.sums[name] = answers.sums.get(name, 0.0) + value.item()
    answers.preds[examples] = preds.to(torch.uint8).cpu().numpy()
    answers.q_halt[examples] = output.certainty.float().cpu().numpy()


def _with_rows(current: Batch, places: Tensor, rows: Rows, device: torch.device) -> Batch:
    """`current` with other rows at `places` [k]."""
    new = to_batch(rows, device)
    return Batch(
        *(
            old.index_copy(0, places, fresh)
            for old, fresh in zip(current.tensors, new.tensors, strict=True)
        )
    )


def _of_rows(carry: Carry, output: StepOutput, rows: Tensor) -> tuple[Carry, StepOutput]:
    part = StepOutput(
        output.logits[rows],
        output.q_halt[rows],
        output.q_continue[rows],
        None,
        None,
        output.certainty[rows],
    )
    return _carry_of_rows(carry, rows), part


def _carry_of_rows(carry: Carry, rows: Tensor) -> Carry:
    return Carry(
        tuple(s[rows] for s in carry.state),
        carry.steps[rows],
        carry.halted[rows],
        _batch_of_rows(carry.current, rows),
    )


def _batch_of_rows(batch: Batch, rows: Tensor) -> Batch:
    return Batch(*(t[rows] for t in batch.tensors))
