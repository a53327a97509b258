"""URM: one state, four blocks, and a convolution within each SwiGLU (arXiv 2512.14693)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.model.base import Depth, RecursiveModel, State
from trm.model.layers import Block, SwiGLU, gated


class PairConvolution(nn.Module):
    """A convolution over positions for each number of a token: it sees itself and the token before.

    Weights and biases start uniform within ±1/√2.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        bound = 2**-0.5
        self.weight = nn.Parameter(torch.empty(dim, 1, 2).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(dim).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:  # [B, S, I] -> the same
        before, own = self.weight.to(x.dtype).squeeze(1).unbind(1)  # [I] each
        shifted = F.pad(x[:, :-1], (0, 0, 1, 0))
        return shifted * before + x * own + self.bias.to(x.dtype)


class ConvSwiGLU(SwiGLU):
    """W_down(silu(conv(silu(W_gate x) · W_up x)))."""

    def __init__(self, dim: int, expansion: float) -> None:
        super().__init__(dim, expansion)
        self.dwconv = PairConvolution(self.down_proj.weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:  # [B, S, D] -> [B, S, D]
        return self.down_proj(F.silu(self.dwconv(gated(self.gate_up_proj(x)))))


class ConvBlock(Block):
    """h ← rms(h + attention(h)); h ← rms(h + convswiglu(h))."""

    def make_mlp(self, dim: int, expansion: float) -> SwiGLU:
        return ConvSwiGLU(dim, expansion)


class URM(RecursiveModel):
    """One state h; T·n passes in a supervision step, of which the last n are differentiated."""

    states = ("hidden",)
    start_name = "init_{}"
    options = ()
    learns_continue = False

    def build_nets(self) -> None:
        c = self.config
        self.layers = nn.ModuleList(
            ConvBlock(c.hidden_size, self.length, c.num_heads, c.expansion, False, c.rms_norm_eps)
            for _ in range(c.L_layers)
        )

    def passes(self, h: Tensor, x: Tensor, times: int) -> Tensor:
        """`times` times h ← blocks(h + x)."""
        for _ in range(times):
            h = h + x
            for block in self.layers:
                h = block(h, self.rotary)
        return h

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        (h,) = state
        cycles, n = depth
        with torch.no_grad():
            h = self.passes(h, x, (cycles - 1) * n)
        return (self.passes(h, x, n),)
