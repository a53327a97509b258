"""Read files that another process may be writing: what is missing or damaged gives nothing."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

TAIL_BYTES = 16384  # of a log or history.csv: holds the last line, whatever else is in the file


def last_record(history: Path) -> tuple[int, float]:
    """(step, seconds of training) of the last whole line of history.csv; zeros without one."""
    try:
        with history.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader([file.readline()]), [])
    except (OSError, ValueError, csv.Error):
        return 0, 0.0
    lines = tail(history).split("\n")[:-1]  # what follows the last newline is being written
    for line in reversed(lines):
        record = dict(zip(header, line.split(","), strict=False))
        try:
            step, elapsed = int(record["step"]), float(record["elapsed_s"])
        except (KeyError, ValueError):
            continue
        if math.isfinite(elapsed):
            return step, elapsed
    return 0, 0.0


def last_error(log: Path) -> str | None:
    """The last `error:` line of a log, unless something was trained after it."""
    error = None
    for line in tail(log).splitlines():
        if line.startswith("error: "):
            error = line.removeprefix("error: ").strip()
        elif line.startswith("trained "):
            error = None
    return error


def tail(path: Path) -> str:
    """The last TAIL_BYTES of a text; empty without a file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def modified(path: Path) -> float | None:
    """When the file was last written, in seconds since the epoch; None without one."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or only half of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def number(content: dict[str, Any], key: str) -> float | None:
    """The finite number under a key; None where there is another value or none."""
    value = content.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
