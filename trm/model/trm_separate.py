"""TRM with one net for z and another for y (arXiv 2510.04871, table 1: separate f_H and f_L)."""

from __future__ import annotations

from trm.model.layers import Net
from trm.model.trm import TRM


class SeparateTRM(TRM):
    options = ("depth_schedule", "one_step_gradient", "puzzle_emb_len", "mlp_t")

    def build_nets(self) -> None:
        super().build_nets()
        self.H_level = self.make_net(self.config.L_layers)

    @property
    def answer_net(self) -> Net:
        return self.H_level
