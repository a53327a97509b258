"""Exponential moving average of the parameters (not of buffers, nor of the puzzle embedding)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """shadow ← rate·shadow + (1 − rate)·parameter after each step; shadow ← parameter until step
    `start`.

    With `warmup` the rate after step t is at most (1 + t) / (10 + t), so that the first weights,
    which are noise, are soon forgotten (the schedule of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, model: nn.Module, rate: float, warmup: bool = False, start: int = 0) -> None:
        self.rate, self.warmup, self.start = rate, warmup, start
        self.shadow: dict[str, Tensor] = {
            name: p.detach().clone() for name, p in model.named_parameters()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after `step` (from 1)."""
        rate = self._rate_at(step)
        shadows = list(self.shadow.values())
        params = [p.detach() for p in model.parameters()]
        torch._foreach_mul_(shadows, rate)
        torch._foreach_add_(shadows, torch._foreach_mul(params, 1 - rate))

    def _rate_at(self, step: int) -> float:
        if step <= self.start:
            return 0.0
        return min(self.rate, (1 + step) / (10 + step)) if self.warmup else self.rate

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
