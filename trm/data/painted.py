"""Examples painted when they are read: on disk are the puzzles and what was drawn for each example.

SET__augmentations.npz takes the place of SET__inputs.npy and SET__labels.npy; all else of a dataset
is the same, and so is every token read. For ARC with 1,000 augmentations that is 7 GB less.

    kind             "arc" or "sudoku"
  arc:    cells [all cells] uint8 colours of every task; pairs [T, 6] int32, per pair (start in
          cells, rows, columns) of the input, then of the output; first_pair [G], row of pairs where
          a group's begin; dihedrals [P], colour_maps [P, 10]; offsets [N, 2], top and left
  sudoku: questions, answers [G, cells] digits, 0 for a blank; digits [P, side + 1],
          transposed [P], rows [P, side], columns [P, side]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np

from trm.data.arc_kernels import first_unpaintable, paint_grids
from trm.data.dataset import AUGMENTATIONS, SET
from trm.data.sudoku_kernels import shuffle_boards
from trm.puzzles.augmentation import COLOURS


@dataclass(frozen=True)
class PaintedExamples:
    """Reads like an array [N, S] of tokens; what is indexed is painted then."""

    shape: tuple[int, int]
    paint: Callable[[np.ndarray], np.ndarray]  # example indices [k] -> tokens [k, S]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | np.ndarray | int) -> np.ndarray:
        """Tokens of the rows of a slice, of indices [k] from 0 on, or of one index."""
        if isinstance(index, slice):
            return self.paint(np.arange(*index.indices(len(self))))
        examples = np.atleast_1d(index)
        if examples.size and not 0 <= examples.min() <= examples.max() < len(self):
            raise IndexError(f"an example outside 0..{len(self) - 1}")
        return self.paint(examples) if np.ndim(index) else self.paint(examples)[0]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        tokens = self[:]
        return tokens if dtype is None else tokens.astype(dtype, copy=False)


def write_augmentations(split_folder: Path, kind: str, **arrays: np.ndarray) -> None:
    """Write SET__augmentations.npz; the arrays are those named above."""
    np.savez(split_folder / f"{SET}{AUGMENTATIONS}", kind=np.array(kind), **arrays)


def painted_examples(
    path: Path, puzzle_indices: np.ndarray, group_indices: np.ndarray, seq_len: int
) -> tuple[PaintedExamples, PaintedExamples]:
    """Inputs and labels of the set that `path` describes.

    Raises ValueError, LookupError or TypeError where it is damaged.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    kind = str(arrays.pop("kind"))
    if kind not in ("arc", "sudoku"):
        raise ValueError(f"it is of kind {kind!r}, neither arc nor sudoku")
    source = (ArcAugmentations if kind == "arc" else SudokuShuffles)(
        puzzle_indices=puzzle_indices, group_indices=group_indices, seq_len=seq_len, **arrays
    )
    source.check()
    shape = (int(puzzle_indices[-1]), seq_len)
    inputs, labels = (
        PaintedExamples(shape, lambda examples, side=side: source.paint(examples, side))
        for side in (0, 1)
    )
    return inputs, labels


@dataclass(frozen=True)
class ArcAugmentations:
    """N examples of P augmentations of G tasks; arrays as in the file."""

    puzzle_indices: np.ndarray  # [P + 1]
    group_indices: np.ndarray  # [G + 1]
    seq_len: int
    cells: np.ndarray
    pairs: np.ndarray
    first_pair: np.ndarray
    dihedrals: np.ndarray
    colour_maps: np.ndarray
    offsets: np.ndarray

    def check(self) -> None:
        """Refuse what the loops would read or write outside of."""
        puzzles, groups = len(self.puzzle_indices) - 1, len(self.group_indices) - 1
        _expect("dihedrals", self.dihedrals, (puzzles,), 8)
        _expect("colour_maps", self.colour_maps, (puzzles, COLOURS), COLOURS)
        _expect("offsets", self.offsets, (int(self.puzzle_indices[-1]), 2), isqrt(self.seq_len))
        _expect("first_pair", self.first_pair, (groups,), len(self.pairs))
        _expect("cells", self.cells, self.cells.shape[:1], COLOURS)
        _expect("pairs", self.pairs, (len(self.pairs), 6), len(self.cells) + 1)
        for offsets, end in (
            (self.puzzle_indices, len(self.offsets)),
            (self.group_indices, puzzles),
        ):
            if offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
                raise ValueError(f"the indices beside it do not run from 0 up to {end}")
        canvas = isqrt(self.seq_len)
        example = first_unpaintable(
            self.puzzle_indices,
            self.group_indices,
            self.first_pair,
            self.pairs,
            len(self.cells),
            self.dihedrals,
            self.offsets,
            canvas,
        )
        if example >= 0:
            raise ValueError(f"example {example} does not fit a canvas of {canvas}x{canvas}")

    def paint(self, examples: np.ndarray, side: int) -> np.ndarray:
        """Tokens [k, S] of the inputs (side 0) or of the labels (side 1)."""
        puzzles = np.searchsorted(self.puzzle_indices, examples, side="right") - 1
        groups = np.searchsorted(self.group_indices, puzzles, side="right") - 1
        pairs = self.first_pair[groups] + examples - self.puzzle_indices[puzzles]
        canvas = isqrt(self.seq_len)
        out = np.empty((len(examples), canvas, canvas), dtype=np.uint8)
        paint_grids(
            self.cells,
            self.pairs[pairs, 3 * side : 3 * side + 3],
            self.dihedrals[puzzles],
            self.colour_maps[puzzles],
            self.offsets[examples],
            out,
        )
        return out.reshape(len(examples), self.seq_len)


@dataclass(frozen=True)
class SudokuShuffles:
    """P shuffles of G boards, each a puzzle of one example; arrays as in the file."""

    puzzle_indices: np.ndarray  # [P + 1]
    group_indices: np.ndarray  # [G + 1]
    seq_len: int
    questions: np.ndarray
    answers: np.ndarray
    digits: np.ndarray
    transposed: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def check(self) -> None:
        """Refuse what the loops would read outside of."""
        puzzles, groups = len(self.puzzle_indices) - 1, len(self.group_indices) - 1
        side = isqrt(self.seq_len)
        for name in ("questions", "answers"):
            _expect(name, getattr(self, name), (groups, self.seq_len), side + 1)
        _expect("digits", self.digits, (puzzles, side + 1), side + 1)
        _expect("transposed", self.transposed, (puzzles,), 2)
        for name in ("rows", "columns"):
            _expect(name, getattr(self, name), (puzzles, side), side)

    def paint(self, examples: np.ndarray, side: int) -> np.ndarray:
        """Tokens [k, S] of the questions (side 0) or of the answers (side 1)."""
        boards = np.searchsorted(self.group_indices, examples, side="right") - 1
        out = np.empty((len(examples), self.seq_len), dtype=np.uint8)
        shuffle_boards(
            (self.answers if side else self.questions)[boards],
            self.digits[examples],
            self.transposed[examples],
            self.rows[examples],
            self.columns[examples],
            out,
        )
        return out + np.uint8(1)


def _expect(name: str, array: np.ndarray, shape: tuple[int, ...], end: int) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} is of shape {array.shape}, {shape} follows from the indices")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < end:
        raise ValueError(f"{name} has a value outside 0..{end - 1}")
