"""The characters that a board is typed in, and the values that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_VALUE = 255  # of a character that no board has


@dataclass(frozen=True)
class Charset:
    """The characters of a board and the value [256] that each stands for; -1 for all others.

    Where an answer differs from its question, the question has `open` there; None: anything.
    """

    questions: str
    answers: str
    values: np.ndarray
    open: str | None = None

    @staticmethod
    def of(characters: str, open: str | None = None) -> Charset:
        """Characters as tokens from 1 on, in questions and in answers."""
        values = np.full(256, -1, dtype=np.int16)
        values[[ord(character) for character in characters]] = np.arange(1, len(characters) + 1)
        return Charset(characters, characters, values, open)

    def decode(self, text: bytes, allowed: str) -> np.ndarray:
        """Values uint8 of an ASCII text, read-only; NO_VALUE where a character is not allowed."""
        table = np.full(256, NO_VALUE, dtype=np.uint8)
        codes = np.frombuffer(allowed.encode(), dtype=np.uint8)
        table[codes] = self.values[codes]
        return np.frombuffer(text.translate(table.tobytes()), dtype=np.uint8)
