"""Puzzles made here, under names of their own: mazes, and sudokus with exactly one solution.

They stand in for the published tables where no hub is at hand, and never bear their names.

A sudoku is digits 0 (blank) to side, row by row, [side·side]; its boxes are `box_of(side)`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np

from trm.data.boards import COLUMNS
from trm.data.generate_maze import check_possible, maze_form, maze_text, random_maze
from trm.data.specs import Generate, GenerateMaze, GenerateSudoku
from trm.errors import TrmError
from trm.files import write_atomically
from trm.progress import Progress
from trm.puzzles.sudoku import SIDES, box_of
from trm.runtime.jit import compiled

SPARE_CLUES = 1  # a board whose digging gets stuck this far above the target is still kept
PATIENCE = 2000  # boards refused in a row before giving up


@dataclass(frozen=True)
class Puzzle:
    """A row of a table to be, and what tells it from the others."""

    question: str
    answer: str
    rating: int
    form: bytes  # equal for boards that are images of each other


def generate_table(spec: Generate, out_dir: Path) -> None:
    """Write out_dir/train.csv and test.csv: spec.train and spec.test puzzles, all different.

    Different means: none is an image of another. A sudoku's images: digits relabelled, rows in a
    band exchanged, bands, columns in a stack, stacks, and with square boxes the transposed board;
    its rating is the number of guesses that a solver propagating singles needs. A maze's images:
    its eight symmetries; its rating is the number of steps from S to G. The files depend on the
    spec alone, seed included. Raises TrmError where there are not as many puzzles.
    """
    rng = np.random.default_rng(spec.seed)
    if isinstance(spec, GenerateMaze):
        name, wish = f"maze-{spec.side}x{spec.side}", _maze_wish(spec)
        rows = _distinct_rows(spec, name, wish, _mazes(spec, rng))
    else:
        name, wish = f"sudoku-{spec.side}x{spec.side}", _sudoku_wish(spec)
        rows = _distinct_rows(spec, name, wish, _sudokus(spec, rng))
    write_atomically(out_dir / "train.csv", _to_csv(rows[: spec.train]))
    write_atomically(out_dir / "test.csv", _to_csv(rows[spec.train :]))


def _distinct_rows(
    spec: Generate, name: str, wish: str, puzzles: Iterator[Puzzle | None]
) -> list[list[str]]:
    """The first different ones of `puzzles`; None there is a draw that failed."""
    wanted = spec.train + spec.test
    seen: set[bytes] = set()
    rows: list[list[str]] = []
    refused = 0
    with Progress(wanted, name, "boards") as progress:
        while len(rows) < wanted:
            puzzle = next(puzzles)
            if puzzle is None or puzzle.form in seen:
                refused += 1
                if refused == PATIENCE:
                    raise TrmError(f"found {len(rows)} of {wanted} different {wish}")
                continue
            refused = 0
            seen.add(puzzle.form)
            rows.append([name, puzzle.question, puzzle.answer, str(puzzle.rating)])
            progress.update(1)
    return rows


def _to_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue().encode()


# --- mazes ----------------------------------------------------------------------------------------


def _mazes(spec: GenerateMaze, rng: np.random.Generator) -> Iterator[Puzzle | None]:
    check_possible(spec)
    while True:
        maze = random_maze(spec, rng)
        if maze is None:
            yield None
        else:
            texts = maze_text(maze.question), maze_text(maze.answer)
            yield Puzzle(*texts, maze.steps, maze_form(maze.question))


def _maze_wish(spec: GenerateMaze) -> str:
    low, high = spec.wall_density
    return (
        f"mazes of side {spec.side} with {spec.min_path} steps or more and {low:.0%} to {high:.0%} "
        "walls: lower min_path, or allow more walls"
    )


# --- sudokus --------------------------------------------------------------------------------------


def _sudokus(spec: GenerateSudoku, rng: np.random.Generator) -> Iterator[Puzzle | None]:
    if spec.side not in SIDES:
        raise TrmError(f"no sudoku of side {spec.side}: choose from {', '.join(map(str, SIDES))}")
    box = box_of(spec.side)
    orders = line_orders(box[0], spec.side), line_orders(box[1], spec.side)
    while True:
        question, answer = random_board(rng, *box, spec.clues)
        rating = guesses(question, *box)
        if np.count_nonzero(question) > spec.clues + SPARE_CLUES or rating < spec.min_rating:
            yield None
        else:
            form = canonical_form(question, *orders).tobytes()
            yield Puzzle(_sudoku_text(question), _sudoku_text(answer), rating, form)


def _sudoku_wish(spec: GenerateSudoku) -> str:
    hard = f" and {spec.min_rating} guesses or more" if spec.min_rating else ""
    remedy = "allow more clues, or lower min_rating" if hard else "allow more clues"
    return f"boards of side {spec.side} with about {spec.clues} clues{hard}: {remedy}"


def _sudoku_text(board: np.ndarray) -> str:
    return "".join(map(str, board.tolist())).replace("0", ".")


# --- equivalence ----------------------------------------------------------------------------------


def line_orders(box_lines: int, side: int) -> np.ndarray:
    """All orders [n, side] of rows (or columns) that keep the boxes whole, lowest first."""
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
    return np.array(sorted(orders), dtype=np.int64)


@compiled
def _lower(
    best: np.ndarray, board: np.ndarray, rows: np.ndarray, columns: np.ndarray, labels: np.ndarray
) -> int:
    """Replace `best` by the image of board, digits relabelled as they appear, if that is lower.

    Returns the cell at which the image turned out higher, else the last one.
    """
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
            return k
        if label < best[k]:
            lower = True
        if lower:
            best[k] = label
    return len(board) - 1


@compiled
def canonical_form(
    board: np.ndarray, row_orders: np.ndarray, column_orders: np.ndarray
) -> np.ndarray:
    """The lexicographically lowest image [side·side] of a board: equal for equivalent boards.

    The orders are those of `line_orders`.
    """
    side = row_orders.shape[1]
    # Orders that begin with the same lines stand together, equally many for every beginning: an
    # image that is higher in one of these lines rules out all of them.
    together = np.empty(side, dtype=np.int64)
    for row in range(side):
        together[row] = len(row_orders)
        for line in range(row + 1):
            together[row] = np.count_nonzero(
                row_orders[: together[row], line] == row_orders[0, line]
            )
    best = np.full(len(board), side + 1, dtype=np.uint8)
    labels = np.empty(side + 1, dtype=np.uint8)
    transposed = board.reshape(side, side).T.copy().reshape(-1)
    # Boxes are square just where rows and columns may be exchanged in the same ways.
    square = len(row_orders) == len(column_orders)
    for turn in range(2 if square else 1):
        image = transposed if turn else board
        for columns in column_orders:
            order = 0
            while order < len(row_orders):
                cell = _lower(best, image, row_orders[order], columns, labels)
                order += together[cell // side] - order % together[cell // side]
    return best


# --- solving --------------------------------------------------------------------------------------
# Candidates are bit masks; `taken` [3, side] holds, per row, column and box, the digits it has.


@compiled
def _box(cell: int, side: int, box_rows: int, box_columns: int) -> int:
    row, column = cell // side, cell % side
    return row // box_rows * box_rows + column // box_columns


@compiled
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


@compiled
def _candidates(cell: int, taken: np.ndarray, box_rows: int, box_columns: int) -> int:
    side = taken.shape[1]
    box = _box(cell, side, box_rows, box_columns)
    everything = (1 << (side + 1)) - 2
    return everything & ~(taken[0, cell // side] | taken[1, cell % side] | taken[2, box])


@compiled
def _bits(mask: int) -> int:
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@compiled
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


@compiled
def _put(cell: int, digit: int, board: np.ndarray, taken: np.ndarray, box: int) -> None:
    """Put a digit in a blank cell, or take that digit out again."""
    side = taken.shape[1]
    board[cell] ^= digit
    taken[0, cell // side] ^= 1 << digit
    taken[1, cell % side] ^= 1 << digit
    taken[2, box] ^= 1 << digit


@compiled
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


@compiled
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


@compiled
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


@compiled
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
