"""Mazes: walls and floor, and a shortest path from the start to the goal."""

from __future__ import annotations

from functools import partial

import numpy as np

from trm.errors import TrmError
from trm.puzzles.augmentation import DIHEDRALS, dihedral_transform
from trm.puzzles.board_look import cell_name
from trm.puzzles.kind import BoardKind, BoardStyle, Fault, Option, TerminalStyle
from trm.puzzles.metric import Form, Metric
from trm.puzzles.questions import check_size, is_rule

# The loops of maze_kernels are imported where they are called: they load numba.

CHARACTERS = "# SGo"  # wall, floor, start, goal, path: tokens 1..5
WALL, FLOOR, START, GOAL, PATH = range(1, len(CHARACTERS) + 1)
_ENDS = (("start (S)", START), ("goal (G)", GOAL))


class Maze(BoardKind):
    """Square mazes; any shortest path is valid, where the exact metric knows one."""

    name, place, builder = "maze", 3, "maze"
    plural, answers = "mazes", "mazes by a shortest path"
    option = Option("maze", "lines of # (wall), space, S and G", "maze.txt", is_file=True)
    metrics = (Metric("valid_path", "any shortest path found", Form.SHARE),)
    characters, open = CHARACTERS, " "
    symbols = "?#.SGo"  # ? is padding, no cell of a maze
    sides = range(3, 101)  # Maze-Hard is 30x30
    images = tuple(partial(dihedral_transform, dihedral=dihedral) for dihedral in range(DIHEDRALS))
    valid_name = "a shortest path"
    style = BoardStyle(drawing="path", blank="?")
    key = (
        "Dot: path, right. Ring: path, missed. Cross: wrong cell. S: start. G: goal; "
        "white and framed by dashes where the answer has them wrong."
    )
    figure_key = (
        "● path, right   ○ path, missed   ✖ wrong cell   S start   G goal (in dashes: wrong)"
    )

    def sides_of(self, vocab_size: int) -> range:
        return self.sides if vocab_size == len(CHARACTERS) + 1 else range(0)

    def read(self, text: str, rows: int, columns: int) -> np.ndarray:
        """A marked path (o) is taken for floor, and the frame of a drawn maze is skipped.

        TrmError where no path leads from the S to the G.
        """
        from trm.puzzles.maze_kernels import steps_to

        side = rows
        lines = [line.rstrip("\r") for line in text.strip("\r\n").split("\n")]
        lines = [line.strip("|") for line in lines if not is_rule(line)]
        for r, line in enumerate(lines, start=1):
            for c, character in enumerate(line, start=1):
                if character not in CHARACTERS:
                    raise TrmError(
                        f"row {r}, column {c} of the maze is {character!r}, not one of "
                        "# (wall), space (floor), S (start), G (goal) and o (path)"
                    )
        check_size(lines, side, "maze", "; a floor at the end of a line is a space")
        charset = self.charset(side)
        board = charset.decode("".join(lines).encode(), charset.questions).astype(np.uint8)
        for name, token in _ENDS:
            cells = np.flatnonzero(board == token)
            if len(cells) == 0:
                raise TrmError(f"the maze has no {name}")
            if len(cells) > 1:
                places = " and ".join(cell_name(int(cell), side) for cell in cells[:3])
                raise TrmError(f"the maze has {len(cells)} cells that are its {name}: {places}")
        board[board == PATH] = FLOOR
        start, goal = int(np.argmax(board == START)), int(np.argmax(board == GOAL))
        if steps_to(board != WALL, side, goal)[start] < 0:
            raise TrmError(
                f"no path leads from the maze's start at {cell_name(start, side)} to its goal at "
                f"{cell_name(goal, side)}"
            )
        return board.reshape(side, side)

    def draw(self, question: np.ndarray, lines: list[str], style: TerminalStyle) -> str:
        cells = ["".join(style(c, "1;32") if c in "SGo" else c for c in line) for line in lines]
        rule = f"+{'-' * len(lines[0])}+"  # floor is blank: the frame shows that it is there
        return "\n".join([rule, *(f"|{line}|" for line in cells), rule])

    def mistake(self, answer: np.ndarray) -> str | None:
        """What is wrong with a table's answer that marks no path; its length is not checked."""
        fault = self.first_fault(answer[None])
        return None if fault is None else fault[1]

    def first_fault(self, answers: np.ndarray) -> Fault | None:
        from trm.puzzles.maze_kernels import first_without_path

        side = answers.shape[-1]
        boards = answers.reshape(len(answers), side**2)
        for name, token in _ENDS:
            counts = (boards == token).sum(axis=1)
            if (counts != 1).any():
                row = int(np.argmax(counts != 1))
                return row, f"has {counts[row]} cells that are its {name}, not 1"
        row = first_without_path(boards, side)
        return None if row < 0 else (row, "marks no path (o) that leads from its start to its goal")

    def is_valid(self, question: np.ndarray, answer: np.ndarray) -> bool:
        from trm.puzzles.maze_kernels import valid_shortest_path

        return bool(valid_shortest_path(question.reshape(1, -1), answer.reshape(1, -1))[0])

    def further_metrics(self, inputs: np.ndarray, preds: np.ndarray) -> dict[str, float]:
        """`valid_path`: the share, 0..1, of the rows with a valid shortest path."""
        from trm.puzzles.maze_kernels import valid_shortest_path

        return {"valid_path": float(valid_shortest_path(inputs, preds).mean())}


KIND = Maze()
