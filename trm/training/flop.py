"""FLOP that a training has used until each of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.utils.flop_counter import FlopCounterMode

from trm.config.types import ModelConfig, TrainConfig
from trm.model.base import Depth, RecursiveModel
from trm.model.flop import flop_of_training_row, model_on_meta
from trm.training.optim import make_optimizer


@dataclass(frozen=True)
class TrainingFlop:
    """FLOP of a training's steps. They depend on the depth of a step alone: every row of the batch
    is computed at every step, by one rank or another."""

    begins: tuple[int, ...]  # steps before each stage of the depth schedule
    of_step: tuple[int, ...]  # FLOP of a step in that stage, over all rows
    of_update: int  # FLOP of the optimiser's own matrix products, which Muon has
    first_update: int  # steps before the first of them

    @staticmethod
    def counted(config: TrainConfig, sizes: ModelConfig, total_steps: int) -> TrainingFlop:
        """Count a step at each depth of a training of `total_steps` steps."""
        model = model_on_meta(sizes).requires_grad_(not config.freeze_weights)
        depths = {
            math.ceil(stage.start * total_steps): Depth(stage.H_cycles, stage.L_cycles)
            for stage in config.depth_schedule
        } or {0: model.depth}
        of_row = [flop_of_training_row(model, depth) for depth in depths.values()]
        return TrainingFlop(
            tuple(depths),
            tuple(config.global_batch_size * flop for flop in of_row),
            0 if config.freeze_weights else _flop_of_update(config.optimizer, model),
            math.floor(config.freeze_weights_for * total_steps),
        )

    def until(self, steps: float) -> float:
        """FLOP of the first `steps` steps."""
        ends = (*self.begins[1:], math.inf)
        of_rows = sum(
            max(0, min(steps, end) - begin) * flop
            for begin, end, flop in zip(self.begins, ends, self.of_step, strict=True)
        )
        return float(of_rows + max(0, steps - self.first_update) * self.of_update)


def _flop_of_update(optimizer: str, model: RecursiveModel) -> int:
    """FLOP of one update of a model on the meta device that has gradients."""
    with FlopCounterMode(display=False) as counter:
        make_optimizer(optimizer, model, (0.0, 0.0), 0.0).step()
    return counter.get_total_flops()
