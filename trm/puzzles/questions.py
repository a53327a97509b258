"""Puzzles as people write them: found, cut into rows, and of the right size.

Messages count rows and columns from 1.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from trm.errors import TrmError


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


def rows_of(text: str, side: int) -> list[str]:
    """Rows as written, without whitespace and the lines between boxes; a single line is cut into
    rows of `side`."""
    lines = [line for line in text.splitlines() if not is_rule(line)]
    rows = [row for line in lines if (row := "".join(line.replace("|", "").split()))]
    if len(rows) == 1:
        rows = [rows[0][i : i + side] for i in range(0, len(rows[0]), side)]
    return rows


def is_rule(line: str) -> bool:
    """Whether a line is one that trm.solve draws around cells, such as `+-----+-----+`."""
    return {"+", "-"} == set(line.strip())


def check_size(rows: list[str], side: int, what: str, hint: str = "") -> None:
    """TrmError unless there are `side` rows of `side` cells."""
    cells = sum(map(len, rows))
    model = f"this model's are {side}x{side}"
    for r, row in enumerate(rows, start=1):
        if len(row) != side and len(rows) == side:
            raise TrmError(f"row {r} of the {what} has {len(row)} cells, not {side}: {model}{hint}")
    if len(rows) != side or cells != side**2:
        raise TrmError(f"the {what} has {cells} cells, not {side**2}: {model}{hint}")
