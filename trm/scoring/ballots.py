"""ARC's votes where each row's answer is chosen among several rollouts.

Every way to choose, at every number of rollouts, has a ballot of its own: one vote a row, counted
as those of an evaluation (`trm.scoring.arc`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from trm.scoring.answers import Answers, Key, key_of, rank
from trm.scoring.arc import (
    ATTEMPTS,
    Asked,
    Questions,
    TestPuzzles,
    crop,
    mean_share,
    without_surroundings,
)
from trm.scoring.choices import PASS, Chosen, Rollouts, choices_of, numbers_of_rollouts
from trm.scoring.halting import halting_probability

Way = tuple[int, str]
"""The number of rollouts that are looked at, and the name of a choice among them."""


def attempt_column(choice: str, attempts: int) -> str:
    """The column of search-N.csv with the pass@`attempts` of a choice."""
    return f"{choice}_pass@{attempts}"


@dataclass
class Ballots:
    """The votes of rows so far. Memory grows with distinct chosen answers, and by 8 bytes for each
    row and ballot: with the logarithm of the rollouts."""

    numbers: dict[tuple[int, Key], int] = field(default_factory=dict)  # by question and answer
    voted: dict[Way, array] = field(default_factory=dict)  # the answer of each row
    q_halt: dict[Way, array] = field(default_factory=dict)  # its halting logit
    # Rollouts until any row has the true answer, by question and answer.
    found: dict[tuple[int, Key], int] = field(default_factory=dict)

    def vote(self, asked: Asked, chosen: Mapping[Way, Chosen]) -> None:
        """Take one vote of a row for each ballot."""
        answers = np.stack([one.answer for one in chosen.values()])
        for (way, one), grid in zip(chosen.items(), crop(answers), strict=True):
            answer = (asked.question, asked.key_of(grid))
            number = self.numbers.setdefault(answer, len(self.numbers))
            self.voted.setdefault(way, array("i")).append(number)
            self.q_halt.setdefault(way, array("f")).append(one.q_halt)

    def find(self, asked: Asked, truths: set[Key], answers: np.ndarray) -> None:
        """Note how many of a row's rollouts, answers [K, seq_len], each truth takes."""
        for count, grid in enumerate(crop(answers), start=1):
            key = asked.key_of(grid)
            if key in truths:
                answer = (asked.question, key)
                self.found[answer] = min(count, self.found.get(answer, count))

    def add(self, other: Ballots) -> None:
        """Take the votes of `other`, whose rows come after those so far."""
        translated = np.array(
            [self.numbers.setdefault(answer, len(self.numbers)) for answer in other.numbers],
            dtype=np.int32,
        )
        for way, voted in other.voted.items():
            mine = self.voted.setdefault(way, array("i"))
            mine.frombytes(translated[np.asarray(voted)].tobytes())
            self.q_halt.setdefault(way, array("f")).extend(other.q_halt[way])
        for answer, count in other.found.items():
            self.found[answer] = min(count, self.found.get(answer, count))

    def ranked(self, way: Way, n_questions: int) -> Answers:
        """The answers of one ballot, best first."""
        return rank(
            [key for _, key in self.numbers],
            np.array([question for question, _ in self.numbers], dtype=np.int64),
            n_questions,
            np.asarray(self.voted[way]),
            halting_probability(np.asarray(self.q_halt[way])),
        )


class TaskVotes:
    """Counts the votes of some tasks, whose rows are searched.

    Args:
        tasks: those of test_puzzles.json that are searched.
        identifiers: puzzle name by id.
    """

    def __init__(self, tasks: TestPuzzles, identifiers: list[str]) -> None:
        self.tasks = tasks
        self._questions = Questions(tasks, identifiers)
        # The question and the true answer of each test input, task by task.
        self._solutions: list[list[tuple[int, Key]]] = []
        for task, puzzle in tasks.items():
            keys = [
                [key_of(np.array(pair[part], np.uint8)) for part in ("input", "output")]
                for pair in puzzle["test"]
            ]
            numbers = self._questions.numbers
            self._solutions.append([(numbers[task, question], truth) for question, truth in keys])
        self._truths: list[set[Key]] = [set() for _ in range(len(self._questions))]
        for question, truth in chain.from_iterable(self._solutions):
            self._truths[question].add(truth)

    def add(
        self, ballots: Ballots, identifier: int, question: np.ndarray, rollouts: Rollouts
    ) -> None:
        """Let a row vote, whose input is the tokens [seq_len]."""
        # Choices compare grids, not what surrounds them.
        rollouts = replace(
            rollouts,
            answers=without_surroundings(rollouts.answers),
            answers_at_halt=without_surroundings(rollouts.answers_at_halt),
        )
        (grid,) = crop(question[None])
        asked = self._questions.asked_by(identifier, grid)
        chosen = {
            (number, name): one
            for number in numbers_of_rollouts(len(rollouts))
            for name, one in choices_of(rollouts[:number]).items()
        }
        ballots.vote(asked, chosen)
        ballots.find(asked, self._truths[asked.question], rollouts.answers)

    def shares(self, ballots: Ballots) -> dict[int, dict[str, float]]:
        """`pass`, and pass@1 and pass@2 of each choice, by number of rollouts."""
        shares: dict[int, dict[str, float]] = {}
        for number, name in ballots.voted:
            row = shares.setdefault(number, {PASS: self._found_after(ballots, number)})
            answers = ballots.ranked((number, name), len(self._questions))
            for attempts in range(1, ATTEMPTS + 1):
                row[attempt_column(name, attempts)] = self._passed(answers, attempts)
        return shares

    def _found_after(self, ballots: Ballots, number: int) -> float:
        never = number + 1
        return self._share(lambda *solution: ballots.found.get(solution, never) <= number)

    def _passed(self, answers: Answers, attempts: int) -> float:
        def is_solved(question: int, truth: Key) -> bool:
            place = answers.rank_of(truth, question)
            return place is not None and place < attempts

        return self._share(is_solved)

    def _share(self, is_solved: Callable[[int, Key], bool]) -> float:
        """Mean over tasks of the share of their test inputs that are solved, 0..1."""
        return mean_share(
            [sum(is_solved(*one) for one in of_task) / len(of_task) for of_task in self._solutions]
        )
