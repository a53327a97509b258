"""TRM with several latents that compete in training: the winner takes all (arXiv 2601.19085)."""

from __future__ import annotations

import torch
from torch import Tensor

from trm.model.base import Depth, Heads, State
from trm.model.loss import LOSSES
from trm.model.trm import TRM


class CompetingTRM(TRM):
    """In training K = num_chains latents z, each from a start of its own, are refined beside one y.

    The chain whose answer has the least loss wins a row's supervision step: its answer is what is
    learned from, and its y is that of all chains in the next step. In evaluation there is the first
    chain alone, so that it is TRM's.
    """

    options = (
        "depth_schedule",
        "one_step_gradient",
        "puzzle_emb_len",
        "mlp_t",
        "bounded_glu",
        "num_chains",
    )
    learns_continue = False

    @property
    def states(self) -> tuple[str, ...]:
        return "H", "L", *(f"L{chain}" for chain in range(2, self.config.num_chains + 1))

    def initial_state(self, batch_size: int, keys: Tensor | None = None) -> State:
        y, *latents = super().initial_state(batch_size, keys)
        return (y, *latents) if self.training else (y, latents[0])

    def forward(
        self,
        state: State,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        depth: Depth | None = None,
        labels: Tensor | None = None,
    ) -> tuple[State, Heads]:
        if not self.training:
            return super().forward(state, inputs, puzzle_rows, depth)
        assert labels is not None
        y, *latents = state
        chains, rows = len(latents), len(y)
        if puzzle_rows is not None:
            puzzle_rows = puzzle_rows.repeat(chains, 1)
        together = y.repeat(chains, 1, 1), torch.cat(latents)  # [K·B, prefix + S, D]
        (ys, zs), heads = super().forward(together, inputs.repeat(chains, 1), puzzle_rows, depth)
        winners = self.winners(heads[0], labels) * rows + torch.arange(rows, device=y.device)
        logits, q_halt, q_continue = (head[winners] for head in heads)
        return (ys[winners], *zs.split(rows)), (logits, q_halt, q_continue)

    @torch.no_grad()
    def winners(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The chain [B] with the least loss, the first of several; logits [K·B, S, vocab], chain by
        chain, and labels [B, S]."""
        loss, chains = self.config.loss, len(logits) // len(labels)
        losses = LOSSES[loss.loss_type](logits, labels.repeat(chains, 1), loss.label_smoothing)
        return losses.sum(-1).view(chains, -1).argmin(0)
