"""Puzzles as people write them, read into what a model is asked; mistakes are named by their cell.

Rows and columns are counted from 1 in what the user is told.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trm.errors import TrmError
from trm.files import read_json
from trm.puzzles.augmentation import COLOURS
from trm.puzzles.board_look import cell_name
from trm.puzzles.maze_kernels import (
    CHARACTERS,
    FLOOR,
    GOAL,
    PATH,
    START,
    WALL,
    maze_charset,
    steps_to,
)
from trm.puzzles.sudoku_rules import SIDES, conflicts, digit_charset

Task = dict[str, list[dict[str, Any]]]
"""{"train": [pair, …], "test": [pair, …]}, a pair having an input and an output."""

NO_OUTPUT = [[0]]  # what stands for the output of a test pair without one


def read_puzzle(puzzle: str | Path) -> str:
    """The content of the file of that name, else the text itself; without a byte-order mark."""
    text = str(puzzle).removeprefix("\ufeff")
    if not text.strip("\r\n"):
        raise TrmError("the puzzle is empty: give its text, or a file that holds it")
    try:
        path = Path(text)
        if "\n" not in text and path.is_file():
            content = path.read_bytes()
            is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
        is_folder = path.is_dir()
    except UnicodeDecodeError as error:
        raise TrmError(f"{text} is not a text file: {error}") from None
    except PermissionError as error:
        raise TrmError(f"{text} cannot be read: {error.strerror}") from None
    except (OSError, ValueError):  # a name that no file can have
        is_folder = False
    if is_folder:
        raise TrmError(f"{text} is a folder: give a file that holds the puzzle")
    if isinstance(puzzle, Path) or Path(text).suffix in (".txt", ".json", ".sdk", ".csv"):
        raise TrmError(f"no file {text}: give the puzzle itself, or a file that holds it")
    return text


def parse_sudoku(text: str, side: int) -> np.ndarray:
    """Tokens uint8 [side·side] (digit + 1) of a board; `.` and 0 are blank, whitespace is passed
    over, and so are the lines of a drawn board. TrmError where it is no board of that side or
    contradicts itself."""
    rows = _rows(text, side)
    if sum(map(len, rows)) in {s**2 for s in SIDES} - {side**2}:
        _check_size(
            rows, side, "sudoku"
        )  # the digits of a larger board are no mistake of their own
    charset = digit_charset(side)
    for r, row in enumerate(rows, start=1):
        for c, character in enumerate(row, start=1):
            if character not in charset.questions:
                raise TrmError(
                    f"row {r}, column {c} of the sudoku is {character!r}, which is neither a digit "
                    f"1 to {side} nor a blank (. or 0)"
                )
    _check_size(rows, side, "sudoku")
    board = charset.decode("".join(rows).encode(), charset.questions).astype(np.uint8)
    if found := conflicts(board, side):
        shown = "; ".join(f"{c.digit} stands at {c.first} and at {c.second}, in one {c.where}"
                          for c in found[:3])  # fmt: skip
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise TrmError(f"the sudoku contradicts itself: {shown}{more}")
    return board + np.uint8(1)


def parse_maze(text: str, side: int) -> np.ndarray:
    """Tokens uint8 [side·side] of a maze, one line a row; a marked path (o) is taken for floor, and
    the frame of a drawn maze is passed over.

    TrmError where it is no maze of that side, or no path leads from its S to its G.
    """
    lines = [line.rstrip("\r") for line in text.strip("\r\n").split("\n")]
    rows = [line.strip("|") for line in lines if not _is_rule(line)]
    for r, row in enumerate(rows, start=1):
        for c, character in enumerate(row, start=1):
            if character not in CHARACTERS:
                raise TrmError(
                    f"row {r}, column {c} of the maze is {character!r}, which is none of "
                    "# (wall), space (floor), S (start), G (goal) and o (path)"
                )
    _check_size(rows, side, "maze", "; a floor at the end of a line is a space")
    charset = maze_charset()
    board = charset.decode("".join(rows).encode(), charset.questions).astype(np.uint8)
    for name, token in (("start (S)", START), ("goal (G)", GOAL)):
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
    return board


def parse_board(text: str, characters: str, rows: int, columns: int) -> np.ndarray:
    """Tokens uint8 [rows, columns] of a board of `characters`, one line a row or all in one line.

    TrmError where it is no such board.
    """
    lines = text.replace("\r", "").strip("\n").split("\n")
    if len(lines) == 1 and rows > 1:
        lines = [lines[0][i : i + columns] for i in range(0, len(lines[0]), columns)]
    for r, line in enumerate(lines, start=1):
        for c, character in enumerate(line, start=1):
            if character not in characters:
                raise TrmError(
                    f"row {r}, column {c} of the board is {character!r}, which is none of its "
                    f"characters {characters!r}"
                )
    if [len(line) for line in lines] != [columns] * rows:
        raise TrmError(
            f"the board has {len(lines)} rows of {', '.join(map(str, sorted({*map(len, lines)})))} "
            f"cells: this model's are {rows}x{columns}"
        )
    tokens = [[characters.index(character) + 1 for character in line] for line in lines]
    return np.array(tokens, dtype=np.uint8)


def read_task(path: Path, task_id: str | None) -> Any:
    """What an ARC file holds: a task, or that of id `task_id` out of a file of many."""
    try:
        raw = read_json(Path(path), "give a task's JSON file")
    except FileNotFoundError:
        raise TrmError(f"no file {path}: give a task's JSON file") from None
    if isinstance(raw, dict) and not {"train", "test"} & set(raw):
        if task_id in raw:
            return raw[task_id]
        if raw and all(isinstance(task, dict) and "train" in task for task in raw.values()):
            which = "name one of them" if task_id is None else f"none of them is {task_id!r}"
            raise TrmError(f"{path} holds {len(raw)} tasks, as {next(iter(raw))}: {which}")
    return raw


def check_task(raw: Any, canvas: int, name: str) -> Task:
    """An ARC task whose grids fit the canvas; TrmError names the pair and the cell otherwise.

    A test pair may lack its output: NO_OUTPUT takes its place.
    """
    if not isinstance(raw, Mapping) or not {"train", "test"} <= set(raw):
        raise TrmError(f'task {name}: expected {{"train": [pairs], "test": [pairs]}}')
    task: Task = {}
    for part, needed in (("train", ("input", "output")), ("test", ("input",))):
        pairs = raw[part]
        if not isinstance(pairs, list) or not pairs:
            raise TrmError(f"task {name}: {part} is no list of pairs")
        task[part] = []
        for number, pair in enumerate(pairs, start=1):
            where = f"task {name}, {part} pair {number}"
            if not isinstance(pair, Mapping) or any(key not in pair for key in needed):
                raise TrmError(f"{where}: it lacks its {' or '.join(needed)}")
            output = pair.get("output") or NO_OUTPUT
            for key, grid in (("input", pair["input"]), ("output", output)):
                _check_grid(grid, canvas, f"{where}, {key}")
            task[part].append({"input": pair["input"], "output": output})
    return task


def _check_grid(grid: Any, canvas: int, where: str) -> None:
    if not isinstance(grid, list) or not grid or not all(isinstance(row, list) for row in grid):
        raise TrmError(f"{where}: not a grid (a list of rows of colours)")
    width = len(grid[0])
    for r, row in enumerate(grid, start=1):
        if len(row) != width or width == 0:
            raise TrmError(f"{where}: row {r} has {len(row)} cells, row 1 has {width}")
        for c, cell in enumerate(row, start=1):
            if type(cell) is not int or not 0 <= cell < COLOURS:
                raise TrmError(
                    f"{where}: row {r}, column {c} is {cell!r}, no colour 0 to {COLOURS - 1}"
                )
    if max(len(grid), width) > canvas:
        raise TrmError(
            f"{where}: its {len(grid)} rows and {width} columns are more than this model's canvas "
            f"of {canvas}x{canvas}"
        )


def _rows(text: str, side: int) -> list[str]:
    """Rows as written, without whitespace and the lines between boxes; a single line is cut into
    rows of `side`."""
    lines = [line for line in text.splitlines() if not _is_rule(line)]
    rows = [row for line in lines if (row := "".join(line.replace("|", "").split()))]
    if len(rows) == 1:
        rows = [rows[0][i : i + side] for i in range(0, len(rows[0]), side)]
    return rows


def _is_rule(line: str) -> bool:
    """`+-----+-----+`: a line that trm.solve draws around cells."""
    return {"+", "-"} == set(line.strip())


def _check_size(rows: list[str], side: int, what: str, hint: str = "") -> None:
    """TrmError unless there are `side` rows of `side` cells."""
    cells = sum(map(len, rows))
    model = f"this model's are {side}x{side}"
    for r, row in enumerate(rows, start=1):
        if len(row) != side and len(rows) == side:
            raise TrmError(f"row {r} of the {what} has {len(row)} cells, not {side}: {model}{hint}")
    if len(rows) != side or cells != side**2:
        raise TrmError(f"the {what} has {cells} cells, not {side**2}: {model}{hint}")
