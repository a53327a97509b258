"""SE-RRM: a state for each symbol at each position, attention over both (arXiv 2603.02193)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.config.types import ModelConfig
from trm.model.base import Depth, Heads, RecursiveModel, State
from trm.model.draws import Draws
from trm.model.layers import (
    AnyBlock,
    Attention,
    Linear,
    Net,
    RotaryPositions,
    SwiGLU,
    at_least_fp32,
    attention_weights,
    rms_norm,
    truncated_normal_,
)

SPECIAL = 2  # tokens that are not symbols of a puzzle: padding, and a blank cell or a grid's end


def dropped_attention(q: Tensor, k: Tensor, v: Tensor, draws: Draws, dropout: float) -> Tensor:
    """softmax(q k^T / √d) v where each weight is dropped with probability `dropout`.

    q, k, v [B·A, h, S, d] for keys of B rows.
    """
    weights = attention_weights(q, k)
    each = weights.numel() // len(draws.keys)
    kept = draws.uniform((each,)).view(weights.shape) > 2 * dropout - 1
    return (weights * kept / (1 - dropout)).to(v.dtype) @ v


class SymbolBlock(AnyBlock):
    """h ← rms(h + mix(h)) for attention over positions, then attention over symbols, then SwiGLU.

    Rotary encodings are of positions only.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.eps, self.dropout = config.rms_norm_eps, config.dropout
        self.attn = Attention(dim, config.num_heads, config.head_dim)
        self.attn_t = Attention(dim, config.num_heads_t, config.head_dim_t)
        self.mlp = SwiGLU(dim, config.expansion)

    def forward(
        self, h: Tensor, rotary: RotaryPositions | None, keys: Tensor | None
    ) -> Tensor:  # [B, V, S, D] -> the same
        draws = None if keys is None else Draws(keys)
        h = rms_norm(h + self._mix(self.attn, h, rotary, draws), self.eps)
        over_symbols = self._mix(self.attn_t, h.transpose(1, 2), None, draws).transpose(1, 2)
        h = rms_norm(h + over_symbols, self.eps)
        return rms_norm(h + self.mlp(h), self.eps)

    def _mix(
        self, attention: Attention, h: Tensor, rotary: RotaryPositions | None, draws: Draws | None
    ) -> Tensor:
        """Attention over the last axis but one."""
        attend = None
        if draws is not None:
            attend = partial(dropped_attention, draws=draws, dropout=self.dropout)
        return attention(h.flatten(0, 1), rotary, attend).view(h.shape)


class SymbolNet(Net):
    """net(h, x) = blocks(h + x); `keys` [B] are of the rows, for dropout."""

    def forward(
        self, h: Tensor, inject: Tensor, rotary: RotaryPositions | None, keys: Tensor | None
    ) -> Tensor:  # [B, V, S, D]
        draws = None if keys is None else Draws(keys)
        h = h + inject
        for block in self.layers:
            h = block(h, rotary, None if draws is None else draws.keys_for_next())
        return h


class SERRM(RecursiveModel):
    """One state z [B, V, S + add_tokens, D]; T·n passes, of which the last n are differentiated.

    With `equivariant_symbols` all tokens but the special ones are treated alike: a permutation of
    them in the question permutes the answer. There is no halting head. How likely an answer is
    right is the probability of its least certain cell, and in training rows halt by chance.
    """

    states = ("Z",)
    options = (
        "num_heads_t",
        "head_dim",
        "head_dim_t",
        "add_tokens",
        "dropout",
        "equivariant_symbols",
        "rope2d",
        "puzzle_emb_added",
    )
    halts_by_chance = True
    learns_continue = False

    def build_ends(self) -> None:
        c = self.config
        if c.equivariant_symbols:
            self.embed_special_tokens = self._vectors(SPECIAL, 1)
            self.embed_symbol_tokens = self._vectors(1, 1)
            self.lm_head = Linear(c.hidden_size, 1)
        else:
            self.embed_symbols = self._vectors(c.vocab_size, 1)
            self.lm_head = Linear(c.vocab_size * c.hidden_size, c.vocab_size)
        if c.add_tokens > 0:
            if c.equivariant_symbols:
                self.add_tokens_special = self._vectors(SPECIAL, c.add_tokens)
            self.add_tokens = self._vectors(
                1 if c.equivariant_symbols else c.vocab_size, c.add_tokens
            )

    def build_positions(self) -> None:
        if self.config.pos_encodings == "learned":
            self.pos_embedding = self._vectors(1, self.config.seq_len)
        else:
            super().build_positions()

    def build_nets(self) -> None:
        self.L_level = SymbolNet([SymbolBlock(self.config) for _ in range(self.config.L_layers)])

    def _vectors(self, symbols: int, positions: int) -> nn.Parameter:
        shape = (1, symbols, positions, self.config.hidden_size)
        return nn.Parameter(truncated_normal_(torch.empty(shape), 1.0))

    @property
    def rotated_positions(self) -> int:
        return self.config.seq_len

    @property
    def puzzle_emb_width(self) -> int:
        """D numbers for all symbols and positions, and one for each symbol."""
        return self.config.hidden_size + self.config.vocab_size

    @property
    def draws(self) -> bool:
        return self.config.dropout > 0

    def initial_state(self, batch_size: int, keys: Tensor | None = None) -> State:
        c = self.config
        shape = (batch_size, c.vocab_size, c.seq_len + c.add_tokens, c.hidden_size)
        z = self.Z_init.expand(shape)
        return (z,) if keys is None else (z, keys)

    def embed(self, inputs: Tensor, puzzle_rows: Tensor | None) -> Tensor:
        """x [B, V, S + add_tokens, D]: √V times a token's vector where it is, else 0; learned
        positions and the puzzle's embedding are added everywhere, further positions at the end."""
        c = self.config
        where = F.one_hot(inputs.long(), c.vocab_size).to(self.dtype)  # [B, S, V]
        # The published code takes the root in fp32, whatever the type of the activations.
        scale = torch.tensor(float(c.vocab_size)).sqrt().to(self.dtype).item()
        x = (where.transpose(1, 2) * scale).unsqueeze(-1) * self._tokens()
        if c.pos_encodings == "learned":
            x = x + self.pos_embedding.to(self.dtype)
        if puzzle_rows is not None:
            rows = puzzle_rows.to(self.dtype)
            of_all, of_symbols = rows.split([c.hidden_size, c.vocab_size], dim=1)
            x = x + of_symbols[:, :, None, None] + of_all[:, None, None, :]
        if c.add_tokens > 0:
            x = torch.cat((x, self._further().expand(len(x), -1, -1, -1)), dim=2)
        return x

    def _tokens(self) -> Tensor:  # [1, V, 1, D]
        if not self.config.equivariant_symbols:
            return self.embed_symbols.to(self.dtype)
        return self._shared(self.embed_special_tokens, self.embed_symbol_tokens)

    def _further(self) -> Tensor:  # [1, V, add_tokens, D]
        if not self.config.equivariant_symbols:
            return self.add_tokens.to(self.dtype)
        return self._shared(self.add_tokens_special, self.add_tokens)

    def _shared(self, special: Tensor, symbol: Tensor) -> Tensor:
        """[1, SPECIAL, K, D] and [1, 1, K, D] -> [1, V, K, D]."""
        symbols = symbol.expand(-1, self.config.vocab_size - SPECIAL, -1, -1)
        return torch.cat((special, symbols), dim=1).to(self.dtype)

    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        z, *keys = state
        cycles, n = depth
        draws = Draws(keys[0]) if keys else None
        with torch.no_grad():
            z = self.passes(z, x, (cycles - 1) * n, draws)
        z = self.passes(z, x, n, draws)
        return (z,) if draws is None else (z, draws.next_keys())

    def passes(self, z: Tensor, x: Tensor, times: int, draws: Draws | None) -> Tensor:
        """`times` times z ← net(z, x)."""
        for _ in range(times):
            z = self.L_level(z, x, self.rotary, None if draws is None else draws.keys_for_next())
        return z

    def read(self, answer: Tensor) -> Heads:
        z = answer[:, :, : self.config.seq_len].transpose(1, 2)  # [B, S, V, D]
        if self.config.equivariant_symbols:
            logits = self.lm_head(z).squeeze(-1)
        else:
            logits = self.lm_head(z.flatten(2))
        with torch.no_grad():
            cells = torch.softmax(at_least_fp32(logits), dim=-1).amax(-1)  # [B, S]
            sure = cells.amin(-1).clamp(0, 1)
        return logits, sure, torch.zeros_like(sure)

    def certainty(self, q_halt: Tensor) -> Tensor:
        return torch.logit(q_halt, eps=1e-6)
