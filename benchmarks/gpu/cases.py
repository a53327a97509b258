"""What a training step is measured on: the cases of train_step.py at the sizes of a GPU, the same
cases tiny, and the FLOP of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from job import Job
from torch.utils.flop_counter import FlopCounterMode
from train_step import CASES, Case, draw_batches, new_state, training_config

from trm.config.types import ModelConfig, TrainConfig
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import RecursiveModel
from trm.model.loss import act_loss
from trm.model.registry import build_model
from trm.runtime.ranks import Ranks, choose_device
from trm.training.step import TrainState

ROWS = {"sudoku-mlp": 768, "sudoku-att": 768, "arc-att": 192}
"""Rows of a step: the published batch, for ARC that of one of four GPUs."""
TINY = (
    "arch.hidden_size=32",
    "arch.num_heads=2",
    "arch.L_layers=1",
    "arch.H_cycles=2",
    "arch.L_cycles=1",
    "arch.halt_max_steps=2",
)


@dataclass(frozen=True)
class Sized:
    """A case at the size of this run."""

    case: Case
    config: TrainConfig
    ranks: Ranks

    @property
    def rows(self) -> int:
        return self.config.global_batch_size

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    @property
    def model_config(self) -> ModelConfig:
        return ModelConfig.of(self.config.arch, self.case.seq_len, self.case.vocab, 1)

    def batches(self) -> list[Batch]:
        return draw_batches(self.case, self.rows, self.device)

    def state(self) -> TrainState:
        """A fresh one, the same each time."""
        return new_state(self.case, self.config, self.ranks)


def sized(job: Job, name: str, words: tuple[str, ...] = ()) -> Sized:
    """A case at the size of this run, with further settings."""
    case, rows = CASES[name], ROWS[name]
    if job.tiny:
        case, rows = replace(case, words=(*case.words, *TINY), seq_len=9), 4
    case = replace(case, words=(*case.words, *words))
    return Sized(
        case, training_config(case, rows, "bfloat16"), Ranks(0, 1, choose_device(job.device))
    )


def flop_of_step(case: Sized) -> int:
    """FLOP of the matrix products and attention of one training step, counted without data."""
    meta = torch.device("meta")
    model = build_model(case.model_config).to(meta).train()
    return flop_of(model, draw_batches(case.case, case.rows, meta)[0], case.config)


def flop_of(model: RecursiveModel, batch: Batch, config: TrainConfig) -> int:
    with FlopCounterMode(display=False) as counter:
        carry, output = act_step(model, initial_carry(model, batch), batch)
        act_loss(config.arch.loss.loss_type, carry, output)[0].backward()
    return counter.get_total_flops()
