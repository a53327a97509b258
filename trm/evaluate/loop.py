"""Evaluate a model on a test split: every example in all supervision steps, or until it is sure.

Under torchrun the rows are shared out and the answers gathered in order, so that predictions and
metrics do not depend on the number of processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from trm.data.batches import (
    PuzzleData,
    Rows,
    eval_batch_sizes,
    eval_batches,
    rank_rows,
    take_examples,
)
from trm.data.dataset import DatasetMetadata
from trm.evaluate.early_exit import answer_until_sure
from trm.evaluate.settings import Settings, TaskIds
from trm.model.act import Batch, Carry, StepOutput, supervision_steps, to_batch
from trm.model.base import RecursiveModel
from trm.model.layers import eagerly
from trm.model.loss import act_loss
from trm.progress import Progress
from trm.runtime.ranks import Ranks
from trm.scoring.predictions import Predictions


@dataclass
class Evaluation:
    """Metrics are complete on every rank, predictions on rank 0 only; `saved` and `by_batch`, sums
    of the metrics over the rows of each batch, are this rank's."""

    metrics: dict[str, float]
    predictions: Predictions | None
    at_steps: dict[int, Evaluation] = field(default_factory=dict)
    saved: dict[str, Tensor] = field(default_factory=dict)
    by_batch: list[dict[str, float]] = field(default_factory=list)


def nothing() -> None:
    """A callback that does not do anything."""


def evaluate(
    model: RecursiveModel,
    data: PuzzleData,
    settings: Settings,
    ranks: Ranks,
    before_batch: Callable[[], None] = nothing,
) -> Evaluation:
    """Evaluate in the way that `settings.halting` names. `before_batch` may raise, on every rank
    alike, to end it."""
    was_training = model.training
    model.eval()
    result = EVALUATIONS[settings.halting](model, data, settings, ranks, before_batch)
    model.train(was_training)
    return result


@torch.no_grad()
def evaluate_all_steps(
    model: RecursiveModel,
    data: PuzzleData,
    settings: Settings,
    ranks: Ranks,
    before_batch: Callable[[], None],
) -> Evaluation:
    """Run halt_max_steps supervision steps on every test example, as published."""
    last = model.config.halt_max_steps
    after = {
        step: _AfterStep(settings.loss_type, ranks) for step in sorted({*settings.at_steps, last})
    }
    kept: dict[str, list[Tensor]] = {name: [] for name in settings.keep}
    _, total = _examples(data, settings)
    with Progress(total, "evaluating", "examples", shown=ranks.is_main) as progress:
        for rows, length in _batches(data, settings, ranks):
            before_batch()
            batch = to_batch(rows, ranks.device)
            for step, (carry, output) in enumerate(supervision_steps(model, batch), start=1):
                if step in after:
                    answer = after[step].add(carry, output, length)
            _keep_outputs(kept, batch, output, answer)
            progress.update(length)
    results = {step: part.result() for step, part in after.items()}
    return replace(
        results[last],
        at_steps={step: results[step] for step in sorted(settings.at_steps)},
        saved={name: torch.cat(parts) for name, parts in kept.items()},
    )


class _AfterStep:
    """What all examples have come to after one supervision step."""

    def __init__(self, loss_type: str, ranks: Ranks) -> None:
        self.loss_type, self.ranks = loss_type, ranks
        self.by_batch: list[dict[str, float]] = []
        self.preds: list[np.ndarray] = []
        self.q_halts: list[np.ndarray] = []

    def add(self, carry: Carry, output: StepOutput, length: int) -> Tensor:
        """Add a batch of all ranks, of which the first `length` rows are not padding; returns
        this rank's answers [B, S]."""
        everyone = replace(carry, halted=torch.ones_like(carry.halted))
        _, metrics, answer = act_loss(self.loss_type, everyone, output)
        self.by_batch.append({name: float(value) for name, value in metrics.items()})
        everyones = self.ranks.all_gather(answer.to(torch.uint8))
        q_halt = self.ranks.all_gather(output.certainty)
        if self.ranks.is_main:
            self.preds.append(everyones[:length].cpu().numpy())
            self.q_halts.append(q_halt[:length].cpu().numpy())
        return answer

    def result(self) -> Evaluation:
        predictions = None
        if self.ranks.is_main:
            predictions = Predictions(np.concatenate(self.preds), np.concatenate(self.q_halts))
        return Evaluation(_averages(self.by_batch, self.ranks), predictions, by_batch=self.by_batch)


@torch.no_grad()
def evaluate_until_sure(
    model: RecursiveModel,
    data: PuzzleData,
    settings: Settings,
    ranks: Ranks,
    before_batch: Callable[[], None],
) -> Evaluation:
    """Let an example leave as soon as its halting logit (where continuing is learned: its lead
    over that logit) is above the threshold: what comes later is neither computed nor kept.

    Each rank answers its run of the examples at its own pace; the answers are put in order.
    """
    start, total = _examples(data, settings)
    first, last = (start + total * r // ranks.world_size for r in (ranks.rank, ranks.rank + 1))

    def rows_of(examples: np.ndarray) -> Rows:
        rows = take_examples(data, first + examples)
        return with_task_ids(rows, settings.task_ids, data.metadata)

    # The batch shrinks by halves at the end: compiled, each size would be a graph of its own, and
    # torch gives up after eight, for training too.
    shown = Progress(last - first, "evaluating", "examples", shown=ranks.is_main)
    with eagerly(model), shown as progress:
        own = answer_until_sure(
            model, rows_of, last - first, settings, ranks, progress, before_batch
        )
    everyones = ranks.gather_objects(own)
    predictions = None
    if ranks.is_main:
        predictions = Predictions(
            np.concatenate([answers.preds for answers in everyones]),
            np.concatenate([answers.q_halt for answers in everyones]),
        )
    metrics = add_up([[answers.sums] for answers in everyones])
    return Evaluation(metrics, predictions, by_batch=[own.sums])


EVALUATIONS = {"fixed": evaluate_all_steps, "act": evaluate_until_sure}


def with_task_ids(rows: Rows, task_ids: TaskIds, metadata: DatasetMetadata) -> Rows:
    """The same rows under other puzzle identifiers."""
    if task_ids == "own":
        return rows
    own = rows.puzzle_identifiers
    blank = metadata.blank_identifier_id
    if task_ids == "blank":
        return replace(rows, puzzle_identifiers=np.full_like(own, blank))
    # Another puzzle's: half of all identifiers further on, past the blank one at 0.
    others = metadata.num_puzzle_identifiers - 1
    shifted = (own - 1 + others // 2) % max(others, 1) + 1
    return replace(rows, puzzle_identifiers=np.where(own == blank, own, shifted).astype(own.dtype))


def _examples(data: PuzzleData, settings: Settings) -> tuple[int, int]:
    """The first example of the shard, and how many it has."""
    lengths = eval_batch_sizes(data, settings.global_batch_size)
    own = settings.shard.batches(len(lengths))
    return sum(lengths[: own.start]), sum(lengths[own.start : own.stop])


def _batches(data: PuzzleData, settings: Settings, ranks: Ranks) -> Iterator[tuple[Rows, int]]:
    """This rank's rows of each batch of the shard, and how many rows of all ranks are not padding
    of a set's last batch."""
    size = settings.global_batch_size
    lengths = eval_batch_sizes(data, size)
    wanted = settings.shard.batches(len(lengths))
    own = rank_rows(ranks.rank, ranks.world_size, size)
    batches = eval_batches(data, size, own, wanted)
    for rows, length in zip(batches, lengths[wanted.start : wanted.stop], strict=True):
        yield with_task_ids(rows, settings.task_ids, data.metadata), length


def _keep_outputs(
    kept: dict[str, list[Tensor]], batch: Batch, output: StepOutput, answer: Tensor
) -> None:
    values = {
        "inputs": batch.inputs,
        "labels": batch.labels,
        "puzzle_identifiers": batch.puzzle_identifiers,
        "preds": answer,
        "logits": output.logits,
        "q_halt_logits": output.certainty,
        "q_continue_logits": output.q_continue,
    }
    for name, parts in kept.items():
        parts.append(values[name].cpu())


def add_up(by_rank: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Averages over all scored rows, from the sums of each rank's batches."""
    total: Counter[str] = Counter()
    for by_batch in by_rank:
        total.update(_sums(by_batch))
    return _shares(total)


def _sums(by_batch: Sequence[Mapping[str, float]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for metrics in by_batch:
        sums.update(metrics)
    return sums


def _averages(by_batch: Sequence[Mapping[str, float]], ranks: Ranks) -> dict[str, float]:
    """The same, from this rank's batches; every rank must call it."""
    sums = _sums(by_batch)
    dtype = torch.float32 if ranks.device.type == "mps" else torch.float64
    values = torch.tensor(list(sums.values()), dtype=dtype, device=ranks.device)
    ranks.sum_([values])
    return _shares(dict(zip(sums, values.tolist(), strict=True)))


def _shares(sums: Mapping[str, float]) -> dict[str, float]:
    count = sums["count"]
    shares = {name: v / max(count, 1.0) for name, v in sums.items() if name != "count"}
    return {"count": count, **shares}
