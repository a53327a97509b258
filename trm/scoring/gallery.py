"""gallery.json and thinking.json: answered test puzzles, compact enough to be drawn in a page.

A board is a string of its kind's symbols (trm/puzzles/), one a cell, row by row. ARC: a colour per
cell, `/` between rows; an empty string is not a grid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trm.data.dataset import Split
from trm.data.read import load_identifiers, load_split
from trm.data.specs import Kind
from trm.errors import TrmError
from trm.files import write_atomically
from trm.puzzles.augmentation import NAME_SEPARATOR
from trm.puzzles.kind import BoardKind
from trm.puzzles.kinds import board_kind, kind_of_boards
from trm.scoring.arc import (
    ArcScore,
    Grid,
    ScoredInput,
    ScoredTask,
    check_predictions,
    crop,
    lacks_solutions,
    read_test_puzzles,
)
from trm.scoring.halting import halting_probability
from trm.scoring.predictions import Predictions, exactly_right

if TYPE_CHECKING:
    from trm.data.painted import PaintedExamples

Task = dict[str, list[dict[str, Grid]]]  # as in test_puzzles.json

MAX_SHOWN = 400  # puzzles of a gallery: an ARC result with all of its tasks is 1 MB
N_THINKING_EACH = 3  # solved and failed puzzles whose thinking is shown

_GRID = re.compile(r"([0-9]+(/[0-9]+)*)?")

Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Puzzle(_Strict):
    """One test puzzle with the model's answers: the best first, or one per supervision step."""

    name: str  # ARC: the task; else the number in the test set, from 1
    solved: bool
    question: str
    answer: str
    answers: list[str] = Field(min_length=1)
    q: list[Probability]  # halting probability of each answer; of ARC's votes the mean
    votes: list[int] = []  # of each answer, where they were voted for
    all_votes: int = 0
    demonstrations: list[tuple[str, str]] = []

    @model_validator(mode="after")
    def _complete(self) -> Puzzle:
        if len(self.q) != len(self.answers) or len(self.votes) not in (0, len(self.answers)):
            raise ValueError(f"{self.name}: not one q and one vote count for each answer")
        return self


class Gallery(_Strict):
    """Some puzzles of a test set of `total`, of which the model solves `total_solved`."""

    kind: Kind
    total: int = Field(ge=0)
    total_solved: int = Field(ge=0)
    judged: bool = True  # False: nobody has the solutions, and no answer is marked
    side: int = 0  # of a board, its longer one
    columns: int = 0  # of a board whose dataset says it; else it is a square
    characters: str = ""  # that its cells may hold, by its dataset
    box: tuple[int, int] | None = None  # rows and columns of a sudoku's box
    puzzles: list[Puzzle]

    @model_validator(mode="after")
    def _drawable(self) -> Gallery:
        if self.kind != "arc" and self.board_kind.has_boxes and self.box is None:
            raise ValueError(f"a {self.kind} has boxes")
        for puzzle in self.puzzles:
            boards = [puzzle.question, puzzle.answer, *puzzle.answers]
            boards += [board for pair in puzzle.demonstrations for board in pair]
            if not all(map(self._is_board, boards)):
                raise ValueError(f"{puzzle.name}: no board of a {self.kind}")
        return self

    def _is_board(self, text: str) -> bool:
        if self.kind == "arc":
            return _GRID.fullmatch(text) is not None and len(set(map(len, text.split("/")))) == 1
        whole = len(text) % self.columns == 0 if self.columns else len(text) == self.side**2
        return bool(text) and whole and {*text} <= {*self.board_kind.symbols}

    @property
    def board_kind(self) -> BoardKind:
        """TrmError for ARC, which has no boards."""
        return board_kind(self.kind, self.characters)


# --- the files ----------------------------------------------------------------------------------


def save_gallery(path: Path, gallery: Gallery) -> None:
    """Write gallery.json or thinking.json, all of it or nothing; same gallery, same bytes."""
    content = gallery.model_dump(mode="json", exclude_defaults=True)
    write_atomically(Path(path), (json.dumps(content, separators=(",", ":")) + "\n").encode())


def load_gallery(path: Path) -> Gallery | None:
    """Read gallery.json or thinking.json; None where there is none, TrmError where damaged."""
    try:
        return Gallery.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise TrmError(
            f"{path} is damaged ({where}: {first['msg']}): delete it and make it again "
            f"(snakemake {path})"
        ) from None


# --- what is shown ------------------------------------------------------------------------------


def gallery_of_tasks(score: ArcScore, max_shown: int = MAX_SHOWN) -> Gallery:
    """Up to `max_shown` test inputs of ARC with the answers that count, evenly spread over the
    solved and over the failed ones."""
    asked = [(task, test) for task in score.tasks for test in range(len(task.tests))]
    solved = np.array([task.tests[test].solved() for task, test in asked], dtype=bool)
    shown = choose(solved, max_shown)
    return Gallery(
        kind="arc",
        total=len(asked),
        total_solved=int(solved.sum()),
        judged=bool(score.metrics),
        puzzles=[_voted(*asked[position]) for position in shown],
    )


def gallery_of_boards(
    dataset: Path, kind: Kind, predictions: Predictions, max_shown: int = MAX_SHOWN
) -> Gallery:
    """Up to `max_shown` boards of a test split, evenly spread over the solved and the failed ones.

    Raises:
        TrmError: the predictions are not of the dataset's test split.
    """
    boards = _Boards.load(dataset, kind)
    solved = boards.check(predictions)
    rows = np.array(choose(solved, max_shown), dtype=int)
    return boards.gallery(
        rows, predictions.preds[None, rows], predictions.q_halt_logits[None, rows], solved
    )


def thinking_rows(
    dataset: Path, kind: Kind, predictions: Predictions, n_each: int = N_THINKING_EACH
) -> np.ndarray:
    """Ascending rows [n] of the test split to show the thinking of: up to n_each of either kind.

    Of ARC's rows only plain puzzles, as a reader knows them. TrmError as `gallery_of_boards`.
    """
    boards = _Boards.load(dataset, kind)
    return boards.rows[choose(boards.check(predictions), 2 * n_each)]


def thinking_of(
    dataset: Path, kind: Kind, rows: np.ndarray, thoughts: Predictions, predictions: Predictions
) -> Gallery:
    """The gallery of answers after each supervision step.

    Args:
        dataset, kind: of the test split.
        rows: int [n], from `thinking_rows`.
        thoughts: preds [steps, n, seq_len] and q_halt_logits [steps, n].
        predictions: of the whole split, to count who is solved.

    Raises:
        TrmError: a halting logit is NaN.
    """
    if np.isnan(thoughts.q_halt_logits).any():
        raise TrmError("q_halt_logits holds NaN: the checkpoint has diverged; take an earlier one")
    boards = _Boards.load(dataset, kind)
    solved = boards.check(predictions)
    return boards.gallery(rows, thoughts.preds, thoughts.q_halt_logits, solved)


def choose(solved: np.ndarray, n: int) -> list[int]:
    """Ascending positions of up to n puzzles: half solved, half failed, or more where one lacks.

    Evenly spread over the split, as its beginning may be easier than its end.
    """
    groups = np.flatnonzero(solved), np.flatnonzero(~solved)
    half = n // 2
    first = min(len(groups[0]), max(half, n - len(groups[1])))
    wanted = first, min(len(groups[1]), n - first)
    return sorted(
        position
        for positions, count in zip(groups, wanted, strict=True)
        for position in spread(positions, count)
    )


def spread(positions: np.ndarray, n: int) -> list[int]:
    """Up to n of the positions, evenly spread, the first and the last among them."""
    picks = np.linspace(0, len(positions) - 1, min(n, len(positions)))
    return positions[picks.round().astype(int)].tolist()


@dataclass(frozen=True)
class _Boards:
    """The R rows of a test split that stand for themselves, not for an augmentation."""

    dataset: Path
    kind: Kind
    split: Split
    names: list[str]  # of all rows of the split
    rows: np.ndarray  # [R], ascending, of the split

    @staticmethod
    def load(dataset: Path, kind: Kind) -> _Boards:
        split = load_split(Path(dataset), "test")
        if kind == "arc":
            names = list(_names_of(split, load_identifiers(dataset)))
        else:
            names = [str(row + 1) for row in range(sum(map(len, _columns(split, "inputs"))))]
        rows = [row for row, name in enumerate(names) if NAME_SEPARATOR not in name]
        return _Boards(Path(dataset), kind, split, names, np.array(rows, dtype=int))

    def check(self, predictions: Predictions) -> np.ndarray:
        """Which of the rows [R] are answered right; TrmError where the answers are of others."""
        metadata = self.split.metadata
        check_predictions(predictions.preds, predictions.q_halt_logits, len(self.names), metadata)
        labels = self._take("labels", self.rows)
        return exactly_right(predictions.preds[self.rows], labels, self.ignored)

    def gallery(
        self, rows: np.ndarray, preds: np.ndarray, q: np.ndarray, solved: np.ndarray
    ) -> Gallery:
        """Rows [n] with their answers [steps, n, seq_len] and halting logits [steps, n].

        `solved` [R] is of all rows.
        """
        labels = self._take("labels", rows)
        judged = self.kind != "arc" or not lacks_solutions(self.dataset)
        questions = self._texts(self._take("inputs", rows))
        truths = self._texts(labels) if judged else [""] * len(rows)
        steps = [self._texts(answers) for answers in preds]
        right = exactly_right(preds[-1], labels, self.ignored) & judged
        tasks = self._tasks(rows)
        puzzles = [
            Puzzle(
                name=self.names[row] + _which_test(tasks[i], questions[i]),
                solved=bool(right[i]),
                question=questions[i],
                answer=truths[i],
                answers=[texts[i] for texts in steps],
                q=[_probability(logit) for logit in q[:, i]],
                demonstrations=_pairs(tasks[i]["train"]),
            )
            for i, row in enumerate(rows)
        ]
        return Gallery(
            kind=self.kind,
            total=len(self.rows),
            total_solved=int(solved.sum()) if judged else 0,
            judged=judged,
            puzzles=puzzles,
            **self._shape(),
        )

    @property
    def ignored(self) -> int | None:
        return self.split.metadata.ignore_label_id

    def _shape(self) -> dict[str, Any]:
        """What a gallery says of its boards; nothing of ARC's grids."""
        if self.kind == "arc":
            return {}
        kind, columns = self.boards
        cells = self.split.metadata.seq_len
        if columns is None:
            return {"side": isqrt(cells), "box": kind.box(isqrt(cells))}
        side = max(columns, cells // columns)
        known = {"columns": columns, "characters": kind.characters}
        return {"side": side, "box": kind.box(side), **known}

    @cached_property
    def boards(self) -> tuple[BoardKind, int | None]:
        """Their kind and, where the dataset says it, how many columns they have."""
        return kind_of_boards(self.dataset, self.kind)

    def _take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Ascending rows [n] of the split's inputs or labels, [n, seq_len]."""
        parts, start = [], 0
        for array in _columns(self.split, name):
            mine = rows[(rows >= start) & (rows < start + len(array))] - start
            parts.append(np.asarray(array[mine]))
            start += len(array)
        return np.concatenate(parts)

    def _tasks(self, rows: np.ndarray) -> list[Task]:
        """Each row's task; an empty one where there are no tasks."""
        if self.kind != "arc":
            return [{"train": [], "test": []} for _ in rows]
        tasks = read_test_puzzles(self.dataset)
        return [tasks[self.names[row]] for row in rows]

    def _texts(self, tokens: np.ndarray) -> list[str]:
        """Boards [n, seq_len] as strings."""
        if self.kind == "arc":
            return [_grid_text(grid) for grid in crop(tokens)]
        symbols = self.boards[0].symbols
        return ["".join(symbols[token] for token in board) for board in tokens]


def _voted(task: ScoredTask, number: int) -> Puzzle:
    test: ScoredInput = task.tests[number]
    attempts = test.attempts
    return Puzzle(
        name=task.name + _test_of(number, len(task.tests)),
        solved=test.solved(),
        question=_grid_text(np.array(test.input)),
        answer="" if test.truth is None else _grid_text(np.array(test.truth)),
        answers=[_grid_text(candidate.grid) for candidate in attempts] or [""],
        q=[round(candidate.mean_q, 4) for candidate in attempts] or [0.0],
        votes=[candidate.votes for candidate in attempts] or [0],
        all_votes=sum(candidate.votes for candidate in test.candidates),
        demonstrations=[(_grid_text(np.array(q)), _grid_text(np.array(a))) for q, a in task.train],
    )


def _which_test(task: Task, question: str) -> str:
    inputs = [_grid_text(np.array(pair["input"])) for pair in task["test"]]
    return _test_of(inputs.index(question), len(inputs)) if len(inputs) > 1 else ""


def _test_of(number: int, total: int) -> str:
    """What tells a task's tests apart, where it has several; `number` from 0."""
    return f", test {number + 1} of {total}" if total > 1 else ""


def _names_of(split: Split, identifiers: list[str]) -> Iterator[str]:
    for arrays in split.sets.values():
        counts = np.diff(arrays.puzzle_indices)
        for identifier in np.repeat(arrays.puzzle_identifiers, counts):
            yield identifiers[identifier]


def _columns(split: Split, name: str) -> list[np.ndarray | PaintedExamples]:
    return [getattr(arrays, name) for arrays in split.sets.values()]


def _pairs(pairs: list[dict[str, Grid]]) -> list[tuple[str, str]]:
    return [tuple(_grid_text(np.array(p[side])) for side in ("input", "output")) for p in pairs]


def _grid_text(grid: np.ndarray) -> str:
    return "/".join("".join(map(str, row)) for row in grid.tolist())


def _probability(logit: float) -> float:
    return round(float(halting_probability(logit)), 4)
