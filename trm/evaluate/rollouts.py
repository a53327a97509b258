"""Rollouts: supervision steps from start states, and with noise, that follow from a key.

What is drawn depends on the example and the number of the rollout only: not on the batch that it is
in, nor on the number of processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from trm.data.batches import Rows
from trm.errors import TrmError
from trm.model.act import Batch, StepOutput, act_step, initial_carry, to_batch, wants_to_halt
from trm.model.base import RecursiveModel, State
from trm.model.draws import KEYS, Draws, hashed
from trm.puzzles.kind import BoardKind
from trm.puzzles.views import Views
from trm.scoring.choices import Rollouts
from trm.study.search import Search

RECENT = 3  # steps that the residual is the mean of


def keys_of_rollouts(seed: int, examples: Tensor, rollouts: Tensor) -> Tensor:
    """Keys int64 [R] of the rollouts [R], numbered from 0, of the examples [R]."""
    low, high = (torch.tensor(part) for part in (seed % KEYS, seed // KEYS))
    of_seed = hashed(hashed(low) ^ high)
    return hashed(hashed(hashed(of_seed ^ examples) ^ 1) ^ rollouts)


@dataclass(frozen=True)
class Searcher:
    """What rolls out puzzles: a model in evaluation mode, the settings, and the views."""

    model: RecursiveModel
    search: Search
    views: Views
    device: torch.device
    rows_at_once: int

    def __post_init__(self) -> None:
        """TrmError where noise is asked for on states that the architecture does not have."""
        self.search.refuse_other_states(self.model.config.architecture)

    @property
    def steps(self) -> int:
        """D, the supervision steps of a rollout."""
        return self.search.steps or self.model.config.halt_max_steps

    @property
    def examples_at_once(self) -> int:
        """Examples whose rollouts fill a batch; at least one."""
        return max(1, self.rows_at_once // self.search.rollouts)

    def roll_out(self, rows: Rows, examples: np.ndarray) -> Iterator[Rollouts]:
        """The rollouts of each of n puzzles, whose numbers `examples` [n] are what is drawn by.

        At most `rows_at_once` rollouts are on the device at a time.
        """
        count, size = self.search.rollouts, self.rows_at_once
        numbers = np.tile(np.arange(count), len(examples))
        view = numbers % len(self.views)
        places = np.repeat(np.arange(len(examples)), count)
        viewed = self.views.apply(rows.inputs[places], view)
        keys = keys_of_rollouts(
            self.search.seed, torch.from_numpy(examples[places]), torch.from_numpy(numbers)
        )
        parts = []
        for start in range(0, len(places), size):
            # A last batch of another size would cost a GPU a plan of its kernels.
            part = np.minimum(np.arange(start, start + size), len(places) - 1)
            taken = Rows(viewed[part], viewed[part], rows.puzzle_identifiers[places[part]])
            reached = _roll_out(self, to_batch(taken, self.device), keys[part].to(self.device))
            parts.append(reached[: min(size, len(places) - start)])
        everything = _joined(parts)
        if not np.isfinite(everything.q_halt).all():
            raise TrmError("the halting logits are not finite: the weights have diverged")
        everything = replace(
            everything,
            answers=self.views.undo(everything.answers, view),
            answers_at_halt=self.views.undo(everything.answers_at_halt, view),
        )
        for start in range(0, len(places), count):
            yield everything[start : start + count]


def _joined(parts: list[Rollouts]) -> Rollouts:
    names = [field.name for field in fields(Rollouts) if field.name != "valid"]
    return Rollouts(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def _roll_out(searcher: Searcher, batch: Batch, keys: Tensor) -> Rollouts:
    """A batch of rollouts with the keys [R], as if they were of one puzzle; in their views."""
    model, search = searcher.model, searcher.search
    draws = Draws(hashed(hashed(keys)))  # apart from those of the start, and of the model's own
    carry = initial_carry(model, batch)
    if search.start == "random":
        carry = replace(carry, state=_random_state(model, keys))
    carry = replace(carry, halted=torch.zeros_like(carry.halted))  # their states are given
    halts = _Halts(searcher, batch)
    changes: deque[Tensor] = deque(maxlen=RECENT)
    before: Tensor | None = None
    for step in range(1, searcher.steps + 1):
        carry = replace(carry, state=_with_noise(carry.state, search, draws))
        draws = Draws(draws.next_keys())
        carry, output = act_step(model, carry, batch)
        # More steps than in training do not begin a new puzzle.
        carry = replace(carry, halted=torch.zeros_like(carry.halted))
        logits = output.logits.float()
        if before is not None:
            changes.append((logits - before).norm(dim=-1).mean(-1))
        before = logits
        halts.note(step, output)
    return halts.result(torch.stack([*changes]).mean(0) if changes else torch.zeros(len(keys)))


class _Halts:
    """The answers [R, S] of R rollouts: the latest, and that after the step at which each halts."""

    def __init__(self, searcher: Searcher, batch: Batch) -> None:
        self.model, self.steps = searcher.model, searcher.steps
        self.threshold = searcher.search.halting_threshold
        rollouts, device = len(batch.inputs), batch.inputs.device
        self.answers = torch.zeros_like(batch.inputs, dtype=torch.uint8)
        self.answers_at_halt = self.answers
        self.q_halt = self.q_at_halt = torch.zeros(rollouts, device=device)
        self.halted_at = torch.full((rollouts,), self.steps + 1, dtype=torch.int32, device=device)

    def note(self, step: int, output: StepOutput) -> None:
        running = self.halted_at > self.steps
        self.answers = output.logits.argmax(-1).to(torch.uint8)
        self.q_halt = output.certainty.float()
        self.answers_at_halt = torch.where(running[:, None], self.answers, self.answers_at_halt)
        self.q_at_halt = torch.where(running, self.q_halt, self.q_at_halt)
        lead = output.certainty - self.threshold
        halts = running & wants_to_halt(self.model, lead, output.q_continue)
        self.halted_at = torch.where(halts, step, self.halted_at)

    def result(self, residuals: Tensor) -> Rollouts:
        values = (self.answers, self.q_halt, residuals)
        at_halt = (self.halted_at, self.answers_at_halt, self.q_at_halt)
        return Rollouts(*(value.cpu().numpy() for value in values + at_halt))


def latents_of(state: State) -> list[tuple[str, Tensor]]:
    """The latents of a state by their names here: z_H, then z_L as often as there are more."""
    first, *others = (s for s in state if s.is_floating_point())
    return [("z_H", first), *(("z_L", other) for other in others)]


def _random_state(model: RecursiveModel, keys: Tensor) -> State:
    """The draw of a model whose starts are random; of others truncated normals of deviation 1, each
    position on its own, in place of the fixed vectors."""
    state, draws = model.initial_state(len(keys), keys), Draws(keys)
    if not model.states:
        return state
    drawn = [draws.truncated_normal(s.shape[1:]).to(s.dtype) for _, s in latents_of(state)]
    return (*drawn, *state[len(drawn) :])


def _with_noise(state: State, search: Search, draws: Draws) -> State:
    """Each latent that `search` names, with noise added."""
    if search.noise == 0:
        return state
    noisy = [
        s + (search.noise * draws.normal(s.shape[1:])).to(s.dtype) if name in search.on else s
        for name, s in latents_of(state)
    ]
    return (*noisy, *state[len(noisy) :])


def checked_by_rules(rollouts: Rollouts, kind: BoardKind, question: np.ndarray) -> Rollouts:
    """The same, with which answers are valid, by the rules of the kind, for the question of tokens
    [rows, columns]; equal answers are checked once. Unchanged for a kind without rules."""
    if not kind.valid_name:
        return rollouts
    distinct, which = np.unique(rollouts.answers, axis=0, return_inverse=True)
    valid = [bool(kind.is_valid(question, a.reshape(question.shape))) for a in distinct]
    return replace(rollouts, valid=np.array(valid)[which.reshape(-1)])
