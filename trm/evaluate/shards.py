"""Shards of an evaluation: jobs that evaluate some of the batches each, and their results together.

A shard has whole batches, so that each is computed as in the whole evaluation. Its file keeps the
metrics of each batch on each rank: they are added up in the order in which one job would do it, and
the outputs of two shards are those of the whole to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trm.data.batches import PuzzleData
from trm.data.read import ARCHIVE_DAMAGES
from trm.errors import TrmError
from trm.evaluate.loop import Evaluation, add_up
from trm.evaluate.settings import Settings
from trm.files import atomic_write, file_sha256
from trm.progress import say
from trm.runtime.cost import Cost, CostMeter
from trm.runtime.late import wait_for
from trm.scoring.predictions import Predictions


@dataclass(frozen=True)
class ShardResult:
    """What one shard has come to. `by_batch` has, for each rank, the metrics of its batches;
    `same` is what all shards of one evaluation have in common."""

    number: int
    count: int
    predictions: Predictions
    by_batch: list[list[dict[str, float]]]
    same: dict[str, object]
    cost: Cost


def write_shard(
    path: Path, weights: Path, evaluation: Evaluation, settings: Settings, meter: CostMeter
) -> None:
    """Write the shard that was evaluated; every rank must call it, and rank 0 writes."""
    by_batch, cost = meter.ranks.gather_objects(evaluation.by_batch), meter.total()
    if evaluation.predictions is None:
        return
    shard = settings.shard
    facts = {
        "number": shard.number,
        "count": shard.count,
        "by_batch": by_batch,
        "same": {
            "weights_sha256": file_sha256(weights),
            "batch_size": settings.global_batch_size,
            "halting": settings.halting,
            "threshold": settings.halting_threshold,
        },
        "cost": asdict(cost),
    }
    with atomic_write(path) as file:
        np.savez_compressed(
            file,
            preds=evaluation.predictions.preds,
            q_halt_logits=evaluation.predictions.q_halt_logits,
            facts=np.array(json.dumps(facts)),
        )
    say(f"evaluated shard {shard.number} of {shard.count} in {cost.wall_s:.0f} s; wrote {path}")


def load_shard(path: Path) -> ShardResult:
    """TrmError where the file is missing or is not a shard."""
    wait_for(path)
    try:
        with np.load(path) as arrays:
            predictions = Predictions(arrays["preds"], arrays["q_halt_logits"])
            facts = json.loads(str(arrays["facts"]))
        cost = Cost(**facts.pop("cost"))
        return ShardResult(predictions=predictions, cost=cost, **facts)
    except ARCHIVE_DAMAGES as error:
        raise TrmError(
            f"{path} is not a shard of an evaluation ({error}): evaluate it with shard=K/N"
        ) from None


def load_shards(paths: Sequence[Path], weights: Path) -> list[ShardResult]:
    """All shards of an evaluation of `weights`, in order; TrmError where one is missing, is there
    twice or belongs to another evaluation."""
    shards = sorted(map(load_shard, paths), key=lambda shard: shard.number)
    count = shards[0].count
    numbers = [shard.number for shard in shards]
    if numbers != [*range(1, count + 1)] or any(shard.count != count for shard in shards):
        given = ", ".join(f"{shard.number}/{shard.count}" for shard in shards)
        raise TrmError(f"shards {given} are not all parts of one evaluation: give each part once")
    if any(shard.same != shards[0].same for shard in shards):
        raise TrmError(
            f"{', '.join(map(str, paths))} were not evaluated with the same weights, batch size "
            "and halting: evaluate them again"
        )
    if shards[0].same["weights_sha256"] != file_sha256(weights):
        raise TrmError(f"the shards are those of other weights than {weights}: evaluate them again")
    return shards


def put_together(shards: Sequence[ShardResult], data: PuzzleData) -> Evaluation:
    """The evaluation of all shards; TrmError where they are those of another number of examples."""
    preds = np.concatenate([shard.predictions.preds for shard in shards])
    q_halt = np.concatenate([shard.predictions.q_halt_logits for shard in shards])
    if len(preds) != data.n_examples:
        raise TrmError(
            f"the shards have {len(preds)} examples, and the test split has {data.n_examples}: "
            "give the dataset that they were evaluated on"
        )
    of_ranks = zip(*(shard.by_batch for shard in shards), strict=True)
    by_rank = [[metrics for part in of_rank for metrics in part] for of_rank in of_ranks]
    return Evaluation(add_up(by_rank), Predictions(preds, q_halt))


def cost_of(shards: Sequence[ShardResult]) -> Cost:
    return Cost(
        wall_s=sum(shard.cost.wall_s for shard in shards),
        gpu_s=sum(shard.cost.gpu_s for shard in shards),
        joules=sum(shard.cost.joules for shard in shards),
    )
