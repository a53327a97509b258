"""Whether an evaluation's nets are compiled by torch.compile."""

from __future__ import annotations

import os

import numpy as np
import torch

from trm.config.types import Kernels
from trm.data.batches import PuzzleData, take_examples
from trm.evaluate.settings import Compile, Settings
from trm.model.act import Batch, act_step, initial_carry, to_batch
from trm.model.base import RecursiveModel
from trm.model.compiling import compile_or_run_eagerly, compiling_pays
from trm.model.flop import flop_of_step
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
    kernels: Kernels,
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
    rows = settings.global_batch_size // ranks.world_size
    batch = _first_example(data, ranks.device, rows)
    return compile_or_run_eagerly(
        model, ranks, choice, kernels, lambda: _evaluate_a_step(model, batch)
    )


def _pays(model: RecursiveModel, data: PuzzleData, ranks: Ranks, times: float) -> bool:
    flop_of_puzzle = flop_of_step(model.config) * model.config.halt_max_steps
    flop = flop_of_puzzle * times * data.n_examples
    return compiling_pays(ranks, flop, "an evaluation", FLOP_THAT_PAY_ON_A_GPU)


def _first_example(data: PuzzleData, device: torch.device, rows: int) -> Batch:
    """A batch of the first example, `rows` times."""
    return to_batch(take_examples(data, np.zeros(rows, dtype=np.int64)), device)


@torch.no_grad()
def _evaluate_a_step(model: RecursiveModel, batch: Batch) -> None:
    """One supervision step, as an evaluation makes it."""
    act_step(model.eval(), initial_carry(model, batch), batch)
