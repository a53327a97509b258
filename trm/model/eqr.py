"""EqR: TRM with damped, noisy updates from random starts (arXiv 2605.21488)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import Depth, RecursiveModel, State
from trm.model.draws import Draws


class EqR(RecursiveModel):
    """States (y, z) = (z_H, z_L), which start at random, each position on its own, and the rows'
    keys; λ = lambda_, β = noise_scale."""

    states = ()
    options = (
        "depth_schedule",
        "mlp_t",
        "puzzle_emb_len",
        "lambda_",
        "noise_scale",
        "H_init_std",
        "L_init_std",
    )
    learns_continue = False

    def build_nets(self) -> None:
        self.L_level = self.make_net(self.config.L_layers)

    @property
    def draws(self) -> bool:
        return True

    def initial_state(self, batch_size: int, keys: Tensor | None = None) -> State:
        assert keys is not None
        draws, shape = Draws(keys), (self.length, self.config.hidden_size)
        deviations = self.config.H_init_std, self.config.L_init_std
        y, z = ((std * draws.truncated_normal(shape)).to(self.dtype) for std in deviations)
        return y, z, draws.next_keys()

    def update(self, s: Tensor, inject: Tensor, draws: Draws) -> Tensor:
        """(1 − λ)·s + λ·net(s, inject) + β·noise."""
        c = self.config
        s = (1 - c.lambda_) * s + c.lambda_ * self.L_level(s, inject, self.rotary)
        if c.noise_scale == 0:
            return s
        noise = c.noise_scale * draws.normal((self.length, c.hidden_size))
        return s + (noise.transpose(0, 1) if self.positions_first else noise).to(s.dtype)

    def cycle(self, y: Tensor, z: Tensor, x: Tensor, n: int, draws: Draws) -> State:
        """n times an update of z with y + x, then one of y with z."""
        inject = y + x
        for _ in range(n):
            z = self.update(z, inject, draws)
        return self.update(y, z, draws), z

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        y, z, keys = state
        cycles, n = depth
        draws = Draws(keys)
        with torch.no_grad():
            for _ in range(cycles - 1):
                y, z = self.cycle(y, z, x, n, draws)
        y, z = self.cycle(y, z, x, n, draws)
        return y, z, draws.next_keys()
