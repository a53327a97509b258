"""The published baseline without recursion: one deep net, one pass per supervision step."""

from __future__ import annotations

from torch import Tensor

from trm.model.base import Depth, RecursiveModel, State


class TransformerBaseline(RecursiveModel):
    states = ("H",)
    options = ("mlp_t",)
    halts_against_continue = True
    learns_continue = False

    def build_nets(self) -> None:
        self.H_level = self.make_net(self.config.H_layers)

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        (z_h,) = state
        return (self.H_level(z_h, x, self.rotary),)
