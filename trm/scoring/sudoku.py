"""Sudoku score of one answer: by the rules, where the exact metric compares with the solution."""

from __future__ import annotations

import numpy as np

from trm.puzzles.sudoku_rules import conflicts


def solves(question: np.ndarray, answer: np.ndarray, side: int) -> bool:
    """Whether `answer` keeps the clues of `question` and fills the board by the rules.

    Both are digits [side·side], 0 for a blank.
    """
    kept = (answer == question)[question != 0].all()
    digits = ((answer >= 1) & (answer <= side)).all()
    return bool(kept and digits) and not conflicts(answer, side)
