"""The stream of batches, the same rows in the same order for any number of ranks
(docs/specification.md#batches)."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trm.data.dataset import DatasetMetadata, SetArrays
from trm.data.read import load_split
from trm.errors import TrmError

IGNORE_LABEL = -100


@dataclass(frozen=True)
class Rows:
    """One rank's rows of a batch, as int32: inputs and labels [b, S], puzzle_identifiers [b]."""

    inputs: np.ndarray
    labels: np.ndarray
    puzzle_identifiers: np.ndarray


@dataclass(frozen=True)
class PuzzleData:
    """One split of one or several datasets that share their sizes and their identifiers."""

    metadata: DatasetMetadata  # with totals over all paths
    sets: tuple[SetArrays, ...]

    @staticmethod
    def load(paths: list[str], split: str) -> PuzzleData:
        splits = [load_split(Path(path), split) for path in paths]
        first = splits[0].metadata
        for path, other in zip(paths[1:], splits[1:], strict=True):
            check_compatible(first, other.metadata, paths[0], path)
        puzzles = sum(s.metadata.total_puzzles for s in splits)
        examples = sum(s.metadata.mean_puzzle_examples * s.metadata.total_puzzles for s in splits)
        merged = first.model_copy(
            update={
                "total_groups": sum(s.metadata.total_groups for s in splits),
                "total_puzzles": puzzles,
                "mean_puzzle_examples": examples / puzzles
                if len(splits) > 1
                else first.mean_puzzle_examples,
            }
        )
        return PuzzleData(merged, tuple(a for s in splits for a in s.sets.values()))

    @property
    def n_examples(self) -> int:
        return sum(len(arrays.inputs) for arrays in self.sets)

    def total_steps(self, epochs: int, global_batch_size: int) -> int:
        """int(epochs · total_groups · mean_puzzle_examples / global_batch_size)."""
        m = self.metadata
        return int(epochs * m.total_groups * m.mean_puzzle_examples / global_batch_size)

    def steps_to_run(self, epochs: int, epochs_per_iteration: int, global_batch_size: int) -> int:
        """The steps of `total_steps` that are run: each iteration drops its last partial batch.

        Exact for boards. What a batch's end cuts off a puzzle of several examples is drawn, so
        that of those it is only a bound.
        """
        bound = self.total_steps(epochs, global_batch_size)
        if any((np.diff(arrays.puzzle_indices) != 1).any() for arrays in self.sets):
            return bound
        per_iteration = sum(
            (len(arrays.group_indices) - 1) * epochs_per_iteration // global_batch_size
            for arrays in self.sets
        )
        return min(bound, epochs // epochs_per_iteration * per_iteration)


def check_compatible(
    first: DatasetMetadata, other: DatasetMetadata, first_name: str, other_name: str
) -> None:
    """Refuse two datasets that one model cannot serve; names the field and both values."""
    for field in (
        "seq_len",
        "vocab_size",
        "num_puzzle_identifiers",
        "pad_id",
        "ignore_label_id",
        "blank_identifier_id",
    ):
        a, b = getattr(first, field), getattr(other, field)
        if a != b:
            raise TrmError(
                f"{first_name} and {other_name} cannot be used together: {field} is {a} in the "
                f"first and {b} in the second"
            )


def train_batches(
    data: PuzzleData,
    seed: int,
    iteration: int,
    epochs: int,
    global_batch_size: int,
    rows: slice,
    skip: int = 0,
) -> Iterator[Rows]:
    """Batches of training iteration `iteration` (from 1), which spans `epochs` epochs.

    Every rank draws the same global order and takes its `rows` of each batch. The published code
    picks examples from an unseeded global stream, which differs between ranks; here they come
    from the iteration's own generator. `skip` leaves out batches already trained on, at the cost
    of their draws only.
    """
    for index, arrays in enumerate(data.sets):
        stream = (iteration - 1) * len(data.sets) + index + 1
        rng = np.random.Generator(np.random.Philox(seed=seed + stream))
        for examples, puzzles in _draw_batches(arrays, rng, epochs, global_batch_size):
            if skip > 0:
                skip -= 1
                continue
            yield _take(
                arrays, examples[rows], arrays.puzzle_identifiers[puzzles[rows]], data.metadata
            )


def _draw_batches(
    arrays: SetArrays, rng: np.random.Generator, epochs: int, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(example indices [size], puzzle indices [size]) of each full batch; the last partial one is
    dropped. A puzzle cut off at a batch's end is not continued in the next."""
    groups, puzzles = arrays.group_indices, arrays.puzzle_indices
    order = np.concatenate([rng.permutation(len(groups) - 1) for _ in range(epochs)])
    if (np.diff(puzzles) == 1).all():
        # Boards: the loop below would draw the same numbers, a thousand times slower, since numpy
        # fills an array of bounded integers one by one and draws nothing to choose 1 of 1.
        picked = rng.integers(groups[order], groups[order + 1])
        for start in range(0, len(picked) - size + 1, size):
            owners_of_batch = picked[start : start + size]
            yield puzzles[owners_of_batch], owners_of_batch
        return
    examples: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    filled = 0
    for group in order:
        puzzle = rng.integers(groups[group], groups[group + 1])
        start, end = int(puzzles[puzzle]), int(puzzles[puzzle + 1])
        take = min(end - start, size - filled)
        examples.append(start + rng.choice(end - start, take, replace=False))
        owners.append(np.full(take, puzzle))
        filled += take
        if filled == size:
            yield np.concatenate(examples), np.concatenate(owners)
            examples, owners, filled = [], [], 0


def eval_batch_sizes(data: PuzzleData, global_batch_size: int) -> list[int]:
    """How many examples each batch of `eval_batches` has."""
    return [
        min(global_batch_size, len(arrays.inputs) - start)
        for arrays in data.sets
        for start in range(0, len(arrays.inputs), global_batch_size)
    ]


def eval_batches(
    data: PuzzleData, global_batch_size: int, rows: slice, wanted: Container[int] | None = None
) -> Iterator[Rows]:
    """All test examples in order, or the batches of them with the numbers `wanted` (from 0); this
    rank's rows, a set's last batch padded with blank rows."""
    numbers = itertools.count()
    for arrays in data.sets:
        owners = np.repeat(arrays.puzzle_identifiers, np.diff(arrays.puzzle_indices))
        for start in range(0, len(arrays.inputs), global_batch_size):
            number = next(numbers)
            if wanted is not None and number not in wanted:
                continue
            end = min(start + global_batch_size, len(arrays.inputs))
            mine = np.arange(start, end)[rows]
            taken = _take(arrays, mine, owners[mine], data.metadata)
            yield _pad(taken, rows.stop - rows.start, data.metadata)


def take_examples(data: PuzzleData, examples: np.ndarray) -> Rows:
    """Some examples [k], numbered over all sets; ascending."""
    parts = []
    start = 0
    for arrays in data.sets:
        end = start + len(arrays.inputs)
        mine = examples[np.searchsorted(examples, start) : np.searchsorted(examples, end)] - start
        puzzles = np.searchsorted(arrays.puzzle_indices, mine, side="right") - 1
        parts.append(_take(arrays, mine, arrays.puzzle_identifiers[puzzles], data.metadata))
        start = end
    names = ("inputs", "labels", "puzzle_identifiers")
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _take(
    arrays: SetArrays, examples: np.ndarray, identifiers: np.ndarray, metadata: DatasetMetadata
) -> Rows:
    labels = arrays.labels[examples].astype(np.int32)
    if metadata.ignore_label_id is not None:
        labels[labels == metadata.ignore_label_id] = IGNORE_LABEL
    return Rows(arrays.inputs[examples].astype(np.int32), labels, identifiers.astype(np.int32))


def _pad(rows: Rows, size: int, metadata: DatasetMetadata) -> Rows:
    missing = size - len(rows.inputs)
    if missing == 0:
        return rows
    wide = ((0, missing), (0, 0))
    return Rows(
        np.pad(rows.inputs, wide, constant_values=metadata.pad_id),
        np.pad(rows.labels, wide, constant_values=IGNORE_LABEL),
        np.pad(rows.puzzle_identifiers, (0, missing), constant_values=metadata.blank_identifier_id),
    )


def rank_rows(rank: int, world_size: int, global_batch_size: int) -> slice:
    """Rank r takes rows r·B/W .. (r+1)·B/W."""
    local = global_batch_size // world_size
    return slice(rank * local, (rank + 1) * local)
