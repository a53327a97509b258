"""HRM: two nets at two rates, a gradient through the last update of each (arXiv 2506.21734)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import Depth, RecursiveModel, State


class HRM(RecursiveModel):
    states = ("H", "L")
    options = ("mlp_t",)  # the published code predates puzzle_emb_len and ignores it
    halts_against_continue = True
    learns_continue = True

    def build_nets(self) -> None:
        self.H_level = self.make_net(self.config.H_layers)
        self.L_level = self.make_net(self.config.L_layers)

    def refine(self, z_l: Tensor, inject: Tensor, times: int) -> Tensor:
        """`times` times z_L ← net(z_L, inject), where inject = z_H + x is the same in a cycle."""
        for _ in range(times):
            z_l = self.L_level(z_l, inject, self.rotary)
        return z_l

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        z_h, z_l = state
        cycles, steps = depth
        with torch.no_grad():
            for _ in range(cycles - 1):
                z_l = self.refine(z_l, z_h + x, steps)
                z_h = self.H_level(z_h, z_l, self.rotary)
            z_l = self.refine(z_l, z_h + x, steps - 1)
        # The 1-step gradient: only the very last update of each state is differentiated.
        z_l = self.L_level(z_l, z_h + x, self.rotary)
        z_h = self.H_level(z_h, z_l, self.rotary)
        return z_h, z_l
