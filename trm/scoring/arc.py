"""ARC score: every augmented prediction of a task votes for an answer; the best answers count.

A test input is asked many times, each time turned, mirrored and recoloured otherwise. Each row's
prediction is cropped, its augmentation undone, and the grid that remains gets one vote
(docs/specification.md#arc-score).

The votes of an evaluation are counted once, into `Answers`; every score is read from those. The
published code never clears its ballot between the evaluations of one run, so its later pass@K pools
several checkpoints; here every evaluation opens its own, and pooled votes (`pooled_scores`) have a
name of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt
from pathlib import Path

import numpy as np

from trm.data.dataset import DatasetMetadata, SetArrays, Split
from trm.data.read import load_identifiers, load_split
from trm.data.specs import TEST_PUZZLES
from trm.errors import TrmError
from trm.files import atomic_write
from trm.progress import Progress
from trm.puzzles.arc import PASS_KS
from trm.puzzles.augmentation import NO_SOLUTION, invert_augmentation, parse_puzzle_name
from trm.scoring.answers import Answers, Candidate, Key, key_of, rank
from trm.scoring.halting import halting_probability
from trm.scoring.metrics import entry_of
from trm.scoring.predictions import Predictions

Grid = list[list[int]]  # rows of colours 0..9, as in the ARC files
TestPuzzles = dict[str, dict[str, list[dict[str, Grid]]]]  # test_puzzles.json: tasks by name

VOTE_COUNTS = (1, 10, 100, 300, 1000)  # puzzles of a group that may vote

_FIRST_COLOUR = 2  # tokens: 0 pad, 1 end of grid, 2..11 the colours 0..9
ATTEMPTS = 2  # answers that count for a test input, as in Kaggle's submission format
_CHUNK_ROWS = 4096  # bounds the working memory, whatever the number of augmentations


@dataclass(frozen=True)
class ScoredInput:
    """One test input of a task with its answers, best first."""

    input: Grid
    truth: Grid | None  # None in a test set without solutions
    candidates: tuple[Candidate, ...]
    truth_rank: int | None  # position of the truth among the candidates, from 0

    @property
    def attempts(self) -> tuple[Candidate, ...]:
        """The answers that count (fewer, where all votes agree)."""
        return self.candidates[:ATTEMPTS]

    def solved(self, k: int = ATTEMPTS) -> bool:
        """Whether the truth is among the first k candidates."""
        return self.truth_rank is not None and self.truth_rank < k


@dataclass(frozen=True)
class ScoredTask:
    """One ARC task: its demonstration pairs and its scored test inputs."""

    name: str
    train: tuple[tuple[Grid, Grid], ...]
    tests: tuple[ScoredInput, ...]

    def share_solved(self, k: int) -> float:
        """Share of the test inputs whose truth is among the first k candidates, 0..1."""
        return sum(test.solved(k) for test in self.tests) / len(self.tests)


@dataclass(frozen=True)
class ArcScore:
    """Result of one ballot."""

    metrics: dict[str, float]  # "ARC/pass@K" -> 0..1; empty in a test set without solutions
    submission: dict[str, list[dict[str, Grid]]]  # Kaggle's format
    tasks: tuple[ScoredTask, ...]  # in the order of test_puzzles.json

    @property
    def n_tasks(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True)
class Asked:
    """What a row asks, and how its task is augmented there."""

    question: int  # its number (`trm.scoring.answers`)
    dihedral: int
    colours: np.ndarray

    def key_of(self, answer: np.ndarray) -> Key:
        """The grid that an answer is, its augmentation undone."""
        return key_of(invert_augmentation(answer, self.dihedral, self.colours))


class Questions:
    """The test inputs of `test_puzzles`, which the puzzles with the names `identifiers` ask."""

    def __init__(self, test_puzzles: TestPuzzles, identifiers: Sequence[str]) -> None:
        self.numbers = _questions(test_puzzles)
        self._identifiers = identifiers

    def __len__(self) -> int:
        return len(self.numbers)

    def asked_by(self, identifier: int, question: np.ndarray) -> Asked:
        """What a row asks whose input holds the grid `question`.

        TrmError where it belongs to no test input.
        """
        name = self._identifiers[identifier]
        task, dihedral, colours = parse_puzzle_name(name)
        key = key_of(invert_augmentation(question, dihedral, colours))
        try:
            return Asked(self.numbers[task, key], dihedral, colours)
        except KeyError:
            raise TrmError(
                f"puzzle {name!r} asks no test input of {TEST_PUZZLES}: the dataset folder mixes "
                "files of two builds; build it again"
            ) from None


@dataclass
class Votes:
    """The ballot of one evaluation; memory grows with distinct answers, and by 12 bytes a row.

    Args:
        test_puzzles: task name -> {"train": [pair, ...], "test": [pair, ...]}, a pair being
            {"input": grid, "output": grid} (test_puzzles.json).
        identifiers: puzzle name by id (identifiers.json).
        blank_id: id of rows that only fill up a batch; they have no vote.
    """

    test_puzzles: TestPuzzles
    identifiers: Sequence[str]
    blank_id: int = 0
    _questions: Questions = field(init=False)
    _numbers: dict[tuple[int, Key], int] = field(default_factory=dict)  # by question and answer
    _voted: list[np.ndarray] = field(default_factory=list)
    _q: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._questions = Questions(self.test_puzzles, self.identifiers)

    def add(
        self,
        puzzle_identifiers: np.ndarray,
        inputs: np.ndarray,
        preds: np.ndarray,
        q_halt_logits: np.ndarray,
    ) -> None:
        """Take the votes of rows in the order of the test split.

        Args:
            puzzle_identifiers: int [B].
            inputs: tokens [B, seq_len]; which test input a row asks is read from here.
            preds: tokens [B, seq_len].
            q_halt_logits: float [B].

        Raises:
            TrmError: a row belongs to no test input of `test_puzzles`.
        """
        rows = zip(puzzle_identifiers, crop(inputs), crop(preds), strict=True)
        self._voted.append(np.array([self._vote(*row) for row in rows], dtype=np.int32))
        self._q.append(halting_probability(q_halt_logits))

    def _vote(self, identifier: int, question: np.ndarray, answer: np.ndarray) -> int:
        """The number of the answer that a row gives; -1 for a blank row."""
        if identifier == self.blank_id:
            return -1
        asked = self._questions.asked_by(identifier, question)
        key = asked.key_of(answer)
        return self._numbers.setdefault((asked.question, key), len(self._numbers))

    def answers(self, first_row: int = 0) -> Answers:
        """The ranked answers of all rows so far, or of those from `first_row` on."""
        voted = np.concatenate([np.empty(0, np.int32), *self._voted])
        voted[:first_row] = -1
        return rank(
            [key for _, key in self._numbers],
            np.array([question for question, _ in self._numbers], dtype=np.int64),
            len(self._questions),
            voted,
            np.concatenate([np.empty(0), *self._q]),
        )

    def score(self, ks: Sequence[int] = PASS_KS) -> ArcScore:
        """The score of all rows so far (`score_answers`)."""
        return _score(self.test_puzzles, self.answers(), ks)


def _questions(test_puzzles: TestPuzzles) -> dict[tuple[str, Key], int]:
    """The number of each question (`trm.scoring.answers`) by task and test input."""
    numbers: dict[tuple[str, Key], int] = {}
    for task, puzzle in test_puzzles.items():
        for pair in puzzle["test"]:
            numbers.setdefault((task, key_of(_array(pair["input"]))), len(numbers))
    return numbers


def score_answers(dataset_dir: Path, answers: Answers, ks: Sequence[int] = PASS_KS) -> ArcScore:
    """Score the answers to a dataset's test split, as read from answers.npz.

    pass@K = mean over tasks of the share of the task's test inputs whose truth is among the
    first K candidates, ranked by (votes, mean sigmoid q_halt), both descending, ties in order
    of first appearance. It does not exist in a test set without solutions.

    Raises:
        TrmError: the dataset is not an ARC dataset, or the answers are not to its test inputs.
    """
    return _score(_puzzles_of(Path(dataset_dir), answers), answers, ks)


def _puzzles_of(dataset_dir: Path, answers: Answers) -> TestPuzzles:
    """The test puzzles that were answered; TrmError where the answers are not to them."""
    puzzles = read_test_puzzles(dataset_dir)
    n_questions = len(_questions(puzzles))
    if answers.n_questions != n_questions:
        raise TrmError(
            f"there are answers to {answers.n_questions} test inputs, but {dataset_dir} has "
            f"{n_questions}: they are of another dataset; evaluate the checkpoint on this one again"
        )
    return puzzles


def _score(test_puzzles: TestPuzzles, answers: Answers, ks: Sequence[int]) -> ArcScore:
    questions, is_judged = _questions(test_puzzles), _any_solution(test_puzzles)

    def scored(task: str, pair: dict[str, Grid]) -> ScoredInput:
        question = questions[task, key_of(_array(pair["input"]))]
        candidates = answers.to(question)
        if not is_judged:
            return ScoredInput(pair["input"], None, candidates, None)
        place = answers.rank_of(key_of(_array(pair["output"])), question)
        return ScoredInput(pair["input"], pair["output"], candidates, place)

    tasks = tuple(
        ScoredTask(
            name,
            train=tuple((pair["input"], pair["output"]) for pair in puzzle["train"]),
            tests=tuple(scored(name, pair) for pair in puzzle["test"]),
        )
        for name, puzzle in test_puzzles.items()
    )
    metrics = {
        f"ARC/pass@{k}": mean_share([task.share_solved(k) for task in tasks])
        for k in (ks if is_judged else ())
    }
    submission = {task.name: [_attempts(test) for test in task.tests] for task in tasks}
    return ArcScore(metrics, submission, tasks)


def count_votes(dataset_dir: Path, preds: np.ndarray, q_halt_logits: np.ndarray) -> Answers:
    """What one checkpoint answers to a dataset's test split.

    Args:
        dataset_dir: dataset folder (docs/specification.md#dataset-format).
        preds: uint8 [N, seq_len], the predicted tokens, in the order of the test split.
        q_halt_logits: float32 [N], same order.

    Raises:
        TrmError: the dataset is not an ARC dataset, or the predictions are not of its test split.
    """
    test = _TestSplit.load(dataset_dir)
    votes = test.new_votes()
    test.poll(votes, preds, q_halt_logits)
    return votes.answers()


def score_arc(
    dataset_dir: Path,
    preds: np.ndarray,
    q_halt_logits: np.ndarray,
    ks: Sequence[int] = PASS_KS,
) -> ArcScore:
    """Count one checkpoint's votes and score them: `count_votes`, then `score_answers`."""
    return score_answers(dataset_dir, count_votes(dataset_dir, preds, q_halt_logits), ks)


def lacks_solutions(dataset_dir: Path) -> bool:
    """Whether nobody has a solution of this dataset's test set, as of a competition's; no accuracy
    means anything there. False for what is not an ARC dataset."""
    path = Path(dataset_dir) / TEST_PUZZLES
    return path.is_file() and not _any_solution(read_test_puzzles(Path(dataset_dir)))


def refuse_without_solutions(dataset_dir: Path) -> None:
    """TrmError where there is nothing to score with."""
    if lacks_solutions(dataset_dir):
        raise TrmError(
            f"{dataset_dir} tests on tasks without solutions, so that nothing can be scored: its "
            "result is submission.json"
        )


def without_accuracy(metrics: Mapping[str, float]) -> dict[str, float]:
    """What remains of an evaluation's metrics where no solution is known."""
    return {n: value for n, value in metrics.items() if not entry_of(n).needs_solutions}


def _any_solution(test_puzzles: Mapping[str, dict]) -> bool:
    """Single tasks may truly be answered by [[0]], but not a whole test set."""
    pairs = (pair for puzzle in test_puzzles.values() for pair in puzzle["test"])
    return any(pair["output"] != NO_SOLUTION for pair in pairs)


def score_by_votes(
    dataset_dir: Path,
    answers: Answers,
    q_halt_logits: np.ndarray,
    counts: Sequence[int] = VOTE_COUNTS,
) -> dict[int, dict[str, float]]:
    """The metrics when only the first n puzzles of each group vote, for each n of `counts`.

    A group is a task's plain puzzle and then its augmentations in the dataset's order; 1 is the
    plain puzzle alone. A count that no group reaches would vote like a smaller one under a false
    name: it stands for the whole of the largest group, and under that group's size.

    The ranks of fewer votes are counted here, from which answer each row voted for: they do not
    follow from those of all votes.

    Args:
        dataset_dir, q_halt_logits: as for `count_votes`, and `answers` are what that returned.
        counts: each at least 1.

    Returns:
        By ascending number of voting puzzles: "ARC/pass@K" -> 0..1 and "ARC/tasks".

    Raises:
        TrmError: as `score_answers`, the answers and logits are not of the same rows, or a count is
            below 1.
    """
    if min(counts, default=0) < 1:
        raise TrmError(f"numbers of votes {list(counts)}: give at least one, each 1 or more")
    refuse_without_solutions(dataset_dir)
    places, largest_group = _places_in_groups(load_split(Path(dataset_dir), "test"))
    if not len(places) == len(answers.voted) == len(q_halt_logits):
        raise TrmError(
            f"{dataset_dir} has {len(places)} test rows, but there are votes of "
            f"{len(answers.voted)} and predictions of {len(q_halt_logits)}: they are of another "
            "dataset; evaluate the checkpoint on this one again"
        )
    q = halting_probability(q_halt_logits)
    puzzles = _puzzles_of(Path(dataset_dir), answers)
    scores = {
        n: _score(puzzles, answers.by(places < n, q), PASS_KS)
        for n in sorted({min(n, largest_group) for n in counts})
    }
    return {n: {**score.metrics, "ARC/tasks": score.n_tasks} for n, score in scores.items()}


@dataclass(frozen=True)
class PooledScore:
    """The score of one checkpoint, and of all checkpoints up to it together."""

    alone: ArcScore
    pooled: ArcScore  # its metrics are named "ARC/pooled_pass@K"


def pooled_scores(
    dataset_dir: Path, predictions: Iterable[Predictions], ks: Sequence[int] = PASS_KS
) -> Iterator[PooledScore]:
    """Score the votes of more and more checkpoints together, as "ARC/pooled_pass@K".

    The n-th score pools the first n checkpoints, as the published code does over a run's
    evaluations. Not comparable with `score_arc`'s pass@K: more voters, of more models. The order of
    the checkpoints decides between full ties only.

    Args:
        dataset_dir: dataset folder (docs/specification.md#dataset-format).
        predictions: one per checkpoint, each of the whole test split; read one at a time.
        ks: the K of pass@K.

    Raises:
        TrmError: as `score_arc`.
    """
    refuse_without_solutions(dataset_dir)
    test = _TestSplit.load(dataset_dir)
    votes, n_rows = test.new_votes(), 0
    for one in predictions:
        test.poll(votes, one.preds, one.q_halt_logits)
        alone, pooled = (
            _score(test.test_puzzles, votes.answers(first_row), ks) for first_row in (n_rows, 0)
        )
        renamed = {f"ARC/pooled_pass@{k}": pooled.metrics[f"ARC/pass@{k}"] for k in ks}
        yield PooledScore(alone, replace(pooled, metrics=renamed))
        n_rows += len(one.preds)


@dataclass(frozen=True)
class _TestSplit:
    """What a vote needs of a dataset."""

    test_puzzles: TestPuzzles
    identifiers: Sequence[str]
    split: Split

    @staticmethod
    def load(dataset_dir: Path) -> _TestSplit:
        dataset_dir = Path(dataset_dir)
        split = load_split(dataset_dir, "test")
        puzzles = read_test_puzzles(dataset_dir)
        return _TestSplit(puzzles, load_identifiers(dataset_dir), split)

    def new_votes(self) -> Votes:
        return Votes(self.test_puzzles, self.identifiers, self.split.metadata.blank_identifier_id)

    def poll(self, votes: Votes, preds: np.ndarray, q_halt_logits: np.ndarray) -> None:
        """Let all rows vote, in the order of the split; TrmError as `count_votes`."""
        sets = self.split.sets.values()
        n_rows = sum(len(arrays.inputs) for arrays in sets)
        check_predictions(preds, q_halt_logits, n_rows, self.split.metadata)
        start = 0
        with Progress(n_rows, "voting", "answers") as progress:
            for arrays in sets:
                identifiers = _per_row(arrays, arrays.puzzle_identifiers)
                for rows in _chunks(len(arrays.inputs)):
                    part = slice(start + rows.start, start + rows.stop)
                    inputs = arrays.inputs[rows]
                    votes.add(identifiers[rows], inputs, preds[part], q_halt_logits[part])
                    progress.update(rows.stop - rows.start)
                start += len(arrays.inputs)


def _per_row(arrays: SetArrays, of_puzzles: np.ndarray) -> np.ndarray:
    """Values of puzzles [P] for each of their examples [N]."""
    return np.repeat(of_puzzles, np.diff(arrays.puzzle_indices))


def _places_in_groups(split: Split) -> tuple[np.ndarray, int]:
    """The place of each row's puzzle in its group, from 0, [N]; puzzles of the largest group (1
    where there is no group)."""
    places, largest = [np.empty(0, np.int64)], 1
    for arrays in split.sets.values():
        sizes = np.diff(arrays.group_indices)
        first = np.repeat(arrays.group_indices[:-1], sizes)
        of_puzzles = np.arange(len(arrays.puzzle_identifiers)) - first
        places.append(_per_row(arrays, of_puzzles))
        largest = max(largest, int(sizes.max(initial=1)))
    return np.concatenate(places), largest


def check_predictions(
    preds: np.ndarray, q_halt_logits: np.ndarray, n_rows: int, metadata: DatasetMetadata
) -> None:
    """Refuse predictions that cannot be of a split of `n_rows` rows with this metadata.

    Raises:
        TrmError: wrong number of rows, sequence length or token; or a halting logit that is NaN.
    """
    remedy = "evaluate the checkpoint on this dataset again"
    expected = (n_rows, metadata.seq_len)
    if preds.shape != expected:
        raise TrmError(
            f"the predictions have shape {preds.shape}, but the dataset's test split {expected}: "
            f"they are of another dataset; {remedy}"
        )
    if q_halt_logits.shape != (n_rows,):
        raise TrmError(
            f"q_halt_logits has shape {q_halt_logits.shape}, expected {(n_rows,)}; {remedy}"
        )
    if np.isnan(q_halt_logits).any():
        raise TrmError("q_halt_logits holds NaN: the checkpoint has diverged; take an earlier one")
    low, high = (int(preds.min()), int(preds.max())) if preds.size else (0, 0)
    if low < 0 or high >= metadata.vocab_size:
        raise TrmError(
            f"the predictions hold tokens {low}..{high}, but the dataset's vocabulary is "
            f"0..{metadata.vocab_size - 1}; {remedy}"
        )


def crop(tokens: np.ndarray) -> Iterator[np.ndarray]:
    """Cut the grid out of each canvas: the largest rectangle from the top-left free of tokens < 2.

    Rows are scanned from the top; a row's width is that of the row above or less. Of rectangles
    of equal area the one with fewer rows counts.

    Args:
        tokens: [B, seq_len], a square canvas row by row.

    Yields:
        B grids, uint8 [H, W] of colours 0..9; [0, 0] if the first token is not a colour.
    """
    side = isqrt(tokens.shape[1])
    canvas = np.asarray(tokens).reshape(-1, side, side)
    for grid, rows, columns in zip(canvas, *_sizes(canvas), strict=True):
        yield (grid[:rows, :columns] - _FIRST_COLOUR).astype(np.uint8)


def _sizes(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [B] and columns [B] of the grids on canvases [B, side, side] (`crop`)."""
    side = canvas.shape[1]
    is_end = canvas < _FIRST_COLOUR
    row_width = np.where(is_end.any(axis=2), is_end.argmax(axis=2), side)  # [B, side]
    width = np.minimum.accumulate(row_width, axis=1)
    area = width * np.arange(1, side + 1)
    last_row = area.argmax(axis=1)
    columns = np.take_along_axis(width, last_row[:, None], axis=1)[:, 0]
    return np.where(columns > 0, last_row + 1, 0), columns


def without_surroundings(tokens: np.ndarray) -> np.ndarray:
    """Canvases [B, seq_len] with padding outside of the grids that `crop` cuts out: what a model
    writes there is not a part of its answer."""
    side = isqrt(tokens.shape[1])
    canvas = np.asarray(tokens).reshape(-1, side, side)
    rows, columns = _sizes(canvas)
    place = np.arange(side)
    inside = (place < rows[:, None])[:, :, None] & (place < columns[:, None])[:, None, :]
    return np.where(inside, canvas, 0).astype(tokens.dtype).reshape(tokens.shape)


def write_submission(path: Path, submission: dict[str, list[dict[str, Grid]]]) -> None:
    """Write Kaggle's submission.json; a reader of `path` never meets half a file."""
    with atomic_write(Path(path)) as file:
        file.write(json.dumps(submission).encode())


def _attempts(test: ScoredInput) -> dict[str, Grid]:
    """First two candidates; the one guess repeated where there is no second."""
    guesses = [candidate.grid.tolist() for candidate in test.attempts]
    # A test input that nobody answered still needs an entry, or Kaggle shifts the others.
    guesses = guesses or [[[0]]]
    return {f"attempt_{i + 1}": guesses[min(i, len(guesses) - 1)] for i in range(ATTEMPTS)}


def mean_share(shares: Sequence[float]) -> float:
    # Not sum(): from Python 3.12 on it compensates, and the last digit would depend on the version.
    total = 0.0
    for share in shares:
        total += share
    return total / len(shares)


def _array(grid: Grid) -> np.ndarray:
    return np.array(grid, dtype=np.uint8)


def _chunks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, n_rows))


def read_test_puzzles(dataset_dir: Path) -> TestPuzzles:
    """Task name -> {"train": [pair, ...], "test": [pair, ...]}; TrmError where there is none."""
    path = dataset_dir / TEST_PUZZLES
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrmError(
            f"{path} is missing: votes need an ARC dataset; build it with "
            "python -m dataset.build_arc_dataset"
        ) from None
    except json.JSONDecodeError as error:
        raise TrmError(f"{path} is not JSON ({error}); build the dataset again") from None
