"""Which of several rollouts of one puzzle is taken as its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Rollouts:
    """What K rollouts of one puzzle of S cells came to.

    A rollout that never halts counts as halting one step after its last, with its last answer.
    """

    answers: np.ndarray  # uint8 [K, S], after the last step
    q_halt: np.ndarray  # float32 [K], halting logits after the last step
    residuals: np.ndarray  # float32 [K], how much the logits still change
    halted_at: np.ndarray  # int32 [K], the first step after which it halts
    answers_at_halt: np.ndarray  # uint8 [K, S], after that step
    q_at_halt: np.ndarray  # float32 [K], the same
    valid: np.ndarray | None = None  # bool [K], by the puzzle's rules; None: there are none

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, rows: slice) -> Rollouts:
        values = (getattr(self, field.name) for field in fields(self))
        return Rollouts(*(None if value is None else value[rows] for value in values))


@dataclass(frozen=True)
class Chosen:
    """The answer that a choice takes."""

    answer: np.ndarray  # uint8 [S]
    q_halt: float  # halting logit of the rollout that gave it, after the same step


def best_halting_logit(rollouts: Rollouts) -> Chosen:
    """The answer with the highest halting logit; of equal ones the first."""
    return _after_all_steps(rollouts, np.argmax(rollouts.q_halt))


def votes(answers: np.ndarray) -> np.ndarray:
    """How many of the answers [K, S] are equal to each [K]."""
    cells = [answer.tobytes() for answer in answers]
    counts = Counter(cells)
    return np.array([counts[of_answer] for of_answer in cells])


def most_frequent(rollouts: Rollouts) -> Chosen:
    """The answer that most rollouts give; of equally frequent ones the one with the best halting
    logit."""
    by_votes = np.lexsort((-rollouts.q_halt, -votes(rollouts.answers)))
    return _after_all_steps(rollouts, by_votes[0])


def smallest_residual(rollouts: Rollouts) -> Chosen:
    """The answer whose logits change least; of equal ones the one with the best halting logit."""
    by_residual = np.lexsort((-rollouts.q_halt, rollouts.residuals))
    return _after_all_steps(rollouts, by_residual[0])


def first_to_halt(rollouts: Rollouts) -> Chosen:
    """The answer of the rollout that halts first, after that step; of several, the one with the
    best halting logit there."""
    first = np.lexsort((-rollouts.q_at_halt, rollouts.halted_at))[0]
    return Chosen(rollouts.answers_at_halt[first], float(rollouts.q_at_halt[first]))


def by_rules(rollouts: Rollouts) -> Chosen:
    """The first answer that is valid by the rules; where none is, the most frequent one."""
    assert rollouts.valid is not None
    if not rollouts.valid.any():
        return most_frequent(rollouts)
    return _after_all_steps(rollouts, np.argmax(rollouts.valid))


def _after_all_steps(rollouts: Rollouts, which: np.integer) -> Chosen:
    return Chosen(rollouts.answers[which], float(rollouts.q_halt[which]))


CHOICES: dict[str, Callable[[Rollouts], Chosen]] = {
    "best_halting_logit": best_halting_logit,
    "most_frequent": most_frequent,
    "smallest_residual": smallest_residual,
    "first_to_halt": first_to_halt,
}
"""Choices that every kind of puzzle has, by the names of their columns in search-N.csv."""
BY_RULES = "by_rules"
PASS = "pass"  # whether any rollout is right: the most that a choice could reach


def numbers_of_rollouts(most: int) -> list[int]:
    """1, 2, 4, … and `most`."""
    return sorted({*(2**i for i in range(most.bit_length())), most})


def choices_of(rollouts: Rollouts) -> dict[str, Chosen]:
    """What each choice takes."""
    chosen = {name: choose(rollouts) for name, choose in CHOICES.items()}
    return chosen if rollouts.valid is None else {**chosen, BY_RULES: by_rules(rollouts)}
