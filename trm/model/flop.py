"""FLOP of a supervision step, counted by running it on torch's meta device.

There each operation sees the shapes of its arguments, and nothing is computed. The count is that
of plain code: it depends neither on the device nor on the kernels that compute the nets there. It
takes no memory for weights and draws nothing. Matrix products, attention and convolutions count.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from trm.config.types import ModelConfig
from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import Depth, RecursiveModel
from trm.model.loss import act_loss
from trm.model.registry import build_model

META = torch.device("meta")


def model_on_meta(config: ModelConfig) -> RecursiveModel:
    """A model whose weights have shapes and no values."""
    with META:
        return build_model(config)


def flop_of_step(config: ModelConfig) -> int:
    """FLOP of one supervision step of one puzzle at test: a forward pass."""
    model, row = model_on_meta(config).eval(), _row(config)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        act_step(model, initial_carry(model, row), row)
    return counter.get_total_flops()


def flop_of_training_row(model: RecursiveModel, depth: Depth) -> int:
    """FLOP of a row in a training step: a supervision step at `depth`, its loss and the backward
    pass, which leaves gradients. The model is on the meta device; frozen weights take none."""
    config = model.config
    row = _row(config)
    with FlopCounterMode(display=False) as counter:
        carry, output = act_step(model.train(), initial_carry(model, row), row, depth=depth)
        act_loss(config.loss.loss_type, carry, output)[0].backward()
    return counter.get_total_flops()


def _row(config: ModelConfig) -> Batch:
    cells = torch.zeros(1, config.seq_len, dtype=torch.int32, device=META)
    return Batch(cells, cells, torch.zeros(1, dtype=torch.int32, device=META))
