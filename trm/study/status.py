"""Print how far every result of the study is, from the files that exist.

    trm status
    trm status sudoku-extreme arc-agi-1/att
    trm status --config config/tiny.yaml --json

Nothing is run and nothing is locked, so that it may be asked while everything works.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from trm.arguments import Parser
from trm.progress import duration
from trm.study.arguments import add_study_arguments, load_study, parse_study_arguments
from trm.study.states import WORDS, Hours, Status, statuses

HELP = """\
hours are GPU-hours, or CPU-hours where a row asks for no GPU. `at most` is what its jobs ask for,
training and evaluation together; `about` is reckoned from the steps so far."""


def as_text(found: Sequence[Status]) -> str:
    """A table, one heading per benchmark, and the sums below."""
    header = ("", "state", "left", "hours", "ours %", "paper %")
    rows = [_cells(status) for status in found]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [_line(header, widths)]
    heading = None
    for status, cells in zip(found, rows, strict=True):
        benchmark = status.result.split("/")[0]
        if benchmark != heading:
            heading = benchmark
            lines.append(f"{benchmark}  ({status.metric}, data {status.dataset})")
        lines.append(_line(cells, widths))
        if status.problem:
            lines.append(f"      {status.problem}")
        if status.log and status.state not in ("done", "not run", "data missing"):
            lines.append(f"      log: {status.log}")
    return "\n".join([*lines, "", *_sums(found)])


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    name, state, *others = ((cell, width) for cell, width in zip(cells, widths, strict=True))
    left = [f"{cell:<{width}}" for cell, width in (name, state)]
    return "  ".join([*left, *(f"{cell:>{width}}" for cell, width in others)]).rstrip()


def _cells(status: Status) -> tuple[str, ...]:
    state = WORDS.get(status.state, status.state)
    if status.step is not None and status.total_steps:
        state += f" {status.step}/{status.total_steps}"
    left = status.seconds_left if status.state == "training" else None
    return (
        f"  {status.result.partition('/')[2]}",
        state,
        "" if left is None else duration(left),
        _hours_text(status.hours),
        "" if status.percent is None else f"{status.percent:.1f}",
        "" if status.published_percent is None else f"{status.published_percent:.1f}",
    )


def _hours_text(hours: Hours) -> str:
    expected = f"{_amount(hours.expected)} {hours.of}-h"
    if hours.expected_is == "spent":
        return expected
    if hours.spent is None:
        return f"{hours.expected_is} {expected}"
    limit = "≤ " if hours.expected_is == "at most" else "~"
    return f"{_amount(hours.spent)} of {limit}{expected}"


def _amount(hours: float) -> str:
    """`0.04`, `1.3`, `1,234`: two figures where they matter."""
    if 0 < hours < 0.1:
        return f"{hours:.2f}" if hours >= 0.005 else "0.01"
    return f"{hours:.1f}" if hours < 10 else f"{hours:,.0f}"


def _sums(found: Sequence[Status]) -> list[str]:
    states = Counter(WORDS.get(s.state, s.state) for s in found)
    counts = "; ".join(f"{n} {state}" for state, n in states.items())
    lines = [f"{len(found)} result{'s' if len(found) != 1 else ''}: {counts}"]
    spent, left = Counter[str](), Counter[str]()
    for status in found:
        spent[status.hours.of] += status.hours.spent or 0.0
        left[status.hours.of] += status.hours.left
    for what, hours in (("spent", spent), ("still to do, at most", left)):
        amounts = [f"{_amount(amount)} {of}-h" for of, amount in sorted(hours.items()) if amount]
        if amounts:
            lines.append(f"{what}: {', '.join(amounts)}")
    return lines


def parser() -> Parser:
    parser = Parser("status", f"{__doc__}\n{HELP}")
    add_study_arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs: a list of objects")
    return parser


def main(words: Sequence[str]) -> None:
    args = parse_study_arguments(parser(), words)
    found = statuses(load_study(args.config), args.words)
    print(json.dumps([asdict(s) for s in found], indent=2) if args.json else as_text(found))
