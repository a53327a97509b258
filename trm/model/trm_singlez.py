"""TRM with a single state: z holds both latent and answer (arXiv 2510.04871, table 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import Depth, RecursiveModel, State


class SingleStateTRM(RecursiveModel):
    states = ("L",)
    options = ("puzzle_emb_len", "mlp_t")

    def build_nets(self) -> None:
        self.L_level = self.make_net(self.config.L_layers)

    def cycle(self, z: Tensor, x: Tensor, n: int) -> Tensor:
        """n times z ← net(z + x), then z ← net(z)."""
        for _ in range(n):
            z = self.L_level(z, x, self.rotary)
        return self.L_level(z, None, self.rotary)

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        (z,) = state
        cycles, n = depth
        with torch.no_grad():
            for _ in range(cycles - 1):
                # Compiled code is one graph more for an x that wants a gradient.
                z = self.cycle(z, x.detach(), n)
        return (self.cycle(z, x, n),)
