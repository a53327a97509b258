"""Sudoku: its sides and boxes, and which digits of a board contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import isqrt

import numpy as np

from trm.errors import TrmError
from trm.puzzles.board_look import cell_name
from trm.puzzles.characters import Charset
from trm.puzzles.kind import BoardKind, BoardStyle, Option, TerminalStyle
from trm.puzzles.questions import check_size, rows_of
from trm.puzzles.views import Views

SIDES = (4, 6, 8, 9)  # of boards that are built, generated and solved: a cell is one digit


def box_of(side: int) -> tuple[int, int]:
    """Rows and columns of a box: as near to square as the side allows, wider than high.

    TrmError where the side is a prime number, which leaves no boxes but rows.
    """
    rows = max(r for r in range(1, isqrt(side) + 1) if side % r == 0)
    if rows == 1:
        raise TrmError(f"a board of {side}x{side} cells has no boxes: it is not a sudoku")
    return rows, side // rows


@dataclass(frozen=True)
class Conflict:
    """Two equal digits where only one is allowed; places as `row 1, column 4`."""

    digit: int
    first: str
    second: str
    where: str  # row, column or box


def _drawn_lines(rng: np.random.Generator, box_lines: int, boxes: int) -> np.ndarray:
    """An order of the rows, or columns, that keeps those of a box together: of the bands, and of
    the lines in each."""
    bands = rng.permutation(boxes)[:, None] * box_lines
    return (bands + np.stack([rng.permutation(box_lines) for _ in range(boxes)])).ravel()


def _drawn_cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """Where each cell [side·side] of an equally good board comes from."""
    height, width = box_of(side)
    board = np.arange(side**2).reshape(side, side)
    if height == width and rng.random() < 0.5:
        board = board.T
    rows = _drawn_lines(rng, height, side // height)
    columns = _drawn_lines(rng, width, side // width)
    return board[rows][:, columns].ravel()


def _drawn_digits(rng: np.random.Generator, vocab_size: int) -> np.ndarray:
    """Tokens [vocab] with the digits exchanged; padding and the blank stay."""
    return np.concatenate([[0, 1], rng.permutation(np.arange(2, vocab_size))]).astype(np.uint8)


def conflicts(board: np.ndarray, side: int) -> list[Conflict]:
    """Every pair of equal digits in a row, column or box of a board [side·side], 0 for a blank; a
    pair that shares two of them is named once."""
    found: dict[tuple[int, int], Conflict] = {}
    for where, cells in _units(side):
        for a, b in combinations(cells, 2):
            if board[a] and board[a] == board[b] and (a, b) not in found:
                found[a, b] = Conflict(int(board[a]), cell_name(a, side), cell_name(b, side), where)
    return list(found.values())


def _units(side: int) -> list[tuple[str, list[int]]]:
    """Rows, columns and boxes, each with its cells in order."""
    height, width = box_of(side)
    cells = np.arange(side**2).reshape(side, side)
    boxes = [
        cells[r : r + height, c : c + width]
        for r in range(0, side, height)
        for c in range(0, side, width)
    ]
    return [
        *(("row", row.tolist()) for row in cells),
        *(("column", column.tolist()) for column in cells.T),
        *(("box", box.ravel().tolist()) for box in boxes),
    ]


class Sudoku(BoardKind):
    """Square boards of digits 1..side, each once in every row, column and box."""

    name, place, builder = "sudoku", 2, "sudoku"
    plural = "sudokus"
    option = Option("sudoku", "its cells row by row, . or 0 for a blank; or a file", "puzzle.txt")
    characters, open = ".123456789", "."
    # A blank and padding are not digits; galleries of published boards go up to 16x16.
    symbols = "00123456789abcdefg"
    sides = SIDES
    has_boxes = True
    valid_name = "a valid sudoku"
    style = BoardStyle(shaded=True, blank="0")
    key = (
        "Bold on grey: given. Plain: filled in. "
        "Framed and struck: wrong, the right digit beside it."
    )

    def charset(self, side: int) -> Charset:
        """Digits 1..side, with `.` and `0` for a blank (0)."""
        digits = "".join(map(str, range(1, side + 1)))
        values = np.full(256, -1, dtype=np.int16)
        values[ord(".")] = 0
        values[ord("0") : ord("0") + side + 1] = np.arange(side + 1)
        return Charset(questions=".0" + digits, answers=digits, values=values, open=".")

    def vocab_size(self, side: int) -> int:
        return side + 2

    def box(self, side: int) -> tuple[int, int]:
        return box_of(side)

    def sides_of(self, vocab_size: int) -> tuple[int, ...]:
        """The sides of boards with this vocabulary: one digit per row."""
        return tuple(side for side in SIDES if self.vocab_size(side) == vocab_size)

    @property
    def most_views(self) -> None:
        """A 9x9 board has 10^12 of them."""
        return None

    def views(self, rows: int, columns: int, vocab_size: int, count: int, seed: int) -> Views:
        """All but the first exchange digits, bands, rows and columns; half of those of square boxes
        also rows with columns."""
        rng = np.random.Generator(np.random.Philox(seed))
        plain = super().views(rows, columns, vocab_size, 1, seed)
        drawn = [(_drawn_cells(rng, rows), _drawn_digits(rng, vocab_size)) for _ in range(1, count)]
        return Views(
            np.stack([plain.cells[0], *(cells for cells, _ in drawn)]),
            np.stack([plain.tokens[0], *(tokens for _, tokens in drawn)]),
        )

    def read(self, text: str, rows: int, columns: int) -> np.ndarray:
        """Tokens are digit + 1; `.` and 0 are blank. Whitespace and the lines of a drawn board are
        skipped. TrmError where the board contradicts itself."""
        side = rows
        lines = rows_of(text, side)
        if sum(map(len, lines)) in {s**2 for s in SIDES} - {side**2}:
            check_size(lines, side, "sudoku")  # before the digits of a larger board are refused
        charset = self.charset(side)
        for r, line in enumerate(lines, start=1):
            for c, character in enumerate(line, start=1):
                if character not in charset.questions:
                    raise TrmError(
                        f"row {r}, column {c} of the sudoku is {character!r}, which is neither a "
                        f"digit 1 to {side} nor a blank (. or 0)"
                    )
        check_size(lines, side, "sudoku")
        board = charset.decode("".join(lines).encode(), charset.questions).astype(np.uint8)
        if found := conflicts(board, side):
            shown = "; ".join(
                f"{c.digit} is at {c.first} and at {c.second}, in one {c.where}" for c in found[:3]
            )
            more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
            raise TrmError(f"the sudoku contradicts itself: {shown}{more}")
        return (board + np.uint8(1)).reshape(side, side)

    def draw(self, question: np.ndarray, lines: list[str], style: TerminalStyle) -> str:
        height, width = box_of(len(lines))
        rule = "+".join(["", *["-" * (2 * width + 1)] * (len(lines) // width), ""])
        drawn = []
        for r, line in enumerate(lines):
            if r % height == 0:
                drawn.append(rule)
            given = question[r] > 1
            cells = [style(c, "1") if known else c for c, known in zip(line, given, strict=True)]
            boxes = [" ".join(cells[c : c + width]) for c in range(0, len(cells), width)]
            drawn.append("| " + " | ".join(boxes) + " |")
        return "\n".join([*drawn, rule])

    def mistake(self, answer: np.ndarray) -> str | None:
        digits = np.maximum(answer.ravel().astype(int), 1) - 1  # the padding token is not a digit
        side = len(answer)
        if not digits.all():
            return f"has no digit at {cell_name(int(np.argmin(digits)), side)}"
        if not (found := conflicts(digits, side)):
            return None
        first = found[0]
        return f"has {first.digit} at {first.first} and at {first.second}, in one {first.where}"


KIND = Sudoku()
