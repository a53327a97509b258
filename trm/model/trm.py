"""TRM: one net refines a latent z, then the answer y (arXiv 2510.04871, figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import Depth, RecursiveModel, State
from trm.model.layers import Net


class TRM(RecursiveModel):
    """States (y, z) = (z_H, z_L); T = H_cycles, n = L_cycles."""

    states = ("H", "L")
    options = ("depth_schedule", "one_step_gradient", "puzzle_emb_len", "mlp_t", "bounded_glu")

    def build_nets(self) -> None:
        self.L_level = self.make_net(self.config.L_layers)

    @property
    def answer_net(self) -> Net:
        """The net that updates y: the one that updates z (paper, section 4.3)."""
        return self.L_level

    def cycle(self, y: Tensor, z: Tensor, x: Tensor, n: int) -> State:
        """n times z ← net(z, y + x), then y ← net(y, z)."""
        z = self.refine(z, y + x, n)
        return self.answer_net(y, z, self.rotary), z

    def refine(self, z: Tensor, inject: Tensor, times: int) -> Tensor:
        """`times` times z ← net(z, inject), where inject = y + x is the same in a cycle."""
        for _ in range(times):
            z = self.L_level(z, inject, self.rotary)
        return z

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        y, z = state
        cycles, n = depth
        with torch.no_grad():
            for _ in range(cycles - 1):
                y, z = self.cycle(y, z, x, n)
        if not self.config.one_step_gradient:
            return self.cycle(y, z, x, n)
        # The ablation (paper, table 1): HRM's gradient, through the last update of each state.
        with torch.no_grad():
            z = self.refine(z, y + x, n - 1)
        return self.cycle(y, z, x, 1)
