"""How many test puzzles are in the training split too.

A test puzzle counts where the training split has it as it is: of ARC the pair of a test input and
its answer, of boards the question. Images of it that augmentations make do not count. Puzzles are
compared by a key of 64 bits, so that millions of them take a second and little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isqrt
from pathlib import Path

import numpy as np

from trm.data.dataset import SetArrays
from trm.data.read import load_split
from trm.data.specs import TEST_PUZZLES
from trm.errors import TrmError
from trm.progress import say

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Overlap:
    """`shared` of `total` test puzzles; `first` is the number of the first of them, from 0."""

    shared: int
    total: int
    first: int = 0

    @staticmethod
    def of(train: np.ndarray, test: np.ndarray) -> Overlap:
        """Compare the keys uint64 of training puzzles [n] with those of test puzzles [m]."""
        if not len(train) or not len(test):
            return Overlap(0, len(test))
        train = np.sort(train)
        places = np.minimum(np.searchsorted(train, test), len(train) - 1)
        shared = train[places] == test
        return Overlap(int(shared.sum()), len(test), int(shared.argmax()))

    def __str__(self) -> str:
        return f"{self.shared:,} of {self.total:,}"

    def facts(self) -> dict[str, int]:
        """The counts by their names in provenance.json."""
        return {"shared": self.shared, "total": self.total}

    def refuse_most(self, allowed: bool, name: Callable[[int], str]) -> None:
        """Say how many they are; TrmError where they are more than half, unless that is `allowed`.

        `name` gives the name of a test puzzle for its number.
        """
        if 2 * self.shared > self.total and not allowed:
            raise TrmError(
                f"{self} test puzzles are in the training split too, {name(self.first)} for one: a "
                "score would say little about unseen puzzles. Train on others, or build it all the "
                "same with --allow-test-in-train (allow_test_in_train: true in config.yaml)"
            )
        say(f"test puzzles that are in the training split too: {self}")


def overlap_of_datasets(train: Sequence[str | Path], test: Sequence[str | Path]) -> Overlap:
    """How many puzzles in the test splits of the datasets `test` are in the training splits of the
    datasets `train`, whoever built them. TrmError where one is missing or damaged."""
    known, asked = (
        np.concatenate([_keys_of(Path(folder), split) for folder in folders])
        for folders, split in ((train, "train"), (test, "test"))
    )
    return Overlap.of(known, asked)


# --- keys -----------------------------------------------------------------------------------------


def row_keys(rows: np.ndarray) -> np.ndarray:
    """A key uint64 [n] of each row [n, S] of small numbers; equal where the rows are."""
    return rows.astype(np.uint64) @ _weights(rows.shape[1])


def pair_keys(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A key uint64 [n] of each ARC example, canvases [n, S] of tokens; equal where both grids are
    equal, wherever they are on their canvases."""
    return row_keys(np.hstack([_moved_to_corner(inputs), _moved_to_corner(labels)]))


def _moved_to_corner(canvases: np.ndarray) -> np.ndarray:
    """Each canvas [n, S] with its grid at the top left, and without the marks of the grid's end."""
    side = isqrt(canvases.shape[1])
    cells = np.where(canvases < 2, 0, canvases).reshape(-1, side, side)
    moved = np.zeros_like(cells)
    tops, lefts = (cells.any(axis=axis).argmax(axis=1) for axis in (2, 1))
    for grid, top, left, out in zip(cells, tops, lefts, moved, strict=True):
        out[: side - top, : side - left] = grid[top:, left:]
    return moved.reshape(len(moved), -1)


@cache
def _weights(length: int) -> np.ndarray:
    """Odd numbers uint64 [length], with which two different rows have equal sums of products once
    in 2^60 times."""
    draw = np.random.default_rng(0)  # fixed, and no part of a dataset
    return draw.integers(2**63, size=length, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


# --- datasets on disk -----------------------------------------------------------------------------


def _keys_of(dataset: Path, split: str) -> np.ndarray:
    is_arc = (dataset / TEST_PUZZLES).is_file()  # which no other dataset has
    keys = [np.empty(0, dtype=np.uint64)]
    for arrays in load_split(dataset, split).sets.values():
        for rows in _blocks(_plain_rows(arrays)):
            inputs = np.asarray(arrays.inputs[rows])
            keys.append(
                pair_keys(inputs, np.asarray(arrays.labels[rows])) if is_arc else row_keys(inputs)
            )
    return np.concatenate(keys)


def _plain_rows(arrays: SetArrays) -> np.ndarray:
    """The examples [n] of each group's first puzzle, which is the plain one."""
    plain = arrays.group_indices[:-1]
    starts = arrays.puzzle_indices[plain].astype(np.int64)
    lengths = arrays.puzzle_indices[plain + 1] - starts
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
