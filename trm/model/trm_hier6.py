"""TRM with six latents updated in turn (arXiv 2510.04871, table 2: multi-scale z)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import Depth, RecursiveModel, State

LATENTS = 6


class SixLatentTRM(RecursiveModel):
    states = ("H", *(f"L{i}" for i in range(1, LATENTS + 1)))
    options = ("puzzle_emb_len", "mlp_t")

    def build_nets(self) -> None:
        self.L_level = self.make_net(self.config.L_layers)

    def cycle(
        self, y: Tensor, latents: list[Tensor], x: Tensor, n: int
    ) -> tuple[Tensor, list[Tensor]]:
        """n times, the latents in turn: z_i ← net(Σ z, y + x); then y ← net(y, Σ z)."""
        latents, inject = list(latents), y + x
        for step in range(n):
            latents[step % LATENTS] = self.L_level(sum(latents), inject, self.rotary)
        return self.L_level(y, sum(latents), self.rotary), latents

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        y, *latents = state
        cycles, n = depth
        with torch.no_grad():
            for _ in range(cycles - 1):
                y, latents = self.cycle(y, latents, x, n)
        y, latents = self.cycle(y, latents, x, n)
        return (y, *latents)
