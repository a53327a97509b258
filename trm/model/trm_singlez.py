"""TRM with a single state: z holds both latent and answer (arXiv 2510.04871, table 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import RecursiveModel, State


class SingleStateTRM(RecursiveModel):
    states = ("L",)
    options = ("puzzle_emb_len",)

    def build_nets(self) -> None:
        self.L_level = self.make_net(self.config.L_layers)

    def cycle(self, z: Tensor, x: Tensor) -> Tensor:
        """n times z ← net(z + x), then z ← net(z)."""
        for _ in range(self.config.L_cycles):
            z = self.L_level(z, x, self.rotary)
        return self.L_level(z, None, self.rotary)

    def recurse(self, state: State, x: Tensor) -> State:
        (z,) = state
        with torch.no_grad():
            for _ in range(self.config.H_cycles - 1):
                z = self.cycle(z, x)
        return (self.cycle(z, x),)
