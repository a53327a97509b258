"""The results of a run: one JSON line each, written when it is known, and the table of them.

{"part": "steps-mlp", "case": "eager", "ok": null, "figures": {"ms": 342.1}}

`ok` is null for a figure that only informs. A line without a case is about the part as a whole.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def append(path: Path, line: Line) -> None:
    """Add a line and flush it to the disk: what is killed afterwards keeps it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_finite(line)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> list[Line]:
    """All whole lines; a killed process may leave half a line, which is skipped."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def table(lines: list[Line]) -> str:
    """A Markdown table: the figures of each case, then how each part ended."""
    rows = ["| part | case | result | figures |", "|---|---|---|---|"]
    for line in lines:
        verdict = {True: "ok", False: "**FAILED**", None: ""}[line.get("ok")]
        if "status" in line:
            verdict = line["status"] if line.get("ok") is not False else f"**{line['status']}**"
        known = {k: v for k, v in line.get("figures", {}).items() if v is not None}
        figures = ", ".join(f"{name} {_short(value)}" for name, value in known.items())
        cells = (line["part"], line.get("case", ""), verdict, figures)
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _short(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
