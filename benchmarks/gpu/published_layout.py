"""The network in the layout of the published code, written from docs/specification.md, to be timed
beside ours. [B, S, D] throughout; positions are mixed through a transposed copy; every weight is
cast where it is used; y + x is added in every update of z. Shapes: B rows, S positions, D width.

It shares no code with trm.model.layers, so that it stays as it is while our layers become faster.
`TRM` takes the weights of ours, and takes the place of ours in a training step.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.config.types import ModelConfig
from trm.model.base import Depth, Heads, State
from trm.model.embedding import PuzzleEmbedding


class Cast(nn.Module):
    """x W^T (+ b), with W cast to the type of x."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class GatedMLP(nn.Module):
    def __init__(self, dim: int, expansion: float) -> None:
        super().__init__()
        inner = -(-round(expansion * dim * 2 / 3) // 256) * 256
        self.gate_up_proj = Cast(dim, 2 * inner)
        self.down_proj = Cast(inner, dim)

    def forward(self, x: Tensor) -> Tensor:  # [..., dim] -> the same
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.qkv_proj = Cast(dim, 3 * heads * self.head_dim)
        self.o_proj = Cast(heads * self.head_dim, dim)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:  # [B, S, D]
        rows, length, _ = x.shape
        qkv = self.qkv_proj(x).view(rows, length, 3 * self.heads, self.head_dim)
        q, k, v = qkv.split(self.heads, dim=2)  # [B, S, h, d]
        if rotation is not None:
            q, k = rotated(q, *rotation), rotated(k, *rotation)
        out = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)))
        return self.o_proj(out.transpose(1, 2).reshape(rows, length, -1))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # [B, S, h, d], tables [S, 1, d]
    wide = x.to(cos.dtype)
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


def normalised(x: Tensor, eps: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        if config.mlp_t:
            self.mlp_t = GatedMLP(length, config.expansion)
        else:
            self.self_attn = SelfAttention(config.hidden_size, config.num_heads)
        self.mlp = GatedMLP(config.hidden_size, config.expansion)

    def forward(self, h: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:  # [B, S, D]
        if hasattr(self, "mlp_t"):
            h = h.transpose(1, 2)
            h = normalised(h + self.mlp_t(h), self.eps).transpose(1, 2)
        else:
            h = normalised(h + self.self_attn(h, rotation), self.eps)
        return normalised(h + self.mlp(h), self.eps)


class Layers(nn.Module):
    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, length) for _ in range(config.L_layers))

    def forward(self, h: Tensor, inject: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        h = h + inject
        for layer in self.layers:
            h = layer(h, rotation)
        return h


class TRM(nn.Module):
    """The architecture `trm` with a puzzle embedding, without learned positions."""

    halts_against_continue = halts_by_chance = draws = False
    learns_continue = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.dtype = config, getattr(torch, config.forward_dtype)
        dim, self.prefix = config.hidden_size, config.prefix_len
        self.length = config.seq_len + self.prefix
        self.embed_tokens = nn.Module()
        self.embed_tokens.embedding_weight = nn.Parameter(torch.empty(config.vocab_size, dim))
        self.lm_head = Cast(dim, config.vocab_size)
        self.q_head = Cast(dim, 2, bias=True)
        self.puzzle_emb = PuzzleEmbedding(config.num_puzzle_identifiers, config.puzzle_emb_ndim)
        self.L_level = Layers(config, self.length)
        self.register_buffer("H_init", torch.empty(dim, dtype=self.dtype))
        self.register_buffer("L_init", torch.empty(dim, dtype=self.dtype))
        wide = torch.promote_types(self.dtype, torch.float32)
        if self.dtype == torch.float64:
            self.double()
        self.rotates = config.pos_encodings == "rope"
        if self.rotates:
            head = dim // config.num_heads
            steps = torch.arange(0, head, 2, dtype=wide) / head
            angles = torch.arange(self.length, dtype=wide)[:, None] / config.rope_theta**steps
            angles = torch.cat((angles, angles), dim=-1)[:, None]  # [S, 1, head]
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)

    def initial_state(self, rows: int, keys: Tensor | None = None) -> State:
        shape = (rows, self.length, self.config.hidden_size)
        return self.H_init.expand(shape), self.L_init.expand(shape)

    def certainty(self, q_halt: Tensor) -> Tensor:
        return q_halt

    def puzzle_rows(self, identifiers: Tensor, requires_grad: bool = False) -> Tensor:
        return self.puzzle_emb.rows(identifiers, requires_grad)

    def forward(
        self,
        state: State,
        inputs: Tensor,
        puzzle_rows: Tensor,
        depth: Depth | None = None,
        labels: Tensor | None = None,
    ) -> tuple[State, Heads]:
        """One supervision step, as `trm.model.base.RecursiveModel`."""
        cycles, n = depth or Depth(self.config.H_cycles, self.config.L_cycles)
        dim = self.config.hidden_size
        tokens = F.embedding(inputs, self.embed_tokens.embedding_weight.to(self.dtype))
        prefix = puzzle_rows.to(self.dtype)
        prefix = F.pad(prefix, (0, self.prefix * dim - prefix.shape[-1])).view(-1, self.prefix, dim)
        x = math.sqrt(dim) * torch.cat((prefix, tokens), dim=1)
        rotation = (self.cos, self.sin) if self.rotates else None
        y, z = state
        with torch.no_grad():
            for _ in range(cycles - 1):
                y, z = self.cycle(y, z, x, n, rotation)
        y, z = self.cycle(y, z, x, n, rotation)
        logits = self.lm_head(y)[:, self.prefix :]
        q = self.q_head(y[:, 0]).to(torch.promote_types(self.dtype, torch.float32))
        return (y.detach(), z.detach()), (logits, q[..., 0], q[..., 1])

    def cycle(
        self, y: Tensor, z: Tensor, x: Tensor, n: int, rotation: tuple[Tensor, Tensor] | None
    ) -> State:
        for _ in range(n):
            z = self.L_level(z, y + x, rotation)
        return self.L_level(y, z, rotation), z
