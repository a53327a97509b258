"""TRM: one net refines a latent z, then the answer y (arXiv 2510.04871, figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import RecursiveModel, State


class TRM(RecursiveModel):
    """States (y, z) = (z_H, z_L); T = H_cycles, n = L_cycles."""

    states = ("H", "L")

    def build_nets(self) -> None:
        self.L_level = self.make_net(self.config.L_layers)

    def cycle(self, y: Tensor, z: Tensor, x: Tensor) -> State:
        """n times z ← net(z, y + x), then y ← net(y, z)."""
        for _ in range(self.config.L_cycles):
            z = self.L_level(z, y + x, self.rotary)
        y = self.L_level(y, z, self.rotary)
        return y, z

    def recurse(self, state: State, x: Tensor) -> State:
        y, z = state
        with torch.no_grad():
            for _ in range(self.config.H_cycles - 1):
                y, z = self.cycle(y, z, x)
        return self.cycle(y, z, x)
