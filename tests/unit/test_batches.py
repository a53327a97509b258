from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trm.data.batches import IGNORE_LABEL, PuzzleData, eval_batches, rank_rows, train_batches
from trm.data.dataset import DatasetMetadata, SetArrays
from trm.errors import TrmError


def made(puzzles_per_group: list[list[int]], ignore: int | None = 0) -> PuzzleData:
    """Groups of puzzles of the given sizes; example i has the token i everywhere."""
    sizes = [size for group in puzzles_per_group for size in group]
    n = sum(sizes)
    metadata = DatasetMetadata(
        pad_id=0,
        ignore_label_id=ignore,
        blank_identifier_id=0,
        vocab_size=n + 2,
        seq_len=3,
        num_puzzle_identifiers=len(sizes) + 1,
        total_groups=len(puzzles_per_group),
        mean_puzzle_examples=n / len(sizes),
        total_puzzles=len(sizes),
        sets=["all"],
    )
    inputs = np.repeat(np.arange(n, dtype=np.int32)[:, None], 3, axis=1)
    arrays = SetArrays(
        inputs=inputs,
        labels=inputs.copy(),
        puzzle_identifiers=np.arange(1, len(sizes) + 1, dtype=np.int32),
        puzzle_indices=np.cumsum([0, *sizes], dtype=np.int32),
        group_indices=np.cumsum([0, *map(len, puzzles_per_group)], dtype=np.int32),
    )
    return PuzzleData(metadata, (arrays,))


def reference_stream(data: PuzzleData, seed: int, iteration: int, epochs: int, size: int) -> list:
    """docs/specification.md#batches read literally, one example at a time."""
    arrays = data.sets[0]
    rng = np.random.Generator(np.random.Philox(seed=seed + iteration))
    order = np.concatenate([rng.permutation(data.metadata.total_groups) for _ in range(epochs)])
    batches, batch = [], []
    for g in order:
        p = rng.integers(arrays.group_indices[g], arrays.group_indices[g + 1])
        of_puzzle = np.arange(arrays.puzzle_indices[p], arrays.puzzle_indices[p + 1])
        take = min(size - len(batch), len(of_puzzle))
        batch += list(of_puzzle[rng.choice(len(of_puzzle), take, replace=False)])
        if len(batch) == size:
            batches.append(batch)
            batch = []
    return batches


@pytest.mark.parametrize(
    "puzzles",
    [
        [[3, 2], [1], [4, 4, 4], [2]],
        [[1] * 7, [1], [1, 1], [1] * 1000],  # boards, which are drawn at once
    ],
)
def test_stream_is_the_specified_one(puzzles: list[list[int]]) -> None:
    data = made(puzzles)
    for iteration in (1, 2):
        got = list(train_batches(data, 5, iteration, 6, 4, slice(0, 4)))
        wanted = reference_stream(data, 5, iteration, 6, 4)
        assert [list(rows.inputs[:, 0]) for rows in got] == wanted
        assert len(wanted) > 3


def test_ranks_share_one_stream() -> None:
    data = made([[3], [2], [5], [1], [2]])
    whole = list(train_batches(data, 0, 1, 8, 6, slice(0, 6)))
    for world in (2, 3):
        parts = [
            list(train_batches(data, 0, 1, 8, 6, rank_rows(r, world, 6))) for r in range(world)
        ]
        for i, rows in enumerate(whole):
            joined = np.concatenate([parts[r][i].inputs for r in range(world)])
            np.testing.assert_array_equal(joined, rows.inputs)


def test_skipping_continues_the_same_stream() -> None:
    data = made([[3], [2], [5], [1], [2]])
    whole = list(train_batches(data, 0, 1, 8, 6, slice(0, 6)))
    rest = list(train_batches(data, 0, 1, 8, 6, slice(0, 6), skip=2))
    np.testing.assert_array_equal(rest[0].inputs, whole[2].inputs)
    assert len(rest) == len(whole) - 2


def test_labels_and_identifiers_follow_their_example() -> None:
    data = made([[3, 2], [1]])
    for rows in train_batches(data, 1, 1, 20, 4, slice(0, 4)):
        wanted = np.where(rows.inputs == 0, IGNORE_LABEL, rows.inputs)
        np.testing.assert_array_equal(rows.labels, wanted)
        owner = np.searchsorted(data.sets[0].puzzle_indices, rows.inputs[:, 0], side="right")
        np.testing.assert_array_equal(rows.puzzle_identifiers, owner)


def test_evaluation_is_in_order_and_padded_with_blank_rows() -> None:
    data = made([[3, 2], [2]])
    batches = list(eval_batches(data, 4, slice(0, 4)))
    assert [list(b.inputs[:, 0]) for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 0]]
    assert (batches[1].labels[3] == IGNORE_LABEL).all()
    assert list(batches[1].puzzle_identifiers) == [2, 3, 3, 0]
    # A rank whose share of the last batch is empty still gets rows, all blank.
    second = list(eval_batches(made([[5]]), 4, rank_rows(1, 2, 4)))
    assert (second[1].labels == IGNORE_LABEL).all()


@pytest.mark.parametrize("epochs_per_iteration", [1, 2, 5, 10])
def test_steps_to_run_of_boards_are_those_that_come(epochs_per_iteration: int) -> None:
    data = made([[1] * 3, [1], [1, 1], [1]])
    come = sum(
        len(list(train_batches(data, 0, i, epochs_per_iteration, 3, slice(0, 3))))
        for i in range(1, 10 // epochs_per_iteration + 1)
    )
    assert data.steps_to_run(10, epochs_per_iteration, 3) == come
    assert (come < data.total_steps(10, 3)) == (epochs_per_iteration < 10)


def test_steps_to_run_of_larger_puzzles_are_a_bound() -> None:
    data = made([[3, 2], [4, 4]])
    assert data.steps_to_run(10, 5, 3) == data.total_steps(10, 3)


def test_total_steps() -> None:
    data = made([[3, 2], [1]])  # 2 groups, 2 examples per puzzle in the mean
    assert data.total_steps(epochs=10, global_batch_size=3) == int(10 * 2 * 2.0 / 3)


def test_two_paths_are_one_stream_each(sudoku_data: Path) -> None:
    one = PuzzleData.load([str(sudoku_data)], "train")
    two = PuzzleData.load([str(sudoku_data)] * 2, "train")
    assert two.metadata.total_groups == 2 * one.metadata.total_groups
    assert two.metadata.mean_puzzle_examples == one.metadata.mean_puzzle_examples
    # The stream's number grows by set: iteration 1 of the second path is stream 2.
    first = [b.inputs for b in train_batches(two, 0, 1, 1, 8, slice(0, 8))]
    assert len(first) == 2 * len(list(train_batches(one, 0, 1, 1, 8, slice(0, 8))))
    expected = [b.inputs for b in train_batches(one, 0, 2, 1, 8, slice(0, 8))]
    np.testing.assert_array_equal(first[len(first) // 2], expected[0])


def test_missing_dataset_says_how_to_build_it() -> None:
    with pytest.raises(TrmError, match="build the dataset first"):
        PuzzleData.load(["data/never-built"], "train")
