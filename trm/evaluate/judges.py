"""What a search at test time is made on, and who says which of its answers are right.

A puzzle of a board is right if all of its answer is. A task of ARC is answered as in an evaluation:
by the votes of its augmented versions, each of which gives the answer that was chosen for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trm.data.batches import IGNORE_LABEL, PuzzleData
from trm.data.dataset import DatasetMetadata
from trm.data.read import load_identifiers
from trm.evaluate.rollouts import checked_by_rules
from trm.puzzles.augmentation import task_of
from trm.puzzles.kind import BoardKind
from trm.puzzles.kinds import kind_named, kind_of_boards
from trm.scoring.arc import read_test_puzzles
from trm.scoring.ballots import Ballots, TaskVotes
from trm.scoring.choices import PASS, Rollouts, choices_of, numbers_of_rollouts


@dataclass(frozen=True)
class Boards:
    """The boards of a dataset: their shape and, where it has rules or symmetries, their kind."""

    rows: int
    columns: int
    vocab_size: int
    kind: BoardKind | None  # None: of ARC

    @staticmethod
    def of(dataset: Path, kind: str, metadata: DatasetMetadata) -> Boards:
        own, columns = None, None
        if kind_named(kind).builder != "arc":
            own, columns = kind_of_boards(dataset, kind)
        columns = columns or isqrt(metadata.seq_len)
        return Boards(metadata.seq_len // columns, columns, metadata.vocab_size, own)


@dataclass
class RightPuzzles:
    """How many puzzles each choice answers right, by the number K of rollouts looked at."""

    right: dict[int, Counter[str]] = field(default_factory=dict)
    count: int = 0

    def add(self, other: RightPuzzles) -> None:
        self.count += other.count
        for number, right in other.right.items():
            self.right.setdefault(number, Counter()).update(right)


class Judge(Protocol):
    """Says which answers are right; what it finds is kept apart, to be added up over processes."""

    what: str  # it counts

    def nothing(self) -> Any:
        """What is found before the first row; it has `add`."""

    def judge(self, found: Any, row: Row, rollouts: Rollouts) -> None:
        """Add the rollouts of a row to what was found."""

    def shares(self, found: Any) -> dict[int, dict[str, float]]:
        """The columns of the table with shares that are right, by number of rollouts."""

    def count(self, found: Any) -> int:
        """The number of puzzles, or of ARC's tasks, that the shares are of."""


@dataclass(frozen=True)
class Row:
    """An example: tokens [S] of its question and its answer, and the id of its puzzle."""

    question: np.ndarray
    label: np.ndarray
    identifier: int


@dataclass(frozen=True)
class PuzzleJudge:
    """Each example is a puzzle, and right if all of it is right."""

    boards: Boards
    what = "test puzzles"

    def nothing(self) -> RightPuzzles:
        return RightPuzzles()

    def judge(self, found: RightPuzzles, row: Row, rollouts: Rollouts) -> None:
        if self.boards.kind is not None:
            shape = self.boards.rows, self.boards.columns
            board = row.question.astype(np.uint8).reshape(shape)
            rollouts = checked_by_rules(rollouts, self.boards.kind, board)

        def is_right(answers: np.ndarray) -> np.ndarray:
            return ((answers == row.label) | (row.label == IGNORE_LABEL)).all(axis=-1)

        right = is_right(rollouts.answers)
        found.count += 1
        for number in numbers_of_rollouts(len(rollouts)):
            chosen = choices_of(rollouts[:number])
            of_number = found.right.setdefault(number, Counter())
            of_number.update({PASS: bool(right[:number].any())})
            of_number.update({name: bool(is_right(one.answer)) for name, one in chosen.items()})

    def shares(self, found: RightPuzzles) -> dict[int, dict[str, float]]:
        return {
            number: {name: value / found.count for name, value in right.items()}
            for number, right in found.right.items()
        }

    def count(self, found: RightPuzzles) -> int:
        return found.count


@dataclass(frozen=True)
class TaskJudge:
    """Each example is a version of a test input of an ARC task, and has a vote on the answer."""

    votes: TaskVotes
    what = "tasks"

    def nothing(self) -> Ballots:
        return Ballots()

    def judge(self, found: Ballots, row: Row, rollouts: Rollouts) -> None:
        self.votes.add(found, row.identifier, row.question, rollouts)

    def shares(self, found: Ballots) -> dict[int, dict[str, float]]:
        return self.votes.shares(found)

    def count(self, found: Ballots) -> int:
        return len(self.votes.tasks)


@dataclass(frozen=True)
class Sample:
    """Examples of a test split, ascending, and who judges their answers."""

    examples: np.ndarray
    judge: Judge
    drawn_from: int  # test puzzles; for ARC, tasks

    def note(self, size: int) -> str | None:
        """What to say where there are not the `size` that were asked for."""
        if size <= self.drawn_from:
            return None
        what = self.judge.what
        return f"there are {self.drawn_from:,} {what}, not {size:,}: all of them are searched"


def drawn_sample(total: int, size: int, seed: int) -> np.ndarray:
    """Numbers of a seeded sample, ascending: all, where there are not more than `size`."""
    if size >= total:
        return np.arange(total)
    rng = np.random.Generator(np.random.Philox(seed))
    return np.sort(rng.choice(total, size, replace=False))


def sample_of(dataset: Path, boards: Boards, data: PuzzleData, size: int, seed: int) -> Sample:
    """`size` test puzzles, or all there are; for ARC, all augmented versions of `size` tasks."""
    if boards.kind is not None:
        total = data.n_examples
        return Sample(drawn_sample(total, size, seed), PuzzleJudge(boards), total)
    tasks, names = read_test_puzzles(dataset), load_identifiers(dataset)
    in_order = list(tasks)
    drawn = [in_order[i] for i in drawn_sample(len(tasks), size, seed)]
    judge = TaskJudge(TaskVotes({task: tasks[task] for task in drawn}, names))
    return Sample(_examples_of_tasks(data, {*drawn}, names), judge, len(tasks))


def _examples_of_tasks(data: PuzzleData, tasks: set[str], names: Sequence[str]) -> np.ndarray:
    """The examples, ascending, of the puzzles that are versions of the tasks."""
    ids = np.array([i for i, name in enumerate(names) if task_of(name) in tasks], np.int64)
    owners = [np.repeat(s.puzzle_identifiers, np.diff(s.puzzle_indices)) for s in data.sets]
    return np.flatnonzero(np.isin(np.concatenate(owners), ids))
