"""Whether an evaluation's nets are compiled by torch.compile."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from trm.data.batches import PuzzleData, take_examples
from trm.errors import TrmError
from trm.evaluate.settings import Compile, Settings
from trm.model.act import Batch, act_step, initial_carry, to_batch
from trm.model.base import RecursiveModel
from trm.model.compiling import compile_and_try, note_giving_up, worth_compiling
from trm.model.layers import run_eagerly
from trm.progress import say
from trm.runtime.ranks import Ranks

FLOP_THAT_PAY_ON_A_GPU = 3e15
"""From this many FLOP on it pays to compile an evaluation on a GPU: half a minute of eager work of
an H200. Compiling a training, three graphs where an evaluation has one, takes 13 to 26 s there and
saves three fifths of a step (docs/performance.md)."""


def compile_for(
    choice: Compile,
    model: RecursiveModel,
    data: PuzzleData,
    settings: Settings,
    ranks: Ranks,
    times: float = 1,
) -> bool:
    """Compile the nets to evaluate `data` `times` times, where `choice` says so; returns whether
    they are compiled: for a shard as for the whole. TrmError where they must be and cannot.

    An evaluation with early exit runs eagerly: its batch shrinks, and each size would be a graph.
    """
    if choice == "off" or settings.halting == "act":
        return False
    if choice == "auto" and "DISABLE_COMPILE" in os.environ:
        return False
    if choice == "auto" and not _pays(model, data, ranks, times):
        return False
    note_giving_up()
    rows = settings.global_batch_size // ranks.world_size
    problem = compile_and_try(model, ranks.device, lambda: _try_a_step(model, data, rows, ranks))
    if not ranks.any([problem is not None])[0]:
        return True
    if choice == "on":
        raise TrmError(
            "compile=on, but the nets cannot be compiled here: "
            f"{problem or 'another process cannot'}; compile=auto runs them eagerly then"
        )
    run_eagerly(model)
    if problem is not None:
        say(f"note: the nets cannot be compiled here, and run eagerly: {problem}")
    return False


def _pays(model: RecursiveModel, data: PuzzleData, ranks: Ranks, times: float) -> bool:
    examples = times * sum(len(arrays.inputs) for arrays in data.sets)
    with FlopCounterMode(display=False) as counter:
        _try_a_step(model, data, 1, ranks)
    flop = counter.get_total_flops() * model.config.halt_max_steps * examples
    chosen = ranks.same_everywhere(worth_compiling(ranks.device, flop, FLOP_THAT_PAY_ON_A_GPU))
    if chosen and ranks.is_main:
        say(
            f"compiling the nets, for an evaluation of about {flop / 1e12:.0f} TFLOP "
            "(compile=off runs them eagerly)"
        )
    return chosen


@torch.no_grad()
def _try_a_step(model: RecursiveModel, data: PuzzleData, rows: int, ranks: Ranks) -> None:
    """One supervision step, as an evaluation makes it, on the first example `rows` times."""
    row = to_batch(take_examples(data, np.zeros(1, dtype=np.int64)), ranks.device)
    batch = Batch(*(t.repeat(rows, *[1] * (t.ndim - 1)) for t in row.tensors))
    act_step(model.eval(), initial_carry(model, batch), batch)
