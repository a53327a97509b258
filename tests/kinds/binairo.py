"""Binairo: as many 0 as 1 in every row and column, no three alike in line, no two rows or columns
the same."""

from __future__ import annotations

from functools import partial

import numpy as np

from trm.puzzles.augmentation import DIHEDRALS, dihedral_transform
from trm.puzzles.board_look import cell_name
from trm.puzzles.kind import BoardKind, BoardStyle, Option
from trm.puzzles.metric import Form, Metric

OPEN, ZERO, ONE = 1, 2, 3  # tokens


def image(board: np.ndarray, dihedral: int, swap: bool) -> np.ndarray:
    """A turn or a flip, with 0 and 1 exchanged where `swap` says so."""
    swapped = np.where(board == OPEN, OPEN, ZERO + ONE - board) if swap else board
    return dihedral_transform(swapped, dihedral)


class Binairo(BoardKind):
    name, plural = "binairo", "binairos"
    option = Option("binairo", "its cells row by row, . for an open one; or a file", "binairo.txt")
    characters, open = ".01", "."
    sides = range(4, 21, 2)
    images = tuple(
        partial(image, dihedral=dihedral, swap=swap)
        for swap in (False, True)
        for dihedral in range(DIHEDRALS)
    )
    valid_name = "a valid binairo"
    style = BoardStyle(shaded=True, blank=".")
    metrics = (Metric("valid", "answers by the rules", Form.SHARE),)

    def mistake(self, answer: np.ndarray) -> str | None:
        side = len(answer)
        if (answer < ZERO).any():
            return f"leaves {cell_name(int(np.argmax(answer.ravel() < ZERO)), side)} open"
        for name, lines in (("row", answer), ("column", answer.T)):
            for number, line in enumerate(lines, start=1):
                if 2 * (line == ZERO).sum() != side:
                    return f"has not as many 0 as 1 in {name} {number}"
                if ((line[:-2] == line[1:-1]) & (line[1:-1] == line[2:])).any():
                    return f"has three alike in {name} {number}"
            if len(np.unique(lines, axis=0)) < side:
                return f"has two {name}s that are the same"
        return None

    def further_metrics(self, inputs: np.ndarray, preds: np.ndarray) -> dict[str, float]:
        side = round(inputs.shape[1] ** 0.5)
        pairs = zip(inputs.reshape(-1, side, side), preds.reshape(-1, side, side), strict=True)
        return {"valid": float(np.mean([self.is_valid(*pair) for pair in pairs]))}


KIND = Binairo()
