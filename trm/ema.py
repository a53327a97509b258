"""Exponential moving average of the parameters (not of buffers, nor of the puzzle embedding)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """shadow ← rate·shadow + (1 − rate)·parameter after each step."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.rate = rate
        self.shadow: dict[str, Tensor] = {
            name: p.detach().clone() for name, p in model.named_parameters()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        shadows = list(self.shadow.values())
        params = [p.detach() for p in model.parameters()]
        torch._foreach_mul_(shadows, self.rate)
        torch._foreach_add_(shadows, torch._foreach_mul(params, 1 - self.rate))

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the block `model` has the averaged weights; its own return afterwards.

        The tensors are exchanged, not copied: no second model is in memory.
        """
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    def _exchange(self, model: nn.Module) -> None:
        for name, p in model.named_parameters():
            p.data, self.shadow[name] = self.shadow[name], p.data
