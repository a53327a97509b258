"""The inner loops of the ARC builder: drawing augmentations and painting examples.

A task's pairs reach these loops as two arrays: `cells`, the colours of all its grids in a row, and
`pairs` [n, 6], per pair (start in cells, rows, columns) of the input, then of the output.
"""

from __future__ import annotations

import numpy as np

from trm.data.legacy_random import below, shuffle
from trm.puzzles.augmentation import COLOURS, DIHEDRALS
from trm.runtime.jit import compiled

END_OF_GRID = 1  # token; 0 is padding, colours start at 2
LANES = 2  # two independent 64-bit hashes make one of 128 bits

_GOLDEN, _MIX_A, _MIX_B = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
_EMPTY = np.uint64(0)


@compiled
def _source(dihedral: int, rows: int, columns: int) -> tuple[int, int, int]:
    """Where a transformed grid reads its cells: (first, step down, step right) in the flat source.

    Every symmetry of the square is affine, so that cell (i, j) is source[first + i·down + j·right].
    """
    last_row, last_column = (rows - 1) * columns, columns - 1
    if dihedral == 0:
        return 0, columns, 1
    if dihedral == 1:
        return last_column, -1, columns
    if dihedral == 2:
        return last_row + last_column, -columns, -1
    if dihedral == 3:
        return last_row, 1, -columns
    if dihedral == 4:
        return last_column, columns, -1
    if dihedral == 5:
        return last_row, -columns, 1
    if dihedral == 6:
        return 0, 1, columns
    return last_row + last_column, -1, -columns


@compiled
def _turned(dihedral: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns after the transform: quarter turns and transposes exchange them."""
    if dihedral == 1 or dihedral == 3 or dihedral >= 6:
        return columns, rows
    return rows, columns


# --- duplicates -----------------------------------------------------------------------------------
# Two augmentations of a task are the same when their pairs are, in any order. A pair's hash is
# linear in the colours' keys: Σ_colour (Σ_cells of that colour weight[cell]) · key[new colour]. The
# inner sums depend on the dihedral alone, so that a trial costs ten products a pair, not its cells.


@compiled
def _mix(x: np.uint64) -> np.uint64:
    """The finaliser of splitmix64: what is added over pairs must not stay linear."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_A
    x = (x ^ (x >> np.uint64(27))) * _MIX_B
    return x ^ (x >> np.uint64(31))


@compiled
def _colour_sums(
    cells: np.ndarray, pairs: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per dihedral and pair: sums [8, n, 10, LANES] of weights by colour; shape keys [8, n]."""
    n = len(pairs)
    sums = np.zeros((DIHEDRALS, n, COLOURS, LANES), dtype=np.uint64)
    shapes = np.zeros((DIHEDRALS, n), dtype=np.uint64)
    for dihedral in range(DIHEDRALS):
        for p in range(n):
            for side in range(2):
                start, rows, columns = pairs[p, 3 * side : 3 * side + 3]
                first, down, right = _source(dihedral, rows, columns)
                height, width = _turned(dihedral, rows, columns)
                shapes[dihedral, p] = shapes[dihedral, p] * np.uint64(4096) + np.uint64(
                    64 * height + width
                )
                for i in range(height):
                    for j in range(width):
                        colour = cells[start + first + i * down + j * right]
                        for lane in range(LANES):
                            sums[dihedral, p, colour, lane] += weights[lane, side, i, j]
    return sums, shapes


@compiled
def _augmentation_hash(
    sums: np.ndarray, shapes: np.ndarray, colour_map: np.ndarray, keys: np.ndarray, lane: int
) -> np.uint64:
    """Order-free hash of the pairs (sums [n, 10, LANES], shapes [n]) under a colour map."""
    total = np.uint64(0)
    for p in range(len(shapes)):
        h = shapes[p] * _GOLDEN
        for colour in range(COLOURS):
            h += sums[p, colour, lane] * keys[lane, colour_map[colour]]
        total += _mix(h)
    return total


@compiled
def _add_if_new(table: np.ndarray, low: np.uint64, high: np.uint64) -> bool:
    """Insert (low, high) in the open-addressed table [size, 2]; False where it was there."""
    size = np.uint64(len(table))
    low |= np.uint64(1)  # an empty slot is 0
    slot = high & (size - np.uint64(1))
    while table[slot, 0] != _EMPTY:
        if table[slot, 0] == low and table[slot, 1] == high:
            return False
        slot = (slot + np.uint64(1)) & (size - np.uint64(1))
    table[slot, 0], table[slot, 1] = low, high
    return True


@compiled
def draw_augmentations(
    state: np.ndarray,
    cells: np.ndarray,
    pairs: np.ndarray,
    trials: int,
    weights: np.ndarray,
    keys: np.ndarray,
    table: np.ndarray,
    dihedrals: np.ndarray,
    colour_maps: np.ndarray,
) -> int:
    """Draw up to `trials` augmentations; keep the distinct ones after the identity at 0.

    weights [LANES, 2, 30, 30] and keys [LANES, 10] are random uint64; table is scratch. Fills
    dihedrals [1 + num_aug] and colour_maps [1 + num_aug, 10]; returns how many entries are filled.
    """
    colour_maps[0] = np.arange(COLOURS).astype(np.uint8)
    dihedrals[0] = 0
    if trials == 0:
        return 1
    sums, shapes = _colour_sums(cells, pairs, weights)
    table[:] = _EMPTY
    kept = 0
    for trial in range(-1, trials):
        if trial >= 0:
            dihedrals[kept] = below(state, DIHEDRALS)
            colour_maps[kept] = colour_maps[0]
            shuffle(state, colour_maps[kept, 1:])
        d = dihedrals[kept]
        low = _augmentation_hash(sums[d], shapes[d], colour_maps[kept], keys, 0)
        high = _augmentation_hash(sums[d], shapes[d], colour_maps[kept], keys, 1)
        kept += _add_if_new(table, low, high)
        if kept == len(dihedrals):
            break
    return kept


# --- painting -------------------------------------------------------------------------------------


@compiled
def _paint_grid(
    canvas: np.ndarray,
    cells: np.ndarray,
    grid: np.ndarray,
    dihedral: int,
    tokens: np.ndarray,
    top: int,
    left: int,
) -> None:
    """Paint a transformed grid and its end-of-grid marks on the canvas [side, side]."""
    start, rows, columns = grid
    first, down, right = _source(dihedral, rows, columns)
    height, width = _turned(dihedral, rows, columns)
    side = len(canvas)
    canvas[:] = 0
    for i in range(height):
        source = start + first + i * down
        for j in range(width):
            canvas[top + i, left + j] = tokens[cells[source + j * right]]
    if top + height < side:
        canvas[top + height, left : left + width] = END_OF_GRID
    if left + width < side:
        canvas[top : top + height, left + width] = END_OF_GRID


@compiled
def draw_offsets(
    state: np.ndarray, pairs: np.ndarray, dihedrals: np.ndarray, side: int, translate: bool
) -> np.ndarray:
    """Where each pair of each puzzle is painted, (top, left): [A·n, 2] uint8.

    One pair of each puzzle, drawn in any case, stays at the top left; with `translate` every other
    one is shifted, input and output together.
    """
    n = len(pairs)
    offsets = np.zeros((len(dihedrals) * n, 2), dtype=np.uint8)
    for a in range(len(dihedrals)):
        dihedral = dihedrals[a]
        untranslated = below(state, n)
        for p in range(n):
            if translate and p != untranslated:
                in_height, in_width = _turned(dihedral, pairs[p, 1], pairs[p, 2])
                out_height, out_width = _turned(dihedral, pairs[p, 4], pairs[p, 5])
                offsets[a * n + p, 0] = below(state, side - max(in_height, out_height) + 1)
                offsets[a * n + p, 1] = below(state, side - max(in_width, out_width) + 1)
    return offsets


@compiled
def first_unpaintable(
    puzzle_indices: np.ndarray,
    group_indices: np.ndarray,
    first_pair: np.ndarray,
    pairs: np.ndarray,
    n_cells: int,
    dihedrals: np.ndarray,
    offsets: np.ndarray,
    side: int,
) -> int:
    """The first example [N] whose grids are not all of `cells`, or not all on the canvas; -1 where
    there is none. The arrays are those of an on-the-fly dataset, of lengths that agree."""
    for group in range(len(first_pair)):
        end = first_pair[group + 1] if group + 1 < len(first_pair) else len(pairs)
        for puzzle in range(group_indices[group], group_indices[group + 1]):
            for example in range(puzzle_indices[puzzle], puzzle_indices[puzzle + 1]):
                pair = first_pair[group] + example - puzzle_indices[puzzle]
                if pair >= end:
                    return example
                for grid in range(2):
                    start, rows, columns = pairs[pair, 3 * grid : 3 * grid + 3]
                    height, width = _turned(dihedrals[puzzle], rows, columns)
                    if (
                        np.int64(start) + np.int64(rows) * np.int64(columns) > n_cells
                        or np.int64(offsets[example, 0]) + height > side
                        or np.int64(offsets[example, 1]) + width > side
                    ):
                        return example
    return -1


@compiled
def paint_grids(
    cells: np.ndarray,
    grids: np.ndarray,
    dihedrals: np.ndarray,
    colour_maps: np.ndarray,
    offsets: np.ndarray,
    canvases: np.ndarray,
) -> None:
    """Paint grids [k, 3] (start in cells, rows, columns), each under its own dihedral [k], colour
    map [k, 10] and offset [k, 2], on canvases [k, side, side] as tokens."""
    tokens = np.empty(COLOURS, dtype=np.uint8)
    for i in range(len(grids)):
        tokens[:] = colour_maps[i] + np.uint8(2)
        top, left = np.int64(offsets[i, 0]), np.int64(offsets[i, 1])
        _paint_grid(canvases[i], cells, grids[i], dihedrals[i], tokens, top, left)
