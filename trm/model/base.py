"""What the architectures share: embedded question in, recursion, answer and halting logits out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.config.types import ModelConfig
from trm.model.embedding import PuzzleEmbedding
from trm.model.layers import (
    Block,
    BoundedBlock,
    Embedding,
    Linear,
    Net,
    RotaryGrid,
    RotaryPositions,
    at_least_fp32,
    truncated_normal_,
)

State = tuple[Tensor, ...]
"""The recursion's states, each [B, prefix + S, D]: for TRM (y, z), written (z_H, z_L) in code."""

ROTARY = {"rope": RotaryPositions, "rope2d": RotaryGrid}
"""Rotary encodings by the name in `pos_encodings`."""

Heads = tuple[Tensor, Tensor, Tensor]
"""(logits [B, S, vocab], q_halt [B], q_continue [B])."""


class Depth(NamedTuple):
    """How far a supervision step recurses: T = H_cycles, n = L_cycles."""

    H_cycles: int
    L_cycles: int


def _positions_first(x: Tensor) -> Tensor:  # [B, S, D] -> [S, B, D]; keys [B] stay
    return x.transpose(0, 1).contiguous() if x.ndim == 3 else x


class RecursiveModel(nn.Module, ABC):
    """An architecture is the names of its states, its nets, and how one step recurses over them.

    Each is the one class of a module whose name is the architecture's, `arch=NAME`.
    Attribute names are those of the published state dicts, so that checkpoints are exchanged
    without translation beyond the prefix `model.inner.`.
    """

    states: ClassVar[tuple[str, ...]]
    """Names of the states that start from a fixed vector."""
    start_name: ClassVar[str] = "{}_init"
    """Name of that vector, by the state's."""
    options: ClassVar[tuple[str, ...]]
    """What not every architecture has: `depth_schedule`; settings of `arch`, such as `mlp_t` and
    `puzzle_emb_len`; `rope2d` of its `pos_encodings`; and `puzzle_emb_added`, a puzzle embedding
    that takes no positions. Each class writes them out, as `trm.config.architectures` reads them
    from the source."""
    halts_by_chance: ClassVar[bool] = False
    """Whether a row halts early, in training, with probability `halt_exploration_prob` and for no
    other reason."""
    halts_against_continue: ClassVar[bool] = False
    """Whether a row halts on q_halt > q_continue whatever `no_ACT_continue` says."""
    learns_continue: ClassVar[bool | None] = None
    """Whether q_continue has a target; None follows `no_ACT_continue`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.dtype = getattr(torch, config.forward_dtype)
        self.weight_dtype = torch.promote_types(self.dtype, torch.float32)
        self.prefix_len = config.prefix_len
        self.length = config.seq_len + self.prefix_len
        self.rotary: RotaryPositions | None = None
        self.positions_first = False

        self.build_ends()
        if config.puzzle_emb_ndim > 0:
            self.puzzle_emb = PuzzleEmbedding(config.num_puzzle_identifiers, self.puzzle_emb_width)
        self.build_positions()
        self.build_nets()
        for name in self.states:
            start = truncated_normal_(torch.empty(config.hidden_size), 1.0).to(self.dtype)
            self.register_buffer(self.start_name.format(name), start)
        if self.dtype == torch.float64:
            self.double()  # drawn in fp32, so that every type starts from the same numbers

    def build_ends(self) -> None:
        """Create what embeds the tokens and what reads the answer, under their published names."""
        dim = self.config.hidden_size
        self.embed_tokens = Embedding(self.config.vocab_size, dim, self.dtype)
        self.lm_head = Linear(dim, self.config.vocab_size)
        self.q_head = Linear(dim, 2, bias=True)
        with torch.no_grad():
            # q_head starts at "do not halt", whatever it sees
            # (docs/specification.md#initial-weights).
            self.q_head.weight.zero_()
            self.q_head.bias.fill_(-5)

    def build_positions(self) -> None:
        """Create what encodes positions."""
        c = self.config
        if c.pos_encodings in ROTARY:
            rotary = ROTARY[c.pos_encodings]
            self.rotary = rotary(
                c.width_of_heads, self.rotated_positions, c.rope_theta, self.weight_dtype
            )
        elif c.pos_encodings == "learned":
            self.embed_pos = Embedding(self.length, c.hidden_size, self.dtype)

    @property
    def rotated_positions(self) -> int:
        """How many positions rotary encodings rotate."""
        return self.length

    @property
    def puzzle_emb_width(self) -> int:
        """Numbers in the embedding of a puzzle, where there is one."""
        return self.config.puzzle_emb_ndim

    @property
    def draws(self) -> bool:
        """Whether chance has a say in its steps: its last state is then each row's key
        (trm.model.draws)."""
        return False

    @property
    def depth(self) -> Depth:
        """The depth of its configuration, which a step has unless it is given another."""
        return Depth(self.config.H_cycles, self.config.L_cycles)

    @abstractmethod
    def build_nets(self) -> None:
        """Create the nets under their published names (`L_level`, `H_level`)."""

    @abstractmethod
    def recurse(self, state: State, x: Tensor, depth: Depth) -> State:
        """One supervision step on states and embedded question x, each [B, prefix + S, D], or with
        `positions_first` [prefix + S, B, D].

        The first returned state is the one the answer is read from.
        """

    def make_net(self, num_layers: int) -> Net:
        c = self.config
        block = BoundedBlock if c.bounded_glu else Block
        return Net(
            [
                block(c.hidden_size, self.length, c.num_heads, c.expansion, c.mlp_t, c.rms_norm_eps)
                for _ in range(num_layers)
            ]
        )

    def initial_state(self, batch_size: int, keys: Tensor | None = None) -> State:
        """The states of rows that start. `keys` [B] are for a model that `draws`."""
        shape = (batch_size, self.length, self.config.hidden_size)
        return tuple(start.expand(shape) for start in self.starts)

    @property
    def starts(self) -> list[Tensor]:
        """The fixed vectors [D] that its states start from."""
        return [getattr(self, self.start_name.format(name)) for name in self.states]

    def puzzle_rows(self, identifiers: Tensor, requires_grad: bool = False) -> Tensor | None:
        """Embedding rows [B, puzzle_emb_width] for `forward`; None where there is no embedding."""
        if self.config.puzzle_emb_ndim == 0:
            return None
        return self.puzzle_emb.rows(identifiers, requires_grad)

    def embed(self, inputs: Tensor, puzzle_rows: Tensor | None) -> Tensor:
        """x = √D · (prefix, tokens [B, S]), with learned positions added where configured."""
        x = self.embed_tokens(inputs)
        if puzzle_rows is not None:
            width = self.prefix_len * self.config.hidden_size
            prefix = F.pad(puzzle_rows.to(self.dtype), (0, width - puzzle_rows.shape[-1]))
            prefix = prefix.view(-1, self.prefix_len, self.config.hidden_size)
            x = torch.cat((prefix, x), dim=1)  # [B, prefix + S, D]
        if self.config.pos_encodings == "learned":
            # Divided by √2 so that the sum keeps the variance of one embedding.
            x = (x + self.embed_pos.embedding_weight.to(self.dtype)) * math.sqrt(0.5)
        return x * math.sqrt(self.config.hidden_size)

    def forward(
        self,
        state: State,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        depth: Depth | None = None,
        labels: Tensor | None = None,
    ) -> tuple[State, Heads]:
        """One supervision step (of the model's own depth, unless another is given); the returned
        state is detached (docs/specification.md#recursion). `labels` [B, S] are for a model whose
        chains compete in training."""
        x = self.embed(inputs, puzzle_rows)
        if self.positions_first:  # copied once a step, so that no call of a net has to
            x, state = _positions_first(x), tuple(map(_positions_first, state))
        state = self.recurse(state, x, depth or self.depth)
        if self.positions_first:
            state = tuple(s.transpose(0, 1) if s.ndim == 3 else s for s in state)
        return tuple(s.detach() for s in state), self.read(state[0])

    def read(self, answer: Tensor) -> Heads:
        """What the heads make of the first state."""
        logits = self.lm_head(answer)[:, self.prefix_len :]
        q = at_least_fp32(self.q_head(answer[:, 0]))
        return logits, q[..., 0], q[..., 1]

    def certainty(self, q_halt: Tensor) -> Tensor:
        """The logit [B] of how likely the model takes its answers to be right."""
        return q_halt
