"""Plain boards: question and answer are equally long texts, and no rules are known."""

from __future__ import annotations

from trm.puzzles.kind import BoardKind, Option


class Boards(BoardKind):
    """Boards of the characters of their dataset."""

    name, place = "boards", 4
    plural = "boards"
    option = Option("board", "of plain boards: its cells row by row; or a file", "board.txt")

    def __init__(self, characters: str = "") -> None:
        self.characters = characters

    def of(self, characters: str) -> Boards:
        return Boards(characters)


KIND = Boards()
