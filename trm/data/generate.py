"""Small sudokus made here, under their own name: boards with exactly one solution, few clues.

A board is digits 0 (blank) to side, row by row, [side·side]; its boxes are `box_of(side)`.
"""

from __future__ import annotations

import csv
import io
from itertools import permutations, product
from pathlib import Path

import numpy as np
from numba import njit

from trm.data.boards import COLUMNS
from trm.data.format import write_atomically
from trm.data.specs import Generate
from trm.data.sudoku import SIDES, box_of
from trm.errors import TrmError
from trm.progress import Progress

SPARE_CLUES = 1  # a board whose digging gets stuck this far above the target is still kept
PATIENCE = 2000  # boards refused in a row before giving up


def generate_sudoku(spec: Generate, out_dir: Path) -> None:
    """Write out_dir/train.csv and test.csv: spec.train and spec.test boards, all different.

    Different means: none is an image of another under relabelling digits, exchanging rows in a
    band, bands, columns in a stack, stacks (and, with square boxes, transposing). The rating is
    the number of guesses that a solver propagating singles needs. Raises TrmError where there are
    not as many boards.
    """
    if spec.side not in SIDES:
        raise TrmError(f"no sudoku of side {spec.side}: choose from {', '.join(map(str, SIDES))}")
    rng = np.random.default_rng(spec.seed)
    rows = _distinct_rows(spec, rng)
    write_atomically(out_dir / "train.csv", _to_csv(rows[: spec.train]))
    write_atomically(out_dir / "test.csv", _to_csv(rows[spec.train :]))


def _distinct_rows(spec: Generate, rng: np.random.Generator) -> list[list[str]]:
    box_rows, box_columns = box_of(spec.side)
    row_orders = line_orders(box_rows, spec.side)
    column_orders = line_orders(box_columns, spec.side)
    seen: set[bytes] = set()
    rows: list[list[str]] = []
    refused = 0
    with Progress(spec.train + spec.test, f"sudoku-{spec.side}x{spec.side}", "boards") as progress:
        while len(rows) < spec.train + spec.test:
            question, answer = random_board(rng, box_rows, box_columns, spec.clues)
            form = canonical_form(question, row_orders, column_orders).tobytes()
            clues = np.count_nonzero(question)
            if clues > spec.clues + SPARE_CLUES or form in seen:
                refused += 1
                if refused == PATIENCE:
                    raise TrmError(
                        f"found {len(rows)} different boards of side {spec.side} with about "
                        f"{spec.clues} clues, {spec.train + spec.test} wanted: allow more clues"
                    )
                continue
            refused = 0
            seen.add(form)
            rating = guesses(question, box_rows, box_columns)
            name = f"sudoku-{spec.side}x{spec.side}"
            rows.append([name, _to_text(question), _to_text(answer), str(rating)])
            progress.update(1)
    return rows


def _to_text(board: np.ndarray) -> str:
    return "".join(map(str, board.tolist())).replace("0", ".")


def _to_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue().encode()


# --- equivalence ----------------------------------------------------------------------------------


def line_orders(box_lines: int, side: int) -> np.ndarray:
    """All orders [n, side] of rows (or columns) that keep the boxes whole."""
    inside = list(permutations(range(box_lines)))
    bands = side // box_lines
    orders = [
        [
            band * box_lines + line
            for band, lines in zip(order, choice, strict=True)
            for line in lines
        ]
        for order in permutations(range(bands))
        for choice in product(inside, repeat=bands)
    ]
    return np.array(orders, dtype=np.int64)


@njit(cache=True)
def _lower(
    best: np.ndarray, board: np.ndarray, rows: np.ndarray, columns: np.ndarray, labels: np.ndarray
) -> None:
    """Replace `best` by the image of board, digits relabelled as they appear, if that is lower."""
    side = len(rows)
    labels[:] = 0
    used = 0
    lower = False
    for k in range(len(board)):
        digit = board[rows[k // side] * side + columns[k % side]]
        if digit and labels[digit] == 0:
            used += 1
            labels[digit] = used
        label = labels[digit]
        if not lower and label > best[k]:
            return
        if label < best[k]:
            lower = True
        if lower:
            best[k] = label


@njit(cache=True)
def canonical_form(
    board: np.ndarray, row_orders: np.ndarray, column_orders: np.ndarray
) -> np.ndarray:
    """The lexicographically lowest image [side·side] of a board: equal for equivalent boards."""
    side = row_orders.shape[1]
    # Boxes are square just where rows and columns may be exchanged in the same ways.
    transposable = len(row_orders) == len(column_orders)
    best = np.full(len(board), side + 1, dtype=np.uint8)
    labels = np.empty(side + 1, dtype=np.uint8)
    transposed = board.reshape(side, side).T.copy().reshape(-1)
    for rows in row_orders:
        for columns in column_orders:
            _lower(best, board, rows, columns, labels)
            if transposable:
                _lower(best, transposed, rows, columns, labels)
    return best


# --- solving --------------------------------------------------------------------------------------
# Candidates are bit masks; `taken` [3, side] holds, per row, column and box, the digits it has.


@njit(cache=True)
def _box(cell: int, side: int, box_rows: int, box_columns: int) -> int:
    row, column = cell // side, cell % side
    return row // box_rows * box_rows + column // box_columns


@njit(cache=True)
def _taken(board: np.ndarray, box_rows: int, box_columns: int) -> np.ndarray:
    side = box_rows * box_columns
    taken = np.zeros((3, side), dtype=np.int64)
    for cell in range(len(board)):
        if board[cell]:
            bit = 1 << board[cell]
            taken[0, cell // side] |= bit
            taken[1, cell % side] |= bit
            taken[2, _box(cell, side, box_rows, box_columns)] |= bit
    return taken


@njit(cache=True)
def _candidates(cell: int, taken: np.ndarray, box_rows: int, box_columns: int) -> int:
    side = taken.shape[1]
    box = _box(cell, side, box_rows, box_columns)
    everything = (1 << (side + 1)) - 2
    return everything & ~(taken[0, cell // side] | taken[1, cell % side] | taken[2, box])


@njit(cache=True)
def _bits(mask: int) -> int:
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@njit(cache=True)
def _most_constrained(
    board: np.ndarray, taken: np.ndarray, box_rows: int, box_columns: int
) -> tuple[int, int]:
    """(blank cell with the fewest candidates, their mask); cell -1 where none is blank."""
    chosen, chosen_mask, fewest = -1, 0, len(board)
    for cell in range(len(board)):
        if board[cell] == 0:
            mask = _candidates(cell, taken, box_rows, box_columns)
            count = _bits(mask)
            if count < fewest:
                chosen, chosen_mask, fewest = cell, mask, count
    return chosen, chosen_mask


@njit(cache=True)
def _put(cell: int, digit: int, board: np.ndarray, taken: np.ndarray, box: int) -> None:
    """Put a digit in a blank cell, or take that digit out again."""
    side = taken.shape[1]
    board[cell] ^= digit
    taken[0, cell // side] ^= 1 << digit
    taken[1, cell % side] ^= 1 << digit
    taken[2, box] ^= 1 << digit


@njit(cache=True)
def _solve(
    board: np.ndarray, digit_orders: np.ndarray, box_rows: int, box_columns: int, limit: int
) -> int:
    """Solutions of a board, counted up to `limit`; the board is left filled in with the last one
    where the limit is reached. Each cell's digits [side] are tried in its own order.
    """
    side = box_rows * box_columns
    taken = _taken(board, box_rows, box_columns)
    # A stack of cells and the candidates not yet tried, as numba does not cache recursion.
    cells = np.empty(len(board), dtype=np.int64)
    untried = np.empty(len(board), dtype=np.int64)
    depth = found = 0
    while True:
        cell, mask = _most_constrained(board, taken, box_rows, box_columns)
        if cell < 0:
            found += 1
            if found == limit:
                return found
        else:
            cells[depth], untried[depth] = cell, mask
            depth += 1
        while depth:
            cell = cells[depth - 1]
            box = _box(cell, side, box_rows, box_columns)
            if board[cell]:
                _put(cell, board[cell], board, taken, box)
            if untried[depth - 1]:
                break
            depth -= 1
        if depth == 0:
            return found
        for digit in digit_orders[cell]:
            if untried[depth - 1] >> digit & 1:
                untried[depth - 1] ^= 1 << digit
                _put(cell, digit, board, taken, box)
                break


def count_solutions(board: np.ndarray, box_rows: int, box_columns: int, limit: int) -> int:
    """Solutions of a board, counted up to `limit`."""
    side = box_rows * box_columns
    orders = np.tile(np.arange(1, side + 1), (len(board), 1))
    return _solve(board.copy(), orders, box_rows, box_columns, limit)


def random_board(
    rng: np.random.Generator, box_rows: int, box_columns: int, clues: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random board with exactly one solution, and that solution.

    Clues go in random order while the solution stays the only one, until `clues` are left or none
    can go.
    """
    side = box_rows * box_columns
    # Drawn here: numba's cache does not survive a Generator among the arguments.
    digit_orders = rng.permuted(np.tile(np.arange(1, side + 1), (side**2, 1)), axis=1)
    cell_order = rng.permutation(side**2)
    return _dig(digit_orders, cell_order, box_rows, box_columns, clues)


@njit(cache=True)
def _dig(
    digit_orders: np.ndarray, cell_order: np.ndarray, box_rows: int, box_columns: int, clues: int
) -> tuple[np.ndarray, np.ndarray]:
    answer = np.zeros(len(cell_order), dtype=np.uint8)
    _solve(answer, digit_orders, box_rows, box_columns, 1)
    question = answer.copy()
    left = len(question)
    for cell in cell_order:
        if left == clues:
            break
        question[cell] = 0
        if _solve(question.copy(), digit_orders, box_rows, box_columns, 2) == 1:
            left -= 1
        else:
            question[cell] = answer[cell]
    return question, answer


@njit(cache=True)
def _place_singles(board: np.ndarray, box_rows: int, box_columns: int) -> bool:
    """Fill in cells with one candidate, and digits with one place in a row, column or box, while
    there are any. False where a blank has no candidate."""
    side = box_rows * box_columns
    moved = True
    while moved:
        moved = False
        taken = _taken(board, box_rows, box_columns)
        places = np.zeros((3, side, side + 1), dtype=np.int64)
        for cell in range(len(board)):
            if board[cell] == 0:
                mask = _candidates(cell, taken, box_rows, box_columns)
                if mask == 0:
                    return False
                units = (cell // side, cell % side, _box(cell, side, box_rows, box_columns))
                for digit in range(1, side + 1):
                    for kind in range(3):
                        places[kind, units[kind], digit] += mask >> digit & 1
        for cell in range(len(board)):
            if board[cell] == 0:
                mask = _candidates(cell, taken, box_rows, box_columns)
                units = (cell // side, cell % side, _box(cell, side, box_rows, box_columns))
                for digit in range(1, side + 1):
                    only = _bits(mask) == 1
                    for kind in range(3):
                        only |= places[kind, units[kind], digit] == 1
                    if mask >> digit & 1 and only:
                        board[cell] = digit
                        moved = True
                        break
                if moved:
                    break  # what is taken has changed
    return True


@njit(cache=True)
def guesses(question: np.ndarray, box_rows: int, box_columns: int) -> int:
    """Guesses that a solver propagating singles makes, lowest digit first, wrong ones included."""
    side = box_rows * box_columns
    stack = np.empty((len(question) * side, len(question)), dtype=question.dtype)
    stack[0] = question
    depth, total = 1, -1  # the question itself is no guess
    while depth:
        depth -= 1
        total += 1
        board = stack[depth].copy()
        if not _place_singles(board, box_rows, box_columns):
            continue
        taken = _taken(board, box_rows, box_columns)
        cell, mask = _most_constrained(board, taken, box_rows, box_columns)
        if cell < 0:
            break
        for digit in range(side, 0, -1):
            if mask >> digit & 1:
                stack[depth] = board
                stack[depth, cell] = digit
                depth += 1
    return total
