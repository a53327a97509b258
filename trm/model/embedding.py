"""The puzzle embedding: one row per puzzle identifier, of which a step touches only a few."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PuzzleEmbedding(nn.Module):
    """A table [num_identifiers, dim] of zeros at the start, kept outside autograd.

    The table has up to a million rows, so a dense gradient is out of the question. A training
    step takes its rows as a leaf (`rows`); `trm.training.optim.SignSGD` applies their gradients.
    """

    weights: Tensor

    def __init__(self, num_identifiers: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_identifiers, dim))

    def rows(self, identifiers: Tensor, requires_grad: bool) -> Tensor:
        """Rows [B, dim] as the table has them; with `requires_grad` a leaf with a gradient."""
        rows = self.weights[identifiers.long()]
        return rows.requires_grad_() if requires_grad else rows
