"""What a training step takes in memory, before one is run."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from trm.model.act import Batch, act_step, initial_carry
from trm.model.base import Depth, RecursiveModel
from trm.model.loss import act_loss


@dataclass(frozen=True)
class StepEstimate:
    """Bytes that autograd keeps per row between forward and backward, and what the device has."""

    bytes_per_row: int
    free_bytes: int

    @property
    def rows_that_fit(self) -> int:
        """Rows that fit, with a tenth kept back for gradients in flight and fragmentation."""
        return int(0.9 * self.free_bytes / max(self.bytes_per_row, 1))


def free_memory(device: torch.device) -> int:
    """Bytes not in use on the device; of the machine, for the CPU and Apple's shared memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def estimate(
    model: RecursiveModel, row: Batch, loss_type: str, depth: Depth | None = None
) -> StepEstimate:
    """Run one row forward, at `depth` (default: the model's), and add up the storages that are kept
    for its backward.

    Exact for what eager autograd keeps; compiled nets keep less. Weights, which all rows share, are
    not counted.
    """
    shared = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shared |= {b.untyped_storage().data_ptr() for b in model.buffers()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in shared:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # Two sizes, so that what does not grow with the batch (weights cast to bfloat16) drops out.
    totals = []
    for rows in (1, 3):
        kept.clear()
        batch = Batch(*(t[:1].repeat(rows, *[1] * (t.ndim - 1)) for t in row.tensors))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            carry, output = act_step(model, initial_carry(model, batch), batch, depth=depth)
            loss, _, _ = act_loss(loss_type, carry, output)
        totals.append(sum(kept.values()))
        del loss, output, carry
    return StepEstimate(max((totals[1] - totals[0]) // 2, 0), free_memory(row.inputs.device))
