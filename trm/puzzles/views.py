"""Symmetric views of boards: a view moves cells and exchanges tokens, and can be undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trm.errors import TrmError


@dataclass(frozen=True)
class Views:
    """V symmetric views of boards of S cells, the plain one first.

    Cell i of a board in view v is cell `cells[v, i]` of the board itself, and its token t is
    `tokens[v, t]` there.
    """

    cells: np.ndarray  # int64 [V, S]
    tokens: np.ndarray  # uint8 [V, vocab]

    def __len__(self) -> int:
        return len(self.cells)

    def apply(self, boards: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Boards [N, S] as they look in the views [N]."""
        moved = np.take_along_axis(boards, self.cells[view], axis=1)
        return self.tokens[view[:, None], moved].astype(boards.dtype)

    def undo(self, boards: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Boards [N, S] that look like `boards` in the views [N]: the inverse of `apply`."""
        plain_tokens = np.argsort(self.tokens, axis=1)
        moved = plain_tokens[view[:, None], boards].astype(boards.dtype)
        plain = np.empty_like(moved)
        np.put_along_axis(plain, self.cells[view], moved, axis=1)
        return plain


def plain_view(cells: int, vocab_size: int) -> Views:
    """The one view that a puzzle without known symmetries has: itself."""
    return Views(np.arange(cells)[None], np.arange(vocab_size, dtype=np.uint8)[None])


def views_of_images(
    images: Sequence[Callable[[np.ndarray], np.ndarray]], rows: int, columns: int, vocab_size: int
) -> Views:
    """The views that the images of boards [rows, columns] of values are, in their order.

    Images that turn an oblong board into one of another shape are left out.
    """
    upright = [f for f in images if f(np.ones((rows, columns), np.uint8)).shape == (rows, columns)]
    return Views(
        np.stack([_cells_of(image, rows, columns) for image in upright]),
        np.stack([_tokens_of(image, rows, columns, vocab_size) for image in upright]),
    )


def _cells_of(image: Callable[[np.ndarray], np.ndarray], rows: int, columns: int) -> np.ndarray:
    """Where each cell of the image comes from [rows·columns]: one cell at a time has another value
    than the rest, as an image may exchange values too."""
    cells = np.empty(rows * columns, dtype=np.int64)
    rest = image(np.ones((rows, columns), dtype=np.uint8))
    for cell in range(rows * columns):
        board = np.ones(rows * columns, dtype=np.uint8)
        board[cell] = 2
        (moved_to,) = np.flatnonzero(image(board.reshape(rows, columns)) != rest)
        cells[moved_to] = cell
    return cells


def _tokens_of(
    image: Callable[[np.ndarray], np.ndarray], rows: int, columns: int, vocab_size: int
) -> np.ndarray:
    """What becomes of each token [vocab]; padding, which no cell of a question has, stays."""
    tokens = np.arange(vocab_size, dtype=np.uint8)
    for token in range(1, vocab_size):
        tokens[token] = image(np.full((rows, columns), token, dtype=np.uint8))[0, 0]
    return tokens


def refuse_more_views(count: int, most: int | None, plural: str) -> None:
    """TrmError where `count` views are asked of puzzles that have at most `most`."""
    if most is not None and count > most:
        views = "1 view" if most == 1 else f"{most} views"
        raise TrmError(f"{plural} have {views}, not {count}: ask for at most {most}")
