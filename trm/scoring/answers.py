"""answers.npz: what an ARC test split was answered, each prediction's augmentation undone.

A question is a test input of a task, numbered in the order of test_puzzles.json; a task that has
the same input twice asks one question. Arrays of the file, for Q questions with A distinct answers
by N rows of the test split:

    starts   int32 [Q + 1]     the answers to question i are starts[i]:starts[i + 1], best first
    votes    int32 [A]         rows that voted for the answer
    mean_q   float64 [A]       mean of its voters' halting probabilities
    rows     uint8 [A]         height of its grid; 0: the predictions held no grid
    columns  uint8 [A]         width of its grid
    cells    uint8 [sum]       colours 0..9 of all grids, row by row, one grid after the other
    voted    int32 [N]         the answer that each row voted for; -1: the row has no vote

Best first: by votes, then by mean_q, then by first appearance in the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trm.data.read import ARCHIVE_DAMAGES
from trm.errors import TrmError
from trm.files import atomic_write

Key = bytes
"""A grid as a dictionary key: its number of rows, then its cells. Equal keys are equal grids."""


@dataclass(frozen=True)
class Candidate:
    """One answer that at least one row voted for."""

    grid: np.ndarray  # uint8 [H, W], colours 0..9; [0, 0] where the prediction held no grid
    votes: int
    mean_q: float  # mean sigmoid(q_halt) of its voters


@dataclass(frozen=True)
class Answers:
    """The ranked answers to all questions of a test split, in memory."""

    starts: np.ndarray  # int [Q + 1]
    keys: Sequence[Key]  # [A] grids
    votes: np.ndarray  # int [A]
    mean_q: np.ndarray  # float64 [A]
    voted: np.ndarray  # int [N]

    @property
    def n_questions(self) -> int:
        return len(self.starts) - 1

    def to(self, question: int) -> tuple[Candidate, ...]:
        """The answers to one question, best first."""
        return tuple(
            Candidate(grid_of(self.keys[i]), int(self.votes[i]), float(self.mean_q[i]))
            for i in range(self.starts[question], self.starts[question + 1])
        )

    def rank_of(self, key: Key, question: int) -> int | None:
        """The place of a grid among the answers to a question, from 0; None: nobody gave it."""
        start, end = self.starts[question : question + 2].tolist()
        return next((i - start for i in range(start, end) if self.keys[i] == key), None)

    def by(self, voters: np.ndarray, q: np.ndarray) -> Answers:
        """The answers, ranked again, when only the rows `voters` (bool [N]) may vote.

        `q` float [N]: halting probabilities of all rows.
        """
        questions = np.repeat(np.arange(self.n_questions), np.diff(self.starts))
        voted = np.where(voters, self.voted, -1)
        return rank(self.keys, questions, self.n_questions, voted, q)


def rank(
    keys: Sequence[Key], questions: np.ndarray, n_questions: int, voted: np.ndarray, q: np.ndarray
) -> Answers:
    """Count the votes of N rows and rank the answers that have one.

    Args:
        keys: A distinct answers; `questions` int [A] are the questions that they answer.
        n_questions: number of questions, those without an answer included.
        voted: int [N], the answer that each row votes for, or -1.
        q: float [N], halting probabilities.
    """
    voters = np.flatnonzero(voted >= 0)
    chosen, first_voter = np.unique(voted[voters], return_index=True)
    # bincount adds one row after the other: sums to the last bit as the published code's.
    sums = np.bincount(voted[voters], weights=q[voters], minlength=len(keys))[chosen]
    votes = np.bincount(voted[voters], minlength=len(keys))[chosen]
    mean_q = sums / votes
    order = np.lexsort((first_voter, -mean_q, -votes, questions[chosen]))
    ranked = chosen[order]
    number = np.full(len(keys) + 1, -1)  # the last one is that of -1
    number[ranked] = np.arange(len(ranked))
    return Answers(
        starts=np.searchsorted(questions[ranked], np.arange(n_questions + 1)),
        keys=[keys[i] for i in ranked],
        votes=votes[order],
        mean_q=mean_q[order],
        voted=number[voted],
    )


def save_answers(path: Path, answers: Answers) -> None:
    """Write answers.npz, all of it or nothing; the same answers give the same bytes."""
    cells = [np.frombuffer(key, np.uint8, offset=1) for key in answers.keys]
    rows = np.array([key[0] for key in answers.keys], np.uint8)
    sizes = np.array([len(part) for part in cells], np.int64)
    with atomic_write(Path(path)) as file:
        np.savez_compressed(
            file,
            starts=answers.starts.astype(np.int32),
            votes=answers.votes.astype(np.int32),
            mean_q=answers.mean_q.astype(np.float64),
            rows=rows,
            columns=(sizes // np.maximum(rows, 1)).astype(np.uint8),
            cells=np.concatenate([np.empty(0, np.uint8), *cells]),
            voted=answers.voted.astype(np.int32),
        )


def load_answers(path: Path) -> Answers:
    """Read answers.npz; TrmError where it is missing or damaged."""
    try:
        with np.load(path) as arrays:
            rows, columns = (arrays[name].astype(np.int64) for name in ("rows", "columns"))
            cells = arrays["cells"].tobytes()
            ends = np.cumsum(rows * columns)
            answers = Answers(
                arrays["starts"],
                [
                    bytes([height]) + cells[end - size : end]
                    for height, size, end in zip(rows, rows * columns, ends, strict=True)
                ],
                arrays["votes"],
                arrays["mean_q"],
                arrays["voted"],
            )
    except FileNotFoundError:
        raise TrmError(f"{path} is missing: evaluate the run first") from None
    except ARCHIVE_DAMAGES as error:
        raise TrmError(f"{path} cannot be read ({error}): evaluate the run again") from None
    return answers


def key_of(grid: np.ndarray) -> Key:
    return bytes([grid.shape[0]]) + grid.tobytes()


def grid_of(key: Key) -> np.ndarray:
    rows = key[0]
    cells = np.frombuffer(key, dtype=np.uint8, offset=1) if rows else np.empty(0, np.uint8)
    return cells.reshape(rows, -1 if rows else 0)
